"""Checks of the arguments and inputs of layers."""

import torch
from torch import Tensor


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless an argument is one of its choices."""
    if value not in choices:
        raise ValueError(f'{name} must be one of {choices}, got {value!r}')


def check_positive(**sizes: int) -> None:
    """Raise ``ValueError`` unless every argument, given by its name, is a positive integer."""
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f'{name} must be a positive integer, got {value!r}')


def accepted_channels(layer: str, types: int, entries: int, activations: bool | None = None) -> tuple[list[int], str]:
    """Return the channel counts that a layer takes, and the error message for any other, for :func:`check_channels`.

    Args:
        layer: Name of the layer.
        types: Capsule types of the input.
        entries: Entries of a pose.
        activations: Whether the input holds activations; None: with and without. Defaults to None.
    """
    forms = []
    if activations is not False:
        forms.append((types * (entries + 1), f'{types} types x ({entries} pose entries + 1 activation)'))
    if activations is not True:
        forms.append((types * entries, f'{types} types x {entries} pose entries'))
    wanted = ' or '.join(f'{channels} channels = {parts}' for channels, parts in forms)
    return [channels for channels, _ in forms], f'{layer} takes {wanted}'


@torch.fx.wrap
def check_channels(x: Tensor, accepted: list[int], message: str) -> None:
    """Raise ``AssertionError`` unless a map ``[b, c, ...]`` has one of the accepted channel counts.

    A traced graph has the sizes of its example, so tracing skips the check. ``torch.fx`` wraps functions by their name
    in the calling module, so a module that calls this one in a ``forward`` wraps it again.
    """
    if not torch.jit.is_tracing():
        assert x.shape[1] in accepted, f'{message}, got {x.shape[1]}'


@torch.fx.wrap
def check_one_position(x: Tensor, layer: str) -> None:
    """Raise ``AssertionError`` unless a map is ``[b, c, 1, 1]``; see :func:`check_channels`."""
    if not torch.jit.is_tracing():
        assert x.shape[2] == 1 and x.shape[3] == 1, f'{layer} takes maps of 1x1, got {x.shape[2]}x{x.shape[3]}'
