"""Prepacked weights."""

import copy
import pickle

import pytest
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn

from rescaps_plugin.models.prepack import PrepackedConv2d, prepack

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='PyTorch has no oneDNN')


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = timm.create_model('rescaps_tiny').train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 32, 32))
    return network.eval()


@torch.no_grad()
def test_scores_are_those_of_the_model(network):
    packed = prepack(network)
    names = [name for name, module in packed.named_modules() if isinstance(module, PrepackedConv2d)]
    deployed = reparameterize_model(network)
    assert not any(module.training for module in packed.modules())
    assert names == [name for name, module in deployed.named_modules() if isinstance(module, nn.Conv2d)]
    for size in ((1, 3, 32, 32), (5, 3, 32, 32), (1, 3, 32, 32)):
        for x in (torch.randn(size), torch.randn(size).contiguous(memory_format=torch.channels_last)):
            torch.testing.assert_close(packed(x), network(x), rtol=0, atol=1e-5)
    # Types, as autocast sets them.
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(packed(x), deployed(x), rtol=0, atol=1e-2)
        assert packed(x).dtype == deployed(x).dtype
    torch.testing.assert_close(packed(x), network(x), rtol=0, atol=1e-5)


def test_weights_are_packed_once(network, monkeypatch):
    reorder = torch.ops.mkldnn._reorder_convolution_weight
    reordered = []
    monkeypatch.setattr(
        torch.ops.mkldnn, '_reorder_convolution_weight', lambda *args: reordered.append(args) or reorder(*args)
    )
    packed = prepack(network)
    count = sum(isinstance(module, PrepackedConv2d) for module in packed.modules())
    assert count > 3
    with torch.no_grad():
        for batch in (2, 2, 1):
            packed(torch.randn(batch, 3, 32, 32))
            assert len(reordered) == count


def test_the_model_is_copied(network):
    before = copy.deepcopy(network.state_dict())
    prepack(network)
    torch.testing.assert_close(network.state_dict(), before)
    assert not any(isinstance(module, PrepackedConv2d) for module in network.modules())


def test_packed_model_is_copied_and_saved(network):
    packed = prepack(network)
    x = torch.randn(2, 3, 32, 32)
    size = len(pickle.dumps(packed))
    wanted = packed(x)
    assert not wanted.requires_grad
    assert len(pickle.dumps(packed)) == size
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        torch.testing.assert_close(other(x), wanted, rtol=0, atol=0)


CONVOLUTIONS = [
    dict(stride=2, padding=1, groups=4, bias=False),
    dict(dilation=2, padding=(2, 1)),
    dict(padding='same'),
    dict(padding=1, padding_mode='reflect'),
    dict(dtype=torch.float64),
    dict(dtype=torch.bfloat16),
]


@torch.no_grad()
@pytest.mark.parametrize('options', CONVOLUTIONS, ids=str)
def test_convolutions(options):
    conv = nn.Conv2d(8, 16, 3, **options)
    x = torch.randn(2, 8, 9, 7, dtype=conv.weight.dtype)
    packed = prepack(conv)
    torch.testing.assert_close(packed(x), conv(x))
    unpacked = isinstance(options.get('padding'), str) or 'padding_mode' in options or x.dtype == torch.float64
    assert isinstance(packed, PrepackedConv2d) != unpacked


def test_other_devices():
    with pytest.raises(RuntimeError, match='need a CPU.*meta'):
        prepack(nn.Conv2d(1, 1, 1, device='meta'))
