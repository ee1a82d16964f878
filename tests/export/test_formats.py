"""Exported files of a small network, run in their runtimes, and their metadata."""

import json
from functools import cache

import pytest
import torch
from torch import nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import replacing
from rescaps_plugin.export import formats as export_module
from rescaps_plugin.export.formats import FORMATS, Export, find_format
from rescaps_plugin.export.quantization import quantize

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
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # the weights are inside


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


@pytest.mark.parametrize('name', ['onnx', 'exported'])
def test_fixed_batch_size(saved, name):
    run = FORMATS[name].load(saved(name, False))
    with pytest.raises(Exception, match='(?i)invalid dimensions|guard failed'):
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


def test_int8_agrees_with_fp32(network, saved, tmp_path):
    import onnx

    torch.manual_seed(1)
    fp32, int8 = saved('onnx', True), tmp_path / 'int8.onnx'
    quantize(fp32, int8, [torch.randn(8, 2, 6, 5) for _ in range(4)])
    images = torch.randn(16, 2, 6, 5)
    difference = (FORMATS['onnx'].load(int8)(images)[0] - network(images)).abs().max()
    # Within the error of 7-bit weights and 8-bit activations, but not equal to fp32.
    assert 1e-5 < difference < 0.02

    model = onnx.load(int8)
    assert [entry.domain for entry in model.opset_import] == ['']
    weights = {tuple(weight.dims) for weight in model.graph.initializer if weight.data_type == onnx.TensorProto.INT8}
    assert weights >= {(4, 2, 3, 3), (3, 4, 3, 3)}
    scales = {tuple(scale.dims) for scale in model.graph.initializer if 'weight_scale' in scale.name}
    assert scales == {(4,), (3,)}  # one for each output channel
    assert read_metadata('onnx', int8) == read_metadata('onnx', fp32)


def test_int8_is_calibrated_by_the_batches(network, saved, tmp_path):
    fp32, int8 = saved('onnx', True), tmp_path / 'int8.onnx'
    torch.manual_seed(1)
    images = torch.randn(16, 2, 6, 5)
    errors = []
    for scale in (1, 0.01):
        quantize(fp32, int8, [scale * images])
        errors.append((FORMATS['onnx'].load(int8)(images)[0] - network(images)).abs().max())
    assert errors[1] > 10 * errors[0]  # values beyond the calibrated range are clipped


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(export_module, 'find_spec', lambda name: None if name == 'onnxscript' else object())
    with pytest.raises(UserError, match=r"--format onnx needs onnxscript: pip install 'rescaps\[export\]'"):
        find_format('onnx')
    assert find_format('exported') is FORMATS['exported']


def test_replacing_creates_folders_and_replaces_at_the_end(tmp_path):
    path = tmp_path / 'a' / 'b' / 'model.bin'
    for content in ('first', 'second'):
        with replacing(path) as draft:
            draft.write_text(content)
            assert path.exists() == (content == 'second')
        assert path.read_text() == content
    assert [file.name for file in path.parent.iterdir()] == ['model.bin']


def test_replacing_keeps_no_file_after_an_error(tmp_path):
    path = tmp_path / 'model.bin'
    with pytest.raises(ZeroDivisionError), replacing(path) as draft:
        draft.write_text('half')
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []
