"""Folding of batch normalisations and composition of kernels, which change nothing but the layer itself."""

import copy

import pytest
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations, parametrize, prune

import rescaps_plugin  # noqa: F401
from rescaps_plugin.layers import PrimaryCaps, ResidualPoseBlock, ResidualPoseRouting, RPRConv2d
from rescaps_plugin.layers.fusion import fuse_layers
from tests.layers.test_residual_pose import randomise

NETWORKS = {
    'rescaps_tiny': lambda: timm.create_model('rescaps_tiny'),
    'rescaps_tiny, pointwise': lambda: timm.create_model('rescaps_tiny', routing='pointwise'),
    'block': lambda: ResidualPoseBlock(3, 2, norm=True),
    'primary': lambda: PrimaryCaps(3, 2, activation=True, norm=True),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_synchronised_normalisations_fold_completely(name):
    torch.manual_seed(0)
    network = nn.Sequential(NETWORKS[name]()).double()
    randomise(network)
    network = nn.SyncBatchNorm.convert_sync_batchnorm(network).eval()
    assert any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    fused = reparameterize_model(network)
    assert not any(isinstance(module, _BatchNorm) for module in fused.modules())
    torch.testing.assert_close(fused(x), network(x))


LAYERS = NETWORKS | {
    'primary, padded': lambda: PrimaryCaps(3, 2, kernel_size=3, padding=1, norm=True),
    'conv': lambda: nn.Sequential(nn.Conv2d(3, 16, 1), RPRConv2d(16, 4, 3)),
    'conv, pointwise': lambda: nn.Sequential(nn.Conv2d(3, 16, 1), RPRConv2d(16, 4, 3, routing='pointwise')),
    'conv, linear': lambda: nn.Sequential(nn.Conv2d(3, 16, 1), RPRConv2d(16, 4, 3, activation=False)),
    'conv, no capsules': lambda: nn.Sequential(RPRConv2d(3, 4, 3)),
}


@pytest.fixture(params=LAYERS)
def network(request):
    torch.manual_seed(0)
    network = LAYERS[request.param]().double().eval()
    randomise(network)
    return network


def images():
    return torch.randn(2, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def tie(network, other):
    """Give a network the parameters of another."""
    for name, parameter in list(other.named_parameters()):
        owner, _, own = name.rpartition('.')
        setattr(network.get_submodule(owner), own, parameter)
    return network


def test_tensors_that_others_hold_stay(network):
    twin = tie(copy.deepcopy(network), network)
    frozen = next(iter(network.parameters())).requires_grad_(False)
    state = network.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    expected = network(images())
    torch.testing.assert_close(fuse_layers(network)(images()), expected)
    torch.testing.assert_close(dict(state), before, rtol=0, atol=0)
    assert not frozen.requires_grad
    torch.testing.assert_close(twin(images()), expected, rtol=0, atol=0)
    torch.testing.assert_close(fuse_layers(twin)(images()), expected)


def test_fused_under_autocast(network):
    network.float()
    expected = fuse_layers(copy.deepcopy(network)).state_dict()
    with torch.autocast('cpu', torch.bfloat16):
        fuse_layers(network)
    torch.testing.assert_close(network.state_dict(), expected, rtol=0, atol=0)


def pruned(module, name):
    prune.l1_unstructured(module, name, 0.5)
    return lambda: prune.remove(module, name)


def parametrised(module, name):
    parametrizations.weight_norm(module, name)
    return lambda: parametrize.remove_parametrizations(module, name)


def normalised(module, name):
    nn.utils.weight_norm(module, name)
    return lambda: nn.utils.remove_weight_norm(module, name)


@pytest.mark.filterwarnings('ignore:.*weight_norm.* is deprecated')
@pytest.mark.parametrize('change', [pruned, parametrised, normalised])
@pytest.mark.parametrize(
    ('build', 'owner', 'name'),
    [
        (lambda: PrimaryCaps(32, 2, norm=True), 'pose', 'weight'),
        (lambda: PrimaryCaps(32, 2, activation=True, norm=True), 'activation', 'weight'),
        (lambda: ResidualPoseRouting(2), 'mix', 'weight'),
        (lambda: ResidualPoseRouting(2), '', 'pose_weight'),
        (lambda: RPRConv2d(32, 4, 3), '', 'weight'),
        (lambda: RPRConv2d(32, 4, 3, activation=False), '', 'weight'),
    ],
)
def test_computed_weights_must_be_made_permanent(build, owner, name, change):
    layer = build().double().eval()
    randomise(layer)
    make_permanent = change(layer.get_submodule(owner), name)
    x = torch.randn(2, 32, 5, 4, dtype=torch.float64)
    expected = layer(x)
    with pytest.raises(ValueError, match=r'fuse needs plain parameters, got a pruned.*prune\.remove'):
        layer.fuse()
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
    make_permanent()
    torch.testing.assert_close(layer.fuse()(x), expected)
