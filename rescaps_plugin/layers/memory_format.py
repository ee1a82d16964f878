"""Memory formats of maps: contiguous or channels-last.

``torch.fx`` wraps functions by their name in the calling module, so a module that calls one of these in a ``forward``
wraps it again.
"""

import torch
from torch import Tensor


def is_channels_last(x: Tensor) -> bool:
    """Return whether a map ``[b, c, h, w]``, or a slice of the channels of one, is in channels-last memory format."""
    return x.dim() == 4 and x.stride(1) == 1 and x.shape[2] * x.shape[3] > 1


@torch.fx.wrap
def in_layout_of(y: Tensor, x: Tensor) -> Tensor:
    """Return a map in the memory format of another, channels-last or contiguous; the map itself if it already is."""
    return y.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else y.contiguous()
