"""ICON's part-whole verification for tools/benchmark.py, with one feature map of level 2's size as input."""

from torch import nn

import rescaps_plugin.saliency  # noqa: F401
from rescaps_plugin.saliency.heads.icon import PartWholeVerification, whole_capsules


class Capsules(nn.Module):
    """The capsules of parts and wholes."""

    def __init__(self, kind, **routing):
        super().__init__()
        self.capsules = whole_capsules(64, 8, dict(type=kind, **routing))

    def forward(self, x):
        return self.capsules(x)


class Verification(nn.Module):
    """The capsules, with the convolution that merges three levels and the one that projects poses."""

    def __init__(self, kind, **routing):
        super().__init__()
        self.verification = PartWholeVerification(64, 8, dict(type=kind, **routing))

    def forward(self, x):
        return self.verification(x, x, x)
