"""Base of the vote-based routings: windows of child capsules, and coefficients over their parents.

Every parent capsule covers a window of the map, and every child in the window casts a vote for it, a learned
linear map of its pose. Residual pose routing is linear up to its activations and so needs no votes; the routings here
weight every vote separately. Votes are ``k n d`` numbers for each parent, by far the largest tensor of such a layer;
each routing keeps as few tensors of that size as its formulas allow.

Letters: ``b`` batch, ``l`` position of the output (window), ``k`` offset in the window (row by row), ``n`` child type,
``q = k n`` child in the window, ``o`` parent type, ``d`` entry of the child's pose, ``e`` entry of the parent's.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescaps_plugin.layers.capsule_map import split_channels
from rescaps_plugin.layers.checks import accepted_channels, check_channels, check_positive
from rescaps_plugin.layers.memory_format import in_layout_of

# torch.fx wraps functions by their name in the calling module.
for _function in (check_channels, in_layout_of):
    torch.fx.wrap(_function.__name__)


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` in float32, or in float64 if it is in float64."""
    return x if x.dtype == torch.float64 else x.float()


def divide_by_mass(x: Tensor, mass: Tensor) -> Tensor:
    """Divide by the total mass of the capsules, clamped to at least 1e-8 for the case that none is active."""
    return x / mass.clamp_min(1e-8)


def to_log_odds(probability: Tensor) -> Tensor:
    """Return ``log(p / (1 - p))``, finite and with a gradient at 0 and 1 too: 1e-8 is added to both terms."""
    return torch.log(probability + 1e-8) - torch.log(1 - probability + 1e-8)


def softmax_over_parents(logits: Tensor, child: Tensor, places: int, in_types: int) -> Tensor:
    """Softmax over all parents of each child: over the parent types of all windows that contain it.

    Args:
        logits: ``[b, l, o, q]``.
        child: Position of each child in the input map, ``[l * k]``; the zero padding counts as one more position.
        places: Number of such positions.
        in_types: Child types ``n``.

    Returns:
        Coefficients ``[b, l, o, q]`` that sum to one over the parents of every child.
    """
    batch, positions, _, children = logits.shape
    # Over the types of one window first, then over the windows.
    window = torch.logsumexp(logits, dim=2).reshape(batch, child.shape[0], in_types)
    nowhere = window.new_full((batch, places, in_types), -torch.inf)
    top = nowhere.scatter_reduce(1, child[None, :, None].expand_as(window), window.detach(), 'amax')
    top = top.index_select(1, child)
    total = torch.zeros_like(nowhere).index_add(1, child, torch.exp(window - top)).index_select(1, child)
    norm = (top + torch.log(total)).reshape(batch, positions, 1, children)
    return torch.exp(logits - norm)


@torch.fx.wrap
def window_positions(x: Tensor, kernel_size: tuple[int, int], padding: tuple[int, int], stride: int) -> Tensor:
    """Return the position in ``x`` of every offset of every window, ``[l * k]``: 0 in the padding, else from 1."""
    height, width = x.shape[2], x.shape[3]
    number = torch.arange(1, height * width + 1, device=x.device, dtype=torch.float32).reshape(1, 1, height, width)
    return F.unfold(number, kernel_size, padding=padding, stride=stride)[0].t().flatten().long()


