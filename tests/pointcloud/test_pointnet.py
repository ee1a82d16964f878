"""The PointNet autoencoder."""

import pytest
import torch
from mmengine.registry import MODELS
from torch.nn import functional as F

from rescaps_plugin.pointcloud import PointNetAE

SMALL = dict(num_points=24, channels=(8, 12), latent_dim=10, hidden=(16,))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return PointNetAE(**SMALL).eval()


@torch.no_grad()
def test_latent_code_is_the_maximum_over_the_points(model):
    clouds = torch.randn(3, 50, 3)
    latent = model.encode(clouds)
    assert latent.shape == (3, 1, 10)
    points = torch.stack([torch.stack([model.pointwise(point[None])[0] for point in cloud]) for cloud in clouds])
    torch.testing.assert_close(latent[:, 0], points.max(dim=1).values)
    torch.testing.assert_close(model.encode(clouds[:, torch.randperm(50)]), latent)


@torch.no_grad()
def test_decoder_is_two_linear_layers(model):
    latent = torch.randn(3, 1, 10)
    first, second = (layer for layer in model.decoder if isinstance(layer, torch.nn.Linear))
    expected = second(F.relu(first(latent[:, 0]))).reshape(3, 24, 3)
    torch.testing.assert_close(model.decode(latent), expected)


def test_it_learns_clouds():
    torch.manual_seed(0)
    model = MODELS.build(dict(type='PointNetAE', loss=dict(type='ChamferLoss'), **SMALL))
    clouds = torch.randn(4, 24, 3)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        losses.append(model(clouds, mode='loss')['loss'])
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 5
    (sample, *_) = model.eval()(clouds, mode='predict')
    assert sample.pred_points.shape == (24, 3) and sample.latent.shape == (1, 10)


@pytest.mark.parametrize('wrong', [dict(num_points=0), dict(latent_dim=0), dict(num_points=2.5)])
def test_sizes_are_checked(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f'{name} must be a positive integer, got'):
        PointNetAE(**SMALL | wrong)


def test_clouds_are_checked(model):
    with pytest.raises(ValueError, match=r'inputs must be clouds \[b, n, 3\] in one tensor, got \(2, 5\)'):
        model(torch.randn(2, 5))
    with pytest.raises(ValueError, match="mode must be 'tensor', 'loss' or 'predict', got 'x'"):
        model(torch.randn(2, 5, 3), mode='x')
