"""``tools/benchmark.py`` on modules with known parameters, multiply-adds and memory."""

import json
import os
import subprocess
import sys
import time
from itertools import groupby

import pytest
import timm
import torch
from PIL import Image
from timm.utils import reparameterize_model
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from rescaps_plugin.analysis.benchmark import measure as benchmark
from rescaps_plugin.analysis.benchmark.measure import (
    OPERATIONS,
    Bench,
    Conditions,
    Measurements,
    Quantity,
    growth,
    measure_all,
    shares_of_time,
    summarise,
)
from rescaps_plugin.analysis.benchmark.presets import PRESETS
from rescaps_plugin.analysis.benchmark.report import Target, compare, make_page, si
from rescaps_plugin.analysis.memory import RESET_PEAK, PeakMemory
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.models.rescaps import checkpoint_filter_fn

MODULES = """
import os
import time

import torch
from torch import nn


class Saves(nn.Module):
    '''Keeps the output of every layer for the backward pass, and nothing else.'''

    def __init__(self, layers):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.layers = layers

    def forward(self, x):
        x = x * self.scale
        for _ in range(self.layers):
            x = torch.sigmoid(x)
        return x


class Notes(nn.Module):
    '''Notes down how it is called.'''

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv(x)
        self.x, self.y = x, y
        return {'outputs': (y, [y.mean()])}


class Sleeps(nn.Identity):
    def forward(self, x):
        time.sleep(0.02)
        return x


class Logs(nn.Identity):
    '''Writes its letter for every batch of two.'''

    def __init__(self, letter, path):
        super().__init__()
        self.letter, self.path = letter, path

    def forward(self, x):
        if len(x) == 2:
            with open(self.path, 'a') as file:
                file.write(self.letter)
        return x


class Fails(nn.Identity):
    '''Trains on no batch of eight: its process ends, or an error is raised.'''

    def __init__(self, dies):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.dies = dies

    def forward(self, x):
        if len(x) == 8 and self.dies:
            os._exit(1)
        if len(x) == 8:
            raise torch.OutOfMemoryError('too much')
        return x * self.scale


class Counts(nn.Module):
    '''Notes down whether it is run by the compiler, and what PyTorch is set to.'''

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.runs = []

    def forward(self, x):
        if torch.compiler.is_compiling():
            return self.linear(x)
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        self.runs.append((cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark))
        return self.linear(x)


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else x + 1


class Stays(nn.Identity):
    def forward(self, x):
        print('staying', flush=True)
        time.sleep(60)


nothing = None
"""

CONDITIONS = Conditions((3, 8, 8), min_time=0.001)


@pytest.fixture
def modules(tmp_path):
    path = tmp_path / 'modules.py'
    path.write_text(MODULES)
    return path


@pytest.fixture
def tool(load_tool):
    return load_tool('benchmark')