class WindowRouting(nn.Module):
    """Base of the layers that route the votes of the children in a window. Subclasses implement ``forward``.

    Args:
        in_types: Capsule types of the input.
        out_types: Capsule types of the output. Defaults to ``in_types``.
        kernel_size: Side of the window, or its height and width: the map's own for class capsules. Defaults to 3.
        stride: Stride of the output. Defaults to 1.
        padding: Zero padding, of absent capsules; ``None`` is ``kernel_size // 2``. Defaults to None.
        in_dim: Entries of a child's pose. Defaults to 16.
        out_dim: Entries of a parent's pose. Defaults to 16.
        log_odds: Whether the output has the log-odds of the activations in their place, as of class capsules that a
            cross-entropy trains. Defaults to False.
        input_activations: Whether the input must hold activations; None: with and without. Defaults to True.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        in_types: int,
        out_types: int | None = None,
        kernel_size: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int | None = None,
        in_dim: int = 16,
        out_dim: int = 16,
        log_odds: bool = False,
        input_activations: bool | None = True,
    ) -> None:
        super().__init__()
        out_types = in_types if out_types is None else out_types
        sides = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        self.kernel_size = cast(tuple[int, int], sides)
        check_positive(in_types=in_types, out_types=out_types, stride=stride, in_dim=in_dim, out_dim=out_dim)
        if len(self.kernel_size) != 2 or min(self.kernel_size) < 1:
            raise ValueError(f'kernel_size must be a positive integer or two, got {kernel_size!r}')
        self.padding = cast(tuple[int, int], tuple(side // 2 if padding is None else padding for side in sides))
        if min(self.padding) < 0:
            raise ValueError(f'padding must be None or at least 0, got {padding!r}')
        self.in_types = in_types
        self.out_types = out_types
        self.stride = stride
        self.in_dim = in_dim
        self.out_dim = out_dim
        self.log_odds = log_odds
        # Shape of an output pose: a vector here, a matrix in the routings of matrix capsules.
        self.pose_shape: tuple[int, ...] = (out_dim,)
        self.window = self.kernel_size[0] * self.kernel_size[1]
        self.out_channels = out_types * (out_dim + 1)
        self.accepted_channels, self.channels_error = accepted_channels(
            type(self).__name__, in_types, in_dim, input_activations
        )

    def windows(self, x: Tensor) -> Tensor:
        """Unfold channels of the map into children of windows: ``[b, n * c, h, w]`` to ``[k, n, b * l, c]``."""
        x = F.unfold(x, self.kernel_size, padding=self.padding, stride=self.stride)
        x = x.reshape(x.shape[0], self.in_types, x.shape[1] // (self.in_types * self.window), self.window, x.shape[2])
        return x.permute(3, 1, 0, 4, 2).flatten(2, 3)

    def poses(self, x: Tensor) -> Tensor:
        """Return the children's poses, ``[q, b * l, d]``."""
        check_channels(x, self.accepted_channels, self.channels_error)
        return self.windows(split_channels(x, self.in_types * self.in_dim)[0]).flatten(0, 1)

    def activations(self, x: Tensor) -> Tensor:
        """Return the children's activations, ``[q, b * l]``; zero in the padding."""
        return self.windows(split_channels(x, self.in_types * self.in_dim)[1]).flatten(0, 1).squeeze(2)

    def child_positions(self, x: Tensor) -> Tensor:
        """Return the position of every child of every window, see :func:`window_positions`."""
        return window_positions(x, self.kernel_size, self.padding, self.stride)

    def by_parent(self, weight: Tensor) -> Tensor:
        """Split the last axis of a parameter by parents, ``[..., o * e]`` to ``[..., o, e]``.

        Parameters have no more than four axes: ``network.to(memory_format=torch.channels_last)`` takes no others.
        """
        return weight.unflatten(-1, (self.out_types, -1))

    def capsule_map(self, pose: Tensor, activation: Tensor, x: Tensor) -> Tensor:
        """Arrange parents as a capsule map: ``[b * l, o, e]`` and ``[b * l, o]`` to ``[b, o * (e + 1), h', w']``."""
        height = (x.shape[2] + 2 * self.padding[0] - self.kernel_size[0]) // self.stride + 1
        width = (x.shape[3] + 2 * self.padding[1] - self.kernel_size[1]) // self.stride + 1
        capsules = torch.cat([pose.flatten(1), activation], dim=1).to(x.dtype)
        capsules = capsules.reshape(x.shape[0], height, width, self.out_channels).permute(0, 3, 1, 2)
        # This is channels-last, so that a map in that format is not copied.
        return in_layout_of(capsules, x)

    def extra_repr(self) -> str:
        """Describe the layer in ``print(model)``."""
        return (
            f'{self.in_types}, {self.out_types}, kernel_size={self.kernel_size}, stride={self.stride}, '
            f'padding={self.padding}, in_dim={self.in_dim}, out_dim={self.out_dim}'
        )
