"""``tools/benchmark.py`` on modules with known parameters, multiply-adds and memory."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from timm.utils import reparameterize_model

from rescaps_plugin.analysis.benchmark import comparison, report
from rescaps_plugin.analysis.benchmark.loader import LoaderSpeed
from rescaps_plugin.analysis.benchmark.measure import OPERATIONS, Quantity
from rescaps_plugin.analysis.benchmark.processes import Measurements
from rescaps_plugin.analysis.pipeline import PipelineSpeed
from tests.analysis import measured


@pytest.fixture
def modules(tmp_path):
    return Path(shutil.copy(measured.__file__, tmp_path / 'modules.py'))


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
    finished = run_tool('benchmark', name, '--reference', reference, *sizes, '--threads', 1, '--out-dir', 'out')
    assert finished.returncode == 0, finished.stderr

    result = json.loads((tmp_path / 'out/benchmark.json').read_text())
    assert result['command'].startswith("python tools/benchmark.py rescaps_tiny+deploy --reference 'modules.py:Saves")
    assert result['reference'] == reference and result['conditions']['input_size'] == [3, 32, 32]
    assert result['machine']['torch'] == torch.__version__ and result['machine']['threads'] == 1
    saves, tiny = result['candidates']
    assert (saves['name'], tiny['name']) == (reference, name)
    for kind, quantity in saves['quantities'].items():
        assert quantity['low'] <= quantity['median'] <= quantity['high']
        if kind not in ('MACs', 'peak'):
            assert set(quantity['ratio'].values()) == {1}
    for batch in (1, 2):
        seconds, speed = (tiny['quantities'][f'{kind}inference, batch {batch}']['repeats'] for kind in ('', 'speed, '))
        macs = tiny['quantities']['MACs']['median']
        assert speed == [pytest.approx(2 * macs * batch / each) for each in seconds]
    assert result['machine']['instructions']
    assert saves['quantities']['MACs']['ratio'] is None and tiny['quantities']['MACs']['ratio'] is None

    deployed = reparameterize_model(timm.create_model('rescaps_tiny'))
    parameters = sum(parameter.numel() for parameter in deployed.parameters())
    assert tiny['quantities']['parameters']['repeats'] == [parameters]
    assert tiny['quantities']['parameters']['ratio']['median'] == parameters
    assert len(tiny['quantities']['inference, batch 2']['repeats']) == 2
    # The deploy form is not trained, and no candidate is trained with a batch of 1.
    trained = {kind for kind in saves['quantities'] if 'training' in kind}
    assert set(saves['quantities']) - set(tiny['quantities']) == trained
    # Sigmoids are not counted.
    speeds = set(tiny['quantities']) - set(saves['quantities'])
    assert speeds == {'speed, inference, batch 1', 'speed, inference, batch 2'}
    assert trained - {'added memory, training step, batch 4'} == {'training step, batch 2'}

    page = (tmp_path / 'out/benchmark.md').read_text()
    assert page in finished.stdout
    assert f'| parameters | 1.00, **1.00x** | {parameters / 1e3:.0f} k, **{parameters:.2f}x** |' in page
    assert page.count('| – |') == len(trained) + len(speeds)
    assert result['machine']['CPU'] in page and result['command'] in page
    with Image.open(tmp_path / 'out/benchmark.png') as plot:
        assert len(plot.convert('RGB').getcolors(1 << 24)) > 10


def test_sweep(run_tool, modules, tmp_path):
    names = ['ResidualPoseRouting({n})', 'modules.py:Saves(layers=4)+bf16']
    sizes = ['--input-size', '17*{n}', 8, 8, '--sweep', 'n=2,4', 'batch=2,1', '--repeats', 1, '--min-time', 0.001]
    finished = run_tool('benchmark', *names, *sizes, '--threads', 1, '--input-grad', '--out-dir', 'out')
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
    options = ['--min-time', 0.05, '--cfg-options', 'train_dataloader.batch_size=32', '--out-dir', 'out']
    finished = run_tool('benchmark', '--loader', config, *options)
    assert finished.returncode == 0, finished.stderr
    result = json.loads((tmp_path / 'out/benchmark.json').read_text())
    assert set(result['loading']) == {'0', '1'} and result['batch_size'] == 32 and result['step'] > 0
    assert finished.stdout.splitlines()[-1] == f'{result["loading"]["0"]:.0f} images/s'
    assert (tmp_path / 'out/benchmark.md').read_text() == finished.stdout


@pytest.mark.parametrize(
    ('option', 'module', 'speed'),
    [
        ('loader', 'benchmark.loader', LoaderSpeed({0: 9.0, 1: 9.0}, 0, 4, 0.01, 'cpu')),
        ('pipeline', 'pipeline', PipelineSpeed({}, {})),
    ],
)
def test_threads_are_those_that_are_recorded(tool, tmp_path, monkeypatch, option, module, speed):
    used, before = [], torch.get_num_threads()

    def measure(*_):
        used.append(torch.get_num_threads())
        return speed

    monkeypatch.setattr(f'rescaps_plugin.analysis.{module}.measure_{option}', measure)
    try:
        tool.main([f'--{option}', 'x', '--threads', '3', '--out-dir', str(tmp_path)])
    finally:
        torch.set_num_threads(before)
    assert used == [3] == [json.loads((tmp_path / 'benchmark.json').read_text())['machine']['threads']]


def measure_parameters(names, *_):
    return Measurements([{Quantity('parameters'): [4.0]} for _ in names])


def test_profile_on_the_page(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, 'measure_all', measure_parameters)
    shares = {**dict.fromkeys(OPERATIONS, 0.0), 'convolutions': 0.875, 'rest': 0.125}
    monkeypatch.setattr(comparison, 'profile_all', lambda names, *_: [{'train': shares}, {}])
    tool.main(['resnet18', 'resnet18+deploy', '--profile', '4', '--modes', 'train', '--out-dir', str(tmp_path)])
    assert '| convolutions, training step, batch 4 | 87.5% | – |' in capsys.readouterr().out


def test_without_matplotlib(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, 'measure_all', measure_parameters)
    monkeypatch.setattr(report, 'find_spec', lambda name: None)
    tool.main(['resnet18', '--out-dir', str(tmp_path), '--channels-last', '--amp', 'bf16'])
    assert 'for the plot: pip install matplotlib' in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ['benchmark.json', 'benchmark.md']
    assert json.loads((tmp_path / 'benchmark.json').read_text())['reference'] == 'resnet18+channels_last+bf16'


def test_unknown_names(error, modules):
    assert 'rescaps_cifar,' in error('rescap_cifar') + ','
    assert 'Close matches: ResidualPoseRouting' in error('ResidualPoseRoutin(8)')
    message = error('resnet18', '--reference', f'{modules}:Save')
    assert f"'Save' is not a class or function of {modules}. Close matches: Saves" in message
    assert "'nothing' is not a class or function" in error(f'{modules}:nothing')
    assert 'gone.py does not exist' in error('gone.py:Saves')
    assert (
        "unknown form 'int4'; it may be deploy, prepack, channels_last, compile, cudagraphs, tf32, bf16, fp16"
        in error('resnet18+int4')
    )
    assert '+int8 goes with +onnx or +openvino' in error('resnet18+int8')
    assert '+compile does not go with +openvino' in error('resnet18+openvino+compile')
    assert '+prepack does not go with +openvino' in error('resnet18+openvino+prepack')
    assert '+prepack does not go with +compile' in error('resnet18+compile+prepack')
    assert '+bf16 does not go with +onnx' in error('resnet18+onnx+bf16')
    assert '+onnx does not go with +openvino' in error('resnet18+openvino+onnx')
    assert 'Close matches: rescaps-small_mnist' in error('rescaps-small_mnst')
    assert 'a trained model has its arguments from its config' in error('rescaps-small_mnist(num_classes=3)')
    for arguments in ('(num_classes=)', '(num_classes=classes)'):
        assert 'arguments must be Python literals' in error('resnet18' + arguments)


def test_folder_that_cannot_be_written_is_told_before_anything_is_measured(error, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    monkeypatch.setattr(comparison, 'measure_all', None)
    for arguments in (['resnet18'], ['--loader', 'gone.py']):
        assert '--out-dir cannot be written' in error(*arguments, '--out-dir', tmp_path / 'file')


def test_bad_arguments(error):
    assert 'give a NAME, a --preset, a --loader or a --pipeline' in error()
    assert '--loader cannot be combined with --pipeline' in error('--loader', 'gone.py', '--pipeline', 'a')
    assert '--pipeline cannot be combined with --accuracy' in error('--pipeline', 'a', '--accuracy')
    assert '--sweep cannot be combined with --profile' in error('a', '--sweep', 'batch=1,2', '--profile', 1)
    assert '--loader cannot be combined with a NAME' in error('resnet18', '--loader', 'gone.py')
    for option in ('loader', 'pipeline'):
        message = f'--{option} cannot be combined with --device'
        assert message in error(f'--{option}', 'gone.py', '--device', 'cpu')
    assert 'unrecognized arguments: --cfg-options' in error('resnet18', '--cfg-options', 'a=1')
    assert 'config gone.py does not exist' in error('--loader', 'gone.py')
    assert 'must be at least 1, not 0' in error('resnet18', '--repeats', 0)
    assert "must be an integer, or a product like 17*{n}, not '3.5'" in error('resnet18', '--input-size', '3.5')
    assert "with two or more positive integers, not 'n=4'" in error('resnet18', '--sweep', 'n=4')
    assert '--sweep does not define {n}' in error('ResidualPoseRouting({n})')
    assert '{n} is neither in a NAME' in error('resnet18', '--sweep', 'n=4,8')
    assert '--accuracy: no NAME is a trained model' in error('resnet18', '--accuracy')
    assert 'must be at least 1, not 0' in error('rescaps-tiny_digits', '--accuracy', 0)
    if not torch.cuda.is_available():
        assert 'finds no GPU' in error('resnet18', '--device', 'cuda')


def test_no_process_outlives_the_command(modules, repository):
    command = [sys.executable, repository / 'tools/benchmark.py', f'{modules}:Stays']
    environment = {**os.environ, 'PYTHONPATH': str(repository)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b'staying\n'
    process.kill()
    # The pipe is closed when the last process that holds it has ended.
    process.communicate(timeout=20)


def test_nothing_measured(tool, modules, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r'nothing could be measured: .*Fails\(\) is left out: .* cannot be built'):
        tool.main([f'{modules}:Fails()', '--out-dir', str(tmp_path)])
