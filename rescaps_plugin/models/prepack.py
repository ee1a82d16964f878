"""Weights packed for the processor: faster inference in PyTorch itself, on a CPU and without a compiler.

PyTorch's convolutions on a CPU, which oneDNN computes, copy their weights into the layout that suits the processor at
every call. Packed weights have it already. The operators are those that ``torch.compile`` packs weights with.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.utils import reparameterize_model
from torch import Tensor, nn

from rescaps_plugin.layers.fusion import StridedConv2d


def _can_pack(dtype: torch.dtype) -> bool:
    """Return whether oneDNN packs weights of a type on this processor; bfloat16 needs AVX-512 or newer."""
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32


class PrepackedConv2d(nn.Module):
    """A convolution whose weights are packed at its first call, for inputs of that size.

    Inputs of other sizes give the same results, perhaps in more time. Under autocast it computes in autocast's type, as
    ``nn.Conv2d`` does; without packed weights where the processor cannot. Gradients are not computed, and later changes
    of the weights are not seen.

    Args:
        conv: The convolution, on a CPU, with a padding of zeros.

    Shape:
        - as of the convolution
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._weight: Tensor | None = None

    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        conv = self.conv
        strides = conv.stride if stride is None else (stride, stride)
        geometry = conv.padding, strides, conv.dilation, conv.groups
        dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else conv.weight.dtype
        if not _can_pack(dtype):
            return F.conv2d(x.to(dtype), conv.weight, conv.bias, strides, conv.padding, conv.dilation, conv.groups)
        if self._weight is None or self._weight.dtype != dtype:
            weight = conv.weight.detach().to(dtype).contiguous()
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, x.shape)
        bias = None if conv.bias is None else conv.bias.to(dtype)
        return torch.ops.mkldnn._convolution_pointwise(x.to(dtype), self._weight, bias, *geometry, 'none', [], '')

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_weight': None}


@torch.no_grad()
def prepack(model: nn.Module) -> nn.Module:
    """Copy a model into its deploy form, with weights packed for the processor, for inference without gradients.

    Args:
        model: The model, on a CPU.

    Returns:
        The copy, in eval mode and without gradients. Convolutions in float32 and bfloat16, padded with zeros, are
        packed; others stay.

    Raises:
        RuntimeError: The model is not on a CPU, or PyTorch was built without oneDNN.
    """
    devices = {parameter.device.type for parameter in model.parameters()}
    if devices - {'cpu'} or not torch.backends.mkldnn.is_available():
        raise RuntimeError(f'prepacked weights need a CPU and a PyTorch with oneDNN; the model is on {devices}')
    # It and the loop replace the children of what they are given.
    root = reparameterize_model(nn.Sequential(model)).requires_grad_(False)
    for parent in list(root.modules()):
        for name, child in parent.named_children():
            if (
                isinstance(child, nn.Conv2d)
                and type(child) in (nn.Conv2d, StridedConv2d)
                and child.padding_mode == 'zeros'
                and not isinstance(child.padding, str)
                and child.weight.dtype in (torch.float32, torch.bfloat16)
            ):
                setattr(parent, name, PrepackedConv2d(child))
    (packed,) = root.eval().children()
    return packed
