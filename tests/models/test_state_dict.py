"""Names and shapes in state dicts, which must not change because checkpoints depend on them."""

import hashlib

import pytest
import timm
import torch

import rescaps_plugin  # noqa: F401
from rescaps_plugin.layers.fusion import fuse_layers
from rescaps_plugin.models import convert_to_rpr


def digest(network):
    """Return the number of entries, and the first digits of the SHA-256 of their names and shapes in order."""
    entries = [f'{name} {tuple(value.shape)}' for name, value in network.state_dict().items()]
    return len(entries), hashlib.sha256('\n'.join(entries).encode()).hexdigest()[:16]


NETWORKS = {
    'rescaps_cifar': lambda: timm.create_model('rescaps_cifar'),
    'rescaps_cifar, pointwise': lambda: timm.create_model('rescaps_cifar', routing='pointwise'),
    'rescaps_imagenet': lambda: timm.create_model('rescaps_imagenet'),
    'resnet18, window': lambda: convert_to_rpr(timm.create_model('resnet18'), routing='window'),
    'resnet18, pointwise': lambda: convert_to_rpr(timm.create_model('resnet18'), routing='pointwise'),
}


@pytest.mark.parametrize(
    ('name', 'training', 'deploy'),
    [
        ('rescaps_cifar', (156, '2f349a2feb6a83f4'), (54, '2dcdb3448a783ca3')),
        ('rescaps_cifar, pointwise', (156, '6118414389911358'), (54, 'a3415755462ca3b3')),
        ('rescaps_imagenet', (156, '07f67486927c189a'), (54, '17fb0b7b0ce764a5')),
        ('resnet18, window', (186, '02b5c684d68c3679'), (154, '8cf2e019eba7a904')),
        ('resnet18, pointwise', (186, '48bd3fd38d7cae0c'), (154, '922df62e45049104')),
    ],
)
def test_names_and_shapes_of_checkpoints(name, training, deploy):
    with torch.device('meta'):
        network = NETWORKS[name]()
        assert digest(network) == training
        assert digest(fuse_layers(network)) == deploy
