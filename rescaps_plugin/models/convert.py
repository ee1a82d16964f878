"""Conversion of the convolutions of existing networks to residual pose routing."""

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from rescaps_plugin.layers.rpr_conv import RPRConv2d

Select = str | Sequence[str] | Callable[[str, nn.Conv2d], bool]


def convert_to_rpr(model: nn.Module, select: Select | None = None, **rpr) -> nn.Module:
    """Replace convolutions of a network by :class:`~rescaps_plugin.layers.RPRConv2d`, in place, and keep their weights.

    The output of the network does not change: the new layers start as the convolutions that they replace, and
    hold the same parameter objects. Build the optimizer afterwards, since there are new parameters.
    ``torch.jit.script`` does not compile the new layers: trace or export the network.

    Args:
        model: Any network. Only plain ``nn.Conv2d`` are replaced, no subclasses, which may compute something else, and
            no convolutions within capsule layers (subclasses of those of ``rescaps_plugin.layers``).
        select: Convolutions to replace: a pattern of names as in the shell (``'layer4.*.conv2'``), several of them, or
            a function of name and convolution. Defaults to None: ungrouped 3x3 convolutions whose input channels are
            capsules.
        **rpr: Arguments of ``RPRConv2d``: ``pose_size``, ``routing``, ``activation``.

    Returns:
        ``model``, or its replacement if it is a convolution itself.

    Raises:
        ValueError: If nothing is selected, or a convolution with hooks, which would be lost.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3))
        >>> [type(layer).__name__ for layer in convert_to_rpr(network)]
        ['Conv2d', 'ReLU', 'RPRConv2d']
    """
    root = nn.ModuleList([model])
    chosen = _selection(select, **rpr)
    places = [(name.partition('.')[2], parent, key, conv) for name, parent, key, conv in _convolutions(root)]
    converted: dict[nn.Conv2d, RPRConv2d] = {}
    for name, _, _, conv in places:
        if conv not in converted and chosen(name, conv):
            converted[conv] = _convert(name, conv, **rpr)
    if not converted:
        names = ', '.join(dict.fromkeys(name for name, *_ in places)) or 'none'
        raise ValueError(f'select must choose plain nn.Conv2d of the network, got {select!r}; there are: {names}')
    # A convolution that is used in several places remains shared.
    for _, parent, attribute, conv in places:
        if conv in converted:
            setattr(parent, attribute, converted[conv])
    return root[0]


def _convolutions(parent: nn.Module, prefix: str = '') -> Iterator[tuple[str, nn.Module, str, nn.Conv2d]]:
    """Yield every plain convolution: its full name, its parent module, its name there, and the convolution."""
    for attribute, child in parent._modules.items():
        if type(child) is nn.Conv2d:
            yield prefix + attribute, parent, attribute, child
        elif child is not None and not _is_capsule_layer(child):
            yield from _convolutions(child, f'{prefix}{attribute}.')


def _is_capsule_layer(module: nn.Module) -> bool:
    return any(base.__module__.startswith('rescaps_plugin.layers.') for base in type(module).__mro__)


def _selection(select: Select | None, pose_size: int = 4, **_) -> Callable[[str, nn.Conv2d], bool]:
    if select is None:
        return lambda _, conv: conv.kernel_size == (3, 3) and conv.groups == 1 and conv.in_channels % pose_size**2 == 0
    if callable(select):
        return select
    patterns = [select] if isinstance(select, str) else select
    return lambda name, _: any(fnmatchcase(name, pattern) for pattern in patterns)


def _convert(name: str, conv: nn.Conv2d, **rpr) -> RPRConv2d:
    if conv._forward_hooks or conv._forward_pre_hooks or conv._backward_hooks or conv._backward_pre_hooks:
        raise ValueError(f'select must leave out convolutions with hooks (weight normalisation, ...), got {name!r}')
    # nn.Conv2d declares these as tuple[int, ...] and takes tuple[int, int].
    geometry: dict[str, Any] = {name: getattr(conv, name) for name in ('kernel_size', 'stride', 'padding', 'dilation')}
    new = RPRConv2d(
        conv.in_channels,
        conv.out_channels,
        **geometry,
        groups=conv.groups,
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
        **rpr,
    )
    new.weight, new.bias = conv.weight, conv.bias
    return new.train(conv.training)
