"""Exported files of a small network, run in their runtimes, and their metadata."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export import formats as export_module
from rescaps_plugin.export.formats import FORMATS, Export, find_format

METADATA = {'classes': ['größer', 'kleiner'], 'input_size': (2, 6, 5), 'mean': [0.5, 1.0], 'of': nn.ReLU}


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Sigmoid()).requires_grad_(False).eval()


@pytest.fixture(scope='module')
def make_export(network):
    def make(**options):
        return Export(network, torch.randn(1, 2, 6, 5), 'images', ('maps',), METADATA, **options)

    return make


@pytest.fixture(scope='module')
def saved(make_export, tmp_path_factory):
    """Return the file of a format, alone in its folder; each is written once."""

    @cache
    def save(name, dynamic):
        form = find_format(name)
        path = tmp_path_factory.mktemp(name) / f'model{form.suffix}'
        form.save(make_export(dynamic_batch=dynamic), path)
        return path

    return save


def read_metadata(name, path):
    """Read the metadata as documented by each runtime."""
    if name == 'onnx':
        import onnxruntime

        return onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map['metadata.json']
    if name == 'openvino':
        import openvino

        return openvino.Core().read_model(path).get_rt_info(['framework', 'metadata.json']).value
    texts = {'metadata.json': ''}
    if name == 'torchscript':
        torch.jit.load(path, _extra_files=texts)
    else:
        torch.export.load(path, extra_files=texts)
    return texts['metadata.json']


@pytest.mark.filterwarnings('ignore:`torch.jit.*deprecated:FutureWarning')
@pytest.mark.parametrize('dynamic', [False, True])
@pytest.mark.parametrize('name', FORMATS)
def test_file_equals_the_network(network, saved, name, dynamic):
    path = saved(name, dynamic)
    run = FORMATS[name].load(path)
    for batch in (1, 2, 5) if dynamic else (1,):
        images = torch.randn(batch, 2, 6, 5)
        torch.testing.assert_close(run(images)[0], network(images), atol=1e-6, rtol=0)
    assert json.loads(read_metadata(name, path)) == {
        'classes': ['größer', 'kleiner'],
        'input_size': [2, 6, 5],
        'mean': [0.5, 1.0],
        'of': str(nn.ReLU),
    }
    files = sorted(path.parent.iterdir())
    # The weights are inside, other than those of OpenVINO.
    assert [file.name for file in files] == (['model.bin', 'model.xml'] if name == 'openvino' else [path.name])
    assert FORMATS[name].size_of(path) == sum(file.stat().st_size for file in files)


def onnx_sizes(value):
    return [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize(('dynamic', 'batch'), [(False, 1), (True, 'batch')])
def test_onnx_names_and_sizes(saved, dynamic, batch):
    import onnx

    model = onnx.load(saved('onnx', dynamic))
    (images,), (maps,) = model.graph.input, model.graph.output
    assert (images.name, onnx_sizes(images)) == ('images', [batch, 2, 6, 5])
    assert (maps.name, onnx_sizes(maps)) == ('maps', [batch, 3, 2, 1])
    onnx.checker.check_model(model, full_check=True)


def test_openvino_names_and_sizes(saved):
    from openvino import Core

    for dynamic, batch in ((False, '1'), (True, '?')):
        model = Core().read_model(saved('openvino', dynamic))
        ports = [(port.any_name, port.partial_shape.to_string()) for port in (*model.inputs, *model.outputs)]
        assert ports == [('images', f'[{batch},2,6,5]'), ('maps', f'[{batch},3,2,1]')]


def test_signals_after_openvino_models_are_gone(tmp_path):
    """OpenVINO's core brings the stack of signal handlers, and unmaps it when it goes: the next signal would kill."""
    code = """
import signal, subprocess
from pathlib import Path
import numpy, openvino, torch
from openvino import opset13
from rescaps_plugin.export.formats import RUNTIMES

parameter = opset13.parameter([1, 2], numpy.float32)
openvino.save_model(openvino.Model([opset13.relu(parameter)], [parameter]), 'relu.xml')
signal.signal(signal.SIGCHLD, lambda *_: print('handled'))
first, second = (RUNTIMES['openvino'].load(Path('relu.xml'), 'cpu') for _ in range(2))
print(*first(torch.ones(1, 2)), *second(-torch.ones(1, 2)))
del first
del second
subprocess.run(['true'])
"""
    environment = {**os.environ, 'PYTHONPATH': str(Path(__file__).parents[2])}
    run = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, 'tensor([[1., 1.]]) tensor([[0., 0.]])\nhandled\n'), run.stderr


def test_openvino_half(network, make_export, saved, tmp_path):
    path = tmp_path / 'model.xml'
    FORMATS['openvino'].save(make_export(dynamic_batch=True, half=True), path)
    weights = [file.with_suffix('.bin').stat().st_size for file in (path, saved('openvino', True))]
    assert weights[0] < 0.6 * weights[1]
    images = torch.randn(3, 2, 6, 5)
    difference = (FORMATS['openvino'].load(path)(images)[0] - network(images)).abs().max()
    assert 1e-6 < difference < 1e-3
    assert json.loads(read_metadata('openvino', path)) == json.loads(read_metadata('openvino', saved('openvino', True)))


@pytest.mark.parametrize('name', ['onnx', 'openvino', 'exported'])
def test_fixed_batch_size(saved, name):
    run = FORMATS[name].load(saved(name, False))
    with pytest.raises(Exception, match='(?i)invalid dimensions|size is not equal|guard failed'):
        run(torch.randn(2, 2, 6, 5))


def test_onnx_has_no_paths_of_this_machine(saved):
    assert b'.py' not in saved('onnx', False).read_bytes()


def test_opset(make_export, tmp_path):
    import onnx

    path = tmp_path / 'model.onnx'
    FORMATS['onnx'].save(make_export(opset=21), path)
    assert [(entry.domain, entry.version) for entry in onnx.load(path).opset_import] == [('', 21)]
    with pytest.raises(UserError, match='--opset 400 cannot be written'):
        FORMATS['onnx'].save(make_export(opset=400), path)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(export_module, 'find_spec', lambda name: None if name == 'openvino' else object())
    with pytest.raises(UserError, match=r"--format openvino needs openvino: pip install '\.\[openvino\]'"):
        find_format('openvino')
    monkeypatch.setattr(export_module, 'find_spec', lambda name: None if name == 'onnxscript' else object())
    with pytest.raises(UserError, match=r"--format onnx needs onnxscript: pip install '\.\[export\]'"):
        find_format('onnx')
    assert find_format('exported') is FORMATS['exported']
