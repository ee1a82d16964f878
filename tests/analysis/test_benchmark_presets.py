"""Presets of the benchmark."""

import pytest
import torch

from rescaps_plugin.analysis.benchmark import candidates
from rescaps_plugin.analysis.benchmark.arguments import parse_args
from rescaps_plugin.analysis.benchmark.candidates import parse_candidate
from rescaps_plugin.analysis.benchmark.comparison import choose_quantities
from rescaps_plugin.analysis.benchmark.measure import Bench, Conditions, Quantity
from rescaps_plugin.analysis.benchmark.presets import PRESETS
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.models.checkpoints import checkpoint_filter_fn


def test_preset_literal_is_the_same_arithmetic(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = parse_args(['--preset', 'literal']).names
    torch.manual_seed(0)
    literal, network = (parse_candidate(name).build().eval().double() for name in names[:2])
    network.load_state_dict(checkpoint_filter_fn(literal.state_dict(), network))
    assert names[2] == f'{names[1]}+deploy'
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), literal(x))


def test_preset_deploy_compares_the_same_convolutions(repository, monkeypatch):
    monkeypatch.chdir(repository)
    args = parse_args(['--preset', 'deploy'])
    names = args.names
    for name in names:
        parse_candidate(name)
    quantities = choose_quantities(args, memory=True)
    for target in args.targets:
        assert {target.candidate, target.reference, args.reference} <= {*names} and target.quantity in quantities
    stack, deployed = (Bench(name, Conditions((3, 32, 32))) for name in names[:2])
    assert stack.count_macs() == deployed.count_macs()


def test_files_of_presets_are_part_of_a_clone(tmp_path, monkeypatch):
    monkeypatch.setattr(candidates, 'ROOT', tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r'tests/layers/literal\.py does not exist\. It is part of a clone'):
        parse_candidate(parse_args(['--preset', 'literal']).names[0])


@pytest.mark.parametrize('preset', ['precision', 'scaling', 'table1', 'table7'])
def test_candidates_of_presets_exist(preset):
    args = parse_args(['--preset', preset])
    for name in args.names:
        assert parse_candidate(name.replace('{types}', '2')).build().training


@pytest.mark.parametrize('preset', ['gpu', 'gpu-compiled', 'gpu-layers'])
def test_presets_for_a_gpu(preset, repository, monkeypatch):
    monkeypatch.chdir(repository)
    args = parse_args(['--preset', preset])
    assert args.time_limit < {'gpu': 240, 'gpu-compiled': 240, 'gpu-layers': 60}[preset]
    forms = {}
    for name in args.names:
        form = parse_candidate(name).forms
        forms.setdefault(name.partition('+')[0], set()).add(frozenset(form))
    assert len(args.names) == len(set(args.names)) == sum(map(len, forms.values()))
    quantities = choose_quantities(args, memory=True)
    for target in args.targets:
        assert {target.candidate, target.reference} <= set(args.names) and target.quantity in quantities
    if preset == 'gpu-layers':
        return
    assert Quantity('time', 'train', 128) in quantities
    assert {quantity.batch for quantity in quantities if quantity[:2] == ('time', 'infer')} == {1, 256}
    run = {'gpu': '', 'gpu-compiled': 'compile'}[preset]
    expected = {
        frozenset(filter(None, (layout, precision, run)))
        for layout in ('', 'channels_last')
        for precision in ('', 'tf32', 'bf16')
    }
    assert expected <= forms['rescaps_cifar']


def test_preset_gpu_compares_the_same_arithmetic(repository, monkeypatch):
    monkeypatch.chdir(repository)
    conditions = Conditions((3, 32, 32))
    bare = {name.partition('+')[0] for name in PRESETS['gpu']['names']}
    literal, stack = (next(name for name in bare if kind in name) for kind in ('Literal', 'ConvStack'))
    assert Bench(stack, conditions).count_macs() == Bench('rescaps_cifar+deploy', conditions).count_macs()
    torch.manual_seed(0)
    literal, network = (parse_candidate(name).build().eval().double() for name in (literal, 'rescaps_cifar'))
    network.load_state_dict(checkpoint_filter_fn(literal.state_dict(), network))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), literal(x))
