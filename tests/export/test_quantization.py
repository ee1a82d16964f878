"""Int8 files of a small network."""

import pytest
import torch
from torch import nn

from rescaps_plugin.export.formats import FORMATS, Export
from rescaps_plugin.export.quantization import quantize


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.Sigmoid()).requires_grad_(False).eval()


@pytest.fixture(scope='module')
def fp32(network, tmp_path_factory):
    path = tmp_path_factory.mktemp('onnx') / 'model.onnx'
    export = Export(network, torch.randn(1, 2, 6, 5), 'images', ('maps',), {'of': 'this'}, dynamic_batch=True)
    FORMATS['onnx'].save(export, path)
    return path


def test_int8_follows_fp32(network, fp32, tmp_path):
    import onnx

    torch.manual_seed(1)
    int8 = tmp_path / 'int8.onnx'
    quantize(fp32, int8, [torch.randn(8, 2, 6, 5) for _ in range(4)])
    images = torch.randn(16, 2, 6, 5)
    difference = (FORMATS['onnx'].load(int8)(images)[0] - network(images)).abs().max()
    # 7 bits of weights and 8 of activations, and not the fp32 network under another name.
    assert 1e-5 < difference < 0.02

    model = onnx.load(int8)
    assert [entry.domain for entry in model.opset_import] == ['']
    weights = {tuple(weight.dims) for weight in model.graph.initializer if weight.data_type == onnx.TensorProto.INT8}
    assert weights >= {(4, 2, 3, 3), (3, 4, 3, 3)}
    scales = {tuple(scale.dims) for scale in model.graph.initializer if 'weight_scale' in scale.name}
    assert scales == {(4,), (3,)}  # one for each output channel
    assert {entry.key: entry.value for entry in model.metadata_props}['metadata.json'] == '{"of": "this"}'


def test_int8_is_calibrated_by_the_batches(network, fp32, tmp_path):
    int8 = tmp_path / 'int8.onnx'
    torch.manual_seed(1)
    images = torch.randn(16, 2, 6, 5)
    errors = []
    for scale in (1, 0.01):
        quantize(fp32, int8, [scale * images])
        errors.append((FORMATS['onnx'].load(int8)(images)[0] - network(images)).abs().max())
    assert errors[1] > 10 * errors[0]  # all that is beyond the calibrated range is cut off