@pytest.fixture
def error(tool, capsys):
    """Run the tool, which must fail before it starts a process, and return the message."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            tool.main([str(argument) for argument in arguments])
        return f'{stopped.value} {capsys.readouterr().err}'

    return run


def test_command(run_tool, modules, tmp_path):
    name, reference = 'rescaps_tiny+deploy', 'modules.py:Saves(layers=8)'
    sizes = ['--input-size', 3, 32, 32, '--batch-sizes', 1, 2, '--memory-batch', 4, '--repeats', 2, '--min-time', 0.001]
    finished = run_tool('benchmark', name, '--reference', reference, *sizes, '--threads', 1, '--out', 'out')
    assert finished.returncode == 0, finished.stderr

    result = json.loads((tmp_path / 'out/benchmark.json').read_text())
    assert result['command'].startswith("python tools/benchmark.py rescaps_tiny+deploy --reference 'modules.py:Saves")
    assert result['reference'] == reference and result['conditions']['input_size'] == [3, 32, 32]
    assert result['machine']['torch'] == torch.__version__ and result['machine']['threads'] == 1
    saves, tiny = result['candidates']
    assert (saves['name'], tiny['name']) == (reference, name)
    for kind, quantity in saves['quantities'].items():
        assert quantity['low'] <= quantity['median'] <= quantity['high']
        if kind != 'MACs':
            assert set(quantity['ratio'].values()) == {1}
    assert saves['quantities']['MACs']['ratio'] is None and tiny['quantities']['MACs']['ratio'] is None

    deployed = reparameterize_model(timm.create_model('rescaps_tiny'))
    parameters = sum(parameter.numel() for parameter in deployed.parameters())
    assert tiny['quantities']['parameters']['repeats'] == [parameters]
    assert tiny['quantities']['parameters']['ratio']['median'] == parameters
    assert len(tiny['quantities']['inference, batch 2']['repeats']) == 2
    # The deploy form is not trained, and no candidate is trained with a batch of 1.
    trained = {kind for kind in saves['quantities'] if 'training' in kind}
    assert set(saves['quantities']) - set(tiny['quantities']) == trained
    assert trained - {'added memory, training step, batch 4'} == {'training step, batch 2'}

    page = (tmp_path / 'out/benchmark.md').read_text()
    assert page in finished.stdout
    assert f'| parameters | 1.00, **1.00x** | {parameters / 1e3:.0f} k, **{parameters:.2f}x** |' in page
    assert page.count('| – |') == len(trained)
    assert result['machine']['CPU'] in page and result['command'] in page
    with Image.open(tmp_path / 'out/benchmark.png') as plot:
        assert len(plot.convert('RGB').getcolors(1 << 24)) > 10


@pytest.mark.skipif(not PeakMemory.measurable('cpu'), reason=f'{RESET_PEAK} cannot be written')
def test_added_memory_is_that_of_the_tensors_alive(modules):
    # Maps above 32 MiB, which the C library allocates from and returns to the system.
    map_size = 9 * 1024 * 1024 * 4
    # Inference: input and output of a layer; training: all outputs, and gradients of a layer's input and output.
    maps = {('infer', 1): 2, ('train', 1): 5, ('train', 2): 10}
    quantities = [Quantity('memory', *step) for step in maps]
    conditions = Conditions((9, 1024, 1024))
    (measured,) = measure_all([f'{modules}:Saves(layers=3)'], quantities, conditions, repeats=1).values
    for quantity, count in zip(quantities, maps.values(), strict=True):
        assert measured[quantity] == [pytest.approx(count * map_size, rel=0.05)]


def test_sweep(run_tool, modules, tmp_path):
    names = ['ResidualPoseRouting({n})', 'modules.py:Saves(layers=4)+bf16']
    sizes = ['--input-size', '17*{n}', 8, 8, '--sweep', 'n=2,4', 'batch=2,1', '--repeats', 1, '--min-time', 0.001]
    finished = run_tool('benchmark', *names, *sizes, '--threads', 1, '--input-grad', '--out', 'out')
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count('batch 2, n 2') == finished.stderr.count('batch 1, n 2') == 1

    result = json.loads((tmp_path / 'out/benchmark.json').read_text())
    assert result['sweep'] == {'n': [2, 4], 'batch': [1, 2]}
    routing, saves = result['candidates']
    assert (routing['name'], saves['name']) == tuple(names)
    times = routing['curves']['inference']
    assert list(times['n']['medians']) == ['2', '4'] and list(times['batch']['medians']) == ['1', '2']
    # The others are kept at their first values: batch 2 and 2 types.
    assert times['n']['medians']['2'] == times['batch']['medians']['2']
    assert list(routing['curves']['training step']['batch']['medians']) == ['2']

    page = (tmp_path / 'out/benchmark.md').read_text()
    assert page in finished.stdout and '| inference | n | batch |' in page
    assert f'| `{names[0]}` | **{times["n"]["exponent"]:.2f}** (2: ' in page
    with Image.open(tmp_path / 'out/benchmark.png') as plot:
        assert len(plot.convert('RGB').getcolors(1 << 24)) > 10


def test_loader(run_tool, repository, tmp_path):
    config = repository / 'configs/rescaps/digits.py'
    options = ['--min-time', 0.05, '--cfg-options', 'train_dataloader.batch_size=32', '--out', 'out']
    finished = run_tool('benchmark', '--loader', config, *options)
    assert finished.returncode == 0, finished.stderr
    result = json.loads((tmp_path / 'out/benchmark.json').read_text())
    assert set(result['loading']) == {'0', '1'} and result['batch_size'] == 32 and result['step'] > 0
    assert finished.stdout.splitlines()[-1] == f'{result["loading"]["0"]:.0f} images/s'
    assert (tmp_path / 'out/benchmark.md').read_text() == finished.stdout


def test_growth():
    assert growth([1, 2, 8], [5, 20, 320]) == pytest.approx(2)


def test_input_size_of_a_point(tool):
    args = tool.parse_args(['ResidualPoseRouting({n})', '--input-size', '17*{n}', '{n}', '3', '--sweep', 'n=4,8'])
    assert tool.make_conditions(args, {'batch': 2, 'n': 4}).input_size == (68, 4, 3)


def test_profile_counts_kernels_once():
    """GPU kernels are in a profile twice: in the operator that launched them, and as separate events."""
    names = ('aten::cudnn_convolution', 'aten::norm')
    conv, norm = (FunctionEvent(number, name, 0, 0, 9, use_device='cuda') for number, name in enumerate(names))
    conv.append_kernel('implicit_gemm', 0, 30)
    norm.append_kernel('reduce', 0, 10)
    on_gpu = dict(device_type=DeviceType.CUDA, use_device='cuda')
    kernels = [FunctionEvent(2, 'implicit_gemm', 0, 10, 40, **on_gpu), FunctionEvent(3, 'reduce', 0, 40, 50, **on_gpu)]
    events = [conv, norm, *kernels]
    shares = shares_of_time(events, 'cuda')
    assert (shares['convolutions'], shares['normalisation'], shares['rest']) == (0.75, 0.25, 0)
    assert shares_of_time(events, 'cpu')['convolutions'] == 0.5


def test_profile(modules):
    notes = Bench(f'{modules}:Notes', Conditions((3, 64, 64))).profile('train', 8)
    assert sum(notes.values()) == pytest.approx(1)
    assert notes['convolutions'] > 0 and notes['matrix products'] == notes['normalisation'] == 0
    assert min(Bench('rescaps_tiny', Conditions((3, 32, 32))).profile('train', 2).values()) > 0
    sigmoids = Bench(f'{modules}:Saves(layers=8)', CONDITIONS).profile('infer', 8)
    assert sigmoids['convolutions'] == 0 and sigmoids['rest'] > 0.9
    assert set(notes) == set(sigmoids) == {*OPERATIONS, 'rest'}


def measure_parameters(names, *_):
    return Measurements([{Quantity('parameters'): [4.0]} for _ in names])


def test_profile_on_the_page(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, 'measure_all', measure_parameters)
    shares = {**dict.fromkeys(OPERATIONS, 0.0), 'convolutions': 0.875, 'rest': 0.125}
    monkeypatch.setattr(tool, 'profile_all', lambda names, *_: [{'train': shares}, {}])
    tool.main(['resnet18', 'resnet18+deploy', '--profile', '4', '--modes', 'train', '--out', str(tmp_path)])
    assert '| convolutions, training step, batch 4 | 87.5% | – |' in capsys.readouterr().out


def test_without_matplotlib(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, 'measure_all', measure_parameters)
    monkeypatch.setattr(tool, 'find_spec', lambda name: None)
    tool.main(['resnet18', '--out', str(tmp_path), '--channels-last', '--amp', 'bf16'])
    assert 'for the plot: pip install matplotlib' in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ['benchmark.json', 'benchmark.md']
    assert json.loads((tmp_path / 'benchmark.json').read_text())['reference'] == 'resnet18+channels_last+bf16'


def test_unknown_names(error, modules):
    assert 'rescaps_cifar,' in error('rescap_cifar') + ','
    assert 'Close matches: ResidualPoseRouting' in error('ResidualPoseRoutin(8)')
    message = error('resnet18', '--reference', f'{modules}:Save')
    assert f"'Save' is nothing to build from {modules}. Close matches: Saves" in message
    assert "'nothing' is nothing to build" in error(f'{modules}:nothing')
    assert 'gone.py does not exist' in error('gone.py:Saves')
    assert "unknown form 'int4'; it may be deploy, channels_last, compile, cudagraphs, tf32, bf16, fp16" in error(
        'resnet18+int4'
    )
    for arguments in ('(num_classes=)', '(num_classes=classes)'):
        assert 'arguments must be Python literals' in error('resnet18' + arguments)


def test_bad_arguments(error):
    assert 'give a NAME, a --preset or a --loader' in error()
    assert '--loader goes without a NAME' in error('resnet18', '--loader', 'gone.py')
    assert 'unrecognized arguments: --cfg-options' in error('resnet18', '--cfg-options', 'a=1')
    assert 'config gone.py does not exist' in error('--loader', 'gone.py')
    assert 'must be at least 1, not 0' in error('resnet18', '--repeats', 0)
    assert "must be an integer, or a product like 17*{n}, not '3.5'" in error('resnet18', '--input-size', '3.5')
    assert "with two or more positive integers, not 'n=4'" in error('resnet18', '--sweep', 'n=4')
    assert '--sweep does not say what {n} is' in error('ResidualPoseRouting({n})')
    assert '{n} stands in no NAME' in error('resnet18', '--sweep', 'n=4,8')
    if not torch.cuda.is_available():
        assert 'finds no GPU' in error('resnet18', '--device', 'cuda')


@pytest.mark.parametrize('name', ['resnet18(colour="red")', 'rescaps_tiny(residual="two")', 'ResidualPoseRouting(8)'])
def test_candidate_that_does_not_run(name):
    with pytest.raises(UserError, match='cannot be built or run on inputs of 3x8x8: .+'):
        Bench(name, CONDITIONS)


def test_no_process_remains_after_the_command(modules, repository):
    command = [sys.executable, repository / 'tools/benchmark.py', f'{modules}:Stays']
    environment = {**os.environ, 'PYTHONPATH': str(repository)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b'staying\n'
    process.kill()
    # The pipe is closed when the last process that holds it has ended.
    process.communicate(timeout=20)


def test_preset_literal_is_the_same_arithmetic(tool, repository, monkeypatch):
    monkeypatch.chdir(repository)
    names = tool.parse_args(['--preset', 'literal']).names
    torch.manual_seed(0)
    literal, network = (benchmark.parse_candidate(name)[0]().eval().double() for name in names[:2])
    network.load_state_dict(checkpoint_filter_fn(literal.state_dict(), network))
    assert names[2] == f'{names[1]}+deploy'
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), literal(x))


def test_preset_deploy_compares_the_same_convolutions(tool, repository, monkeypatch):
    monkeypatch.chdir(repository)
    names = tool.parse_args(['--preset', 'deploy']).names
    stack, deployed = (Bench(name, Conditions((3, 32, 32))) for name in names[:2])
    assert stack.count_macs() == deployed.count_macs()


@pytest.mark.parametrize('preset', ['precision', 'scaling', 'table1', 'table7'])
def test_candidates_of_presets_exist(tool, preset):
    args = tool.parse_args(['--preset', preset])
    for name in args.names:
        build, _ = benchmark.parse_candidate(name.replace('{types}', '2'))
        assert build().training


def test_parameters_and_macs():
    resnet = Bench('resnet18(num_classes=7)', Conditions((3, 32, 32)))
    expected = timm.create_model('resnet18', num_classes=7)
    assert resnet.measure(Quantity('parameters')) == sum(parameter.numel() for parameter in expected.parameters())

    layer = Bench('ResidualPoseRouting(2, out_types=3, routing="window")+deploy', Conditions((32, 5, 4)))
    activations, outputs = 9 * 2, 3 * 17
    macs = 20 * (9 * 32 * (activations + outputs) + activations * outputs)
    assert layer.measure(Quantity('MACs')) == macs


def test_forms_and_steps(modules):
    bench = Bench(f'{modules}:Notes+channels_last+bf16', CONDITIONS._replace(input_grad=True))
    notes = bench.module
    bench.step('train', 4)()
    assert notes.training and notes.x.shape == (4, 3, 8, 8) and notes.x.requires_grad
    assert notes.y.dtype == torch.bfloat16 and notes.y.requires_grad
    assert notes.x.is_contiguous(memory_format=torch.channels_last)
    assert notes.conv.weight.grad is None and notes.x.grad is None

    seen = notes.x
    bench.step('infer', 4)()
    assert not notes.training and not notes.x.requires_grad and not notes.y.requires_grad
    torch.testing.assert_close(notes.x, seen)

    plain = Bench(f'{modules}:Notes', CONDITIONS)
    plain.step('train', 4)()
    torch.testing.assert_close(plain.module.x, seen)
    torch.testing.assert_close(plain.module.conv.weight, notes.conv.weight)
    assert plain.module.x.is_contiguous() and plain.module.y.dtype == torch.float32 and not plain.module.x.requires_grad


def test_training_step_computes_every_gradient(modules):
    bench = Bench(f'{modules}:Notes', CONDITIONS)
    gradients = []
    bench.module.conv.weight.register_post_accumulate_grad_hook(lambda weight: gradients.append(weight.grad.clone()))
    bench.step('train', 2)()
    x, y = bench.module.x, bench.module.y.detach().requires_grad_()
    loss = (y.square().sum() + y.mean().square()) / 2
    (output_grad,) = torch.autograd.grad(loss, y)
    expected = torch.nn.grad.conv2d_weight(x, bench.module.conv.weight.shape, output_grad, padding=1)
    torch.testing.assert_close(gradients, [expected])


def test_time_is_seconds_of_one_step(modules):
    start = time.perf_counter()
    measured = Bench(f'{modules}:Sleeps', CONDITIONS).measure(Quantity('time', 'infer', 2))
    assert 0.02 <= measured <= time.perf_counter() - start


def test_rounds_alternate(modules, tmp_path):
    log = tmp_path / 'log'
    names = [f'{modules}:Logs("{letter}", "{log}")' for letter in 'ab']
    quantities = [Quantity('parameters'), Quantity('time', 'infer', 2)]
    told = []
    measured = measure_all(names, quantities, CONDITIONS, 2, progress=lambda measured: told.append(str(measured)))
    assert [letter for letter, _ in groupby(log.read_text())] == ['a', 'b', 'a']
    assert measured.left_out == []
    for values in measured.values:
        assert values[quantities[0]] == [0] and len(values[quantities[1]]) == 2
    # Messages on the parameters, and on the times of both rounds.
    assert len(set(told)) == 3 and told[-1] == str(measured)


def test_failing_candidates_are_omitted(modules, capsys):
    quantities = [Quantity('parameters'), Quantity('time', 'train', 8), Quantity('time', 'infer', 2)]
    names = [*(f'{modules}:Fails(dies={dies})' for dies in (False, True)), f'{modules}:Fails()', f'{modules}:Sleeps']
    measured = measure_all(names, quantities, CONDITIONS, 2)
    assert [len(values) for values in measured.values] == [2, 1, 0, 2]
    raises, dies, _, sleeps = measured.values
    assert raises[quantities[0]] == dies[quantities[0]] == [1]
    assert len(raises[quantities[2]]) == len(sleeps[quantities[2]]) == 2
    unbuilt, *left_out = measured.left_out
    assert unbuilt.startswith(f'{names[2]} is left out: {names[2]} cannot be built')
    assert left_out == [
        f'{names[0]} is left out from training step, batch 8: too much',
        f'{names[1]} is left out from training step, batch 8 on: its process died, out of memory?',
        f'{names[3]} is left out from training step, batch 8: '
        'element 0 of tensors does not require grad and does not have a grad_fn',
    ]
    assert capsys.readouterr().err.count('is left out') == 4


def test_nothing_measured(tool, modules, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r'nothing could be measured: .*Fails\(\) is left out: .* cannot be built'):
        tool.main([f'{modules}:Fails()', '--out', str(tmp_path)])


def test_no_measurement_starts_after_the_deadline(modules, monkeypatch):
    clock, passed = time.monotonic, []
    monkeypatch.setattr(benchmark.time, 'monotonic', lambda: clock() + sum(passed))
    quantities = [Quantity('parameters'), Quantity('time', 'infer', 2), Quantity('time', 'infer', 4)]

    def pass_time(measured):
        if len(measured.values[0]) == 2:
            passed.append(1000)

    measured = measure_all([f'{modules}:Sleeps'], quantities, CONDITIONS, 5, clock() + 999, pass_time)
    assert [len(values) for values in measured.values[0].values()] == [1, 1]
    assert measured.left_out == ['out of time in round 1 of 5, at inference, batch 4']


def test_candidate_that_is_not_built_in_time(modules):
    deadline = time.monotonic() + 0.6
    measured = measure_all([f'{modules}:Stays'], [Quantity('time', 'infer', 2)], CONDITIONS, 1, deadline)
    assert measured.left_out == [f'{modules}:Stays is left out: not done after 0 s'] and measured.values == [{}]


def test_compiled_steps(modules):
    bench = Bench(f'{modules}:Counts+compile', Conditions((8,)))
    assert len(bench.module.runs) == 1
    bench.prepare([Quantity('parameters'), Quantity('time', 'train', 4), Quantity('memory', 'train', 4)])
    grown = []
    bench.module.linear.weight.register_post_accumulate_grad_hook(lambda weight: grown.append(weight.grad.norm()))
    assert bench.measure(Quantity('time', 'train', 4)) > 0 and grown and grown[0] > 0
    assert len(bench.module.runs) == 1
    # Not visible in a compiled graph.
    assert bench.measure(Quantity('MACs')) == 64

    branches = Bench(f'{modules}:Branches+compile', CONDITIONS)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        branches.prepare([Quantity('time', 'infer', 2)])


def test_tf32_is_off_unless_requested(modules):
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    for form, allowed in (('', False), ('+tf32', True), ('+bf16', False)):
        bench = Bench(f'{modules}:Counts{form}', Conditions((8,), min_time=0.001))
        bench.measure(Quantity('time', 'train', 2))
        # cuDNN selects algorithms by its heuristics.
        assert len(bench.module.runs) > 1 and set(bench.module.runs) == {(allowed, allowed, False)}
    after = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    assert after == before


def test_targets(tool):
    step, memory = Quantity('time', 'train', 4), Quantity('memory', 'train', 4)
    fast, slow = {step: [1.0, 2.0, 4.0], memory: [5.0]}, {step: [4.0, 8.0, 16.0]}
    targets = [
        Target(step, 'fast', 'slow', speed=3),
        Target(step, 'fast', 'slow', speed=5),
        Target(step, 'fast', 'slow', cost=0.2),
        Target(step, 'slow', 'slow', cost=1),
        Target(memory, 'fast', 'slow', cost=0.2),
        Target(step, 'fast', 'other', cost=0.2),
    ]
    result = compare(['slow', 'fast'], Measurements([slow, fast], ['gone']), 'slow', [{}, {}], targets)
    ratios = [(target['ratio']['median'], target['reached']) for target in result['targets']]
    assert ratios == [(4, True), (4, False), (0.25, False), (1, True)]

    described = {**result, 'machine': {}, 'date': '', 'command': '', 'notes': 'Notes', 'profile batch': None}
    page = make_page(described, [Quantity('parameters'), step, memory])
    assert '| `fast` | `slow` | speed, training step, batch 4 | 4x | ≥ 3x | reached |' in page
    assert '| `fast` | `slow` | training step, batch 4 | 0.25x | ≤ 0.2x | missed |' in page
    assert '\n- gone\n' in page
    # One row per candidate, as there are more candidates than quantities.
    assert '|  | training step, batch 4 |' in make_page(described, [step])
    assert '| `fast` | 2.00 s, 2.00/s, **0.25x** |' in make_page(described, [Quantity('parameters'), step], short=True)


@pytest.mark.parametrize('preset', ['gpu', 'gpu-compiled', 'gpu-layers'])
def test_presets_for_a_gpu(tool, preset, repository, monkeypatch):
    monkeypatch.chdir(repository)
    args = tool.parse_args(['--preset', preset])
    assert args.time_limit < {'gpu': 240, 'gpu-compiled': 240, 'gpu-layers': 60}[preset]
    forms = {}
    for name in args.names:
        build, form = benchmark.parse_candidate(name)
        forms.setdefault(name.partition('+')[0], set()).add(frozenset(form))
    assert len(args.names) == len(set(args.names)) == sum(map(len, forms.values()))
    quantities = tool.choose_quantities(args, memory=True)
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
    literal, network = (benchmark.parse_candidate(name)[0]().eval().double() for name in (literal, 'rescaps_cifar'))
    network.load_state_dict(checkpoint_filter_fn(literal.state_dict(), network))
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), literal(x))


def test_summary():
    summary = summarise([2, 9, 4, 8, 10], [1, 3, 4, 2, 5])
    assert (summary['low'], summary['median'], summary['high']) == (4, 8, 9)
    # Ratios within rounds: 2, 3, 1, 4, 2.
    assert summary['ratio'] == {'median': 2, 'low': 2, 'high': 3}
    assert summarise([3], [])['ratio'] is None and summarise([3], [0])['ratio'] is None


@pytest.mark.parametrize(
    ('value', 'unit', 'text'),
    [(0, 'B', '0 B'), (1, '', '1.00'), (999.6, '', '1.00 k'), (25.3e6, 'B', '25.3 MB'), (0.01234, 's', '12.3 ms')],
)
def test_figures(value, unit, text):
    assert si(value, unit) == text
