"""The CPU-sized ResNet-18 of configs/swap, for tools/benchmark.py."""

import timm
from torch import nn

from rescaps_plugin.models import convert_to_rpr


class QuarterResNet18(nn.Module):
    """The network, converted unless ``routing`` is None."""

    def __init__(self, routing=None, activation=True):
        super().__init__()
        self.network = timm.create_model('resnet18', channels=(16, 32, 64, 128), num_classes=10)
        if routing:
            convert_to_rpr(self.network, routing=routing, activation=activation)

    def forward(self, x):
        return self.network(x)
