"""Folding of batch normalisations, including those replaced by ``convert_sync_batchnorm``."""

import pytest
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import rescaps_plugin  # noqa: F401
from rescaps_plugin.layers import PrimaryCaps, ResidualPoseBlock
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
