"""Conversion of layers from the training form into the deploy form."""

from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from rescaps_plugin.layers.precision import without_autocast

Self = TypeVar('Self', bound='Deployable')
PaddingMode = Literal['zeros', 'reflect', 'replicate', 'circular']


class Deployable(nn.Module):
    """A layer with two forms: the training form, in which it is built, and the deploy form, made by :meth:`fuse`.

    Subclasses implement ``_fold``, which replaces their parameters by those of plain convolutions. It changes no tensor
    in place: others may hold it, such as a state dict or a layer with tied weights.
    ``timm.utils.reparameterize_model`` finds ``fuse`` by its name.
    """

    deployed: torch.jit.Final[bool]

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.deployed = False

    def _fold(self) -> None:
        raise NotImplementedError

    def fuse(self: Self) -> Self:
        """Turn into the deploy form in place (a second call changes nothing) and return the layer, in eval mode.

        Parameters of a frozen layer stay without gradients.

        Raises:
            ValueError: If a parameter is pruned, normalised or parametrised.
        """
        if not self.deployed:
            self._check_parameters()
            before = set(self.parameters())
            trainable = any(parameter.requires_grad for parameter in before)
            with torch.no_grad(), without_autocast(next(iter(before))):
                self._fold()
            for parameter in set(self.parameters()) - before:
                parameter.requires_grad_(trainable)
            self.deployed = True  # type: ignore[misc]  # final for TorchScript, which compiles one of the forms
        return self.eval()

    def _check_parameters(self) -> None:
        """Raise ``ValueError`` if a weight is computed from parameters, which the next forward would do again."""
        for module in self.modules():
            # Pruning and older normalisations set a tensor 'weight' beside parameters 'weight_orig', 'weight_g', ...
            tensors = [name for name, value in vars(module).items() if isinstance(value, Tensor)]
            computed = any(each.startswith(f'{name}_') for name in tensors for each in module._parameters)
            if computed or parametrize.is_parametrized(module):
                raise ValueError(
                    'fuse needs plain parameters, got a pruned, normalised or parametrised one in '
                    f'{type(self).__name__}: call torch.nn.utils.prune.remove or '
                    'torch.nn.utils.parametrize.remove_parametrizations first'
                )

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode.

        Raises:
            RuntimeError: On a deployed layer, whose parameters are not those of the training form.
        """
        if mode and self.deployed:
            raise RuntimeError(
                f'{type(self).__name__} is in its deploy form, which cannot be trained: build it with deploy=False and '
                'load the training checkpoint'
            )
        return super().train(mode)


def fuse_layers(network: nn.Module) -> nn.Module:
    """Turn every layer of a network into its deploy form, in place, and return the network, in eval mode."""
    for module in network.modules():
        if isinstance(module, Deployable):
            module.fuse()
    return network.eval()


def norm_scale_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the ``(scale, shift)`` per channel of a batch normalisation in evaluation: ``y = scale x + shift``."""
    assert norm.running_mean is not None and norm.running_var is not None, 'a normalisation without running statistics'
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return scale, norm.bias - scale * norm.running_mean


class StridedConv2d(nn.Conv2d):
    """``nn.Conv2d`` whose stride can be another one in a call, where the padding is of zeros."""

    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        if isinstance(stride, int):  # under torch.fx an argument of the root that is left out is a proxy
            assert self.padding_mode == 'zeros'
            return F.conv2d(x, self.weight, self.bias, stride, self.padding, self.dilation, self.groups)
        return self._conv_forward(x, self.weight, self.bias)


def conv_from_kernel(
    kernel: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    stride: int | tuple[int, ...],
    padding: int | str | tuple[int, ...],
    groups: int = 1,
    dilation: int | tuple[int, ...] = 1,
    padding_mode: PaddingMode = 'zeros',
    conv_type: type[nn.Conv2d] = nn.Conv2d,
) -> nn.Conv2d:
    """Build a convolution from its ``kernel`` [o, i, h, w], scaled by ``scale`` [o] per output, and its ``bias``."""
    out_channels, in_channels, height, width = kernel.shape
    # nn.Conv2d declares its own stride as tuple[int, ...] and takes tuple[int, int].
    place: dict[str, Any] = dict(stride=stride, padding=padding, dilation=dilation)
    conv = conv_type(
        in_channels * groups,
        out_channels,
        (height, width),
        **place,
        groups=groups,
        bias=bias is not None,
        padding_mode=padding_mode,
        device=kernel.device,
        dtype=kernel.dtype,
    )
    conv.weight.copy_(kernel if scale is None else kernel * scale[:, None, None, None])
    if bias is not None and conv.bias is not None:
        conv.bias.copy_(bias)
    return conv


def fold_input_norm(norm: _BatchNorm, conv: nn.Conv2d) -> nn.Conv2d:
    """Fold a batch normalisation into the unpadded, ungrouped convolution with bias that reads its output."""
    scale, shift = norm_scale_shift(norm)
    assert conv.bias is not None
    bias = conv.bias + torch.einsum('oihw,i->o', conv.weight, shift)
    return conv_from_kernel(conv.weight * scale[:, None, None], None, bias, conv.stride, 0, conv_type=type(conv))
