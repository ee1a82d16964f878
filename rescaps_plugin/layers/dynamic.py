"""Dynamic routing of vector capsules.

Sabour, Frosst, Hinton, *Dynamic routing between capsules*, NeurIPS 2017.

Letters are those of :mod:`rescaps_plugin.layers.window`.
"""

import math

import torch
from torch import Tensor, nn

from rescaps_plugin.layers.checks import check_positive
from rescaps_plugin.layers.precision import without_autocast
from rescaps_plugin.layers.window import WindowRouting, full_precision, softmax_over_parents, to_log_odds


@torch.fx.wrap
def squash(x: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """Squash vectors to lengths in [0, 1): ``|x|^2 / (1 + |x|^2) x / |x|`` (Sabour et al. 2017, eq. 1).

    Args:
        x: Vectors along ``dim``.
        dim: Axis of the vectors' entries. Defaults to -1.

    Returns:
        The squashed vectors, and their lengths, without that axis. Both have finite gradients at zero.
    """
    full = full_precision(x)
    length = torch.linalg.vector_norm(full, dim=dim, keepdim=True)
    square = length.square()
    return (full * (length / (1 + square))).to(x.dtype), (square / (1 + square)).squeeze(dim).to(x.dtype)


def _route(
    pose: Tensor, child: Tensor, places: int, weight: Tensor, iterations: int, coupling_grad: bool
) -> tuple[Tensor, Tensor]:
    children, parents, _ = pose.shape
    in_types, out_types, out_dim = weight.shape[1], weight.shape[3], weight.shape[4]
    votes = torch.bmm(pose, weight.flatten(3).flatten(0, 1))
    votes = votes.reshape(children, parents, out_types, out_dim).permute(1, 2, 0, 3).contiguous()
    positions = child.shape[0] * in_types // children
    votes = votes.reshape(parents // positions, positions, out_types, children, out_dim)
    heard = votes if coupling_grad else votes.detach()
    logits = torch.zeros_like(votes[..., 0])
    total = torch.zeros_like(votes[..., :1, :])
    length = logits[..., :1]
    for iteration in range(iterations):
        coupling = softmax_over_parents(logits, child, places, in_types)
        last = iteration + 1 == iterations
        total, length = squash(torch.matmul(coupling.unsqueeze(-2), votes if last else heard))
        if not last:
            logits = logits + torch.matmul(heard, total.transpose(-1, -2)).squeeze(-1)
    return total.reshape(parents, out_types, out_dim), length.reshape(parents, out_types)


@torch.fx.wrap
def dynamic_routing(
    pose: Tensor, child: Tensor, places: int, weight: Tensor, iterations: int, coupling_grad: bool
) -> tuple[Tensor, Tensor]:
    """Route by agreement, in float32, also under autocast except in TorchScript; see :class:`DynamicRouting`.

    Args:
        pose: Poses of the children of every window, ``[q, b * l, d]``.
        child: Their positions in the input map, ``[l * k]``, see ``window_positions``.
        places: Number of positions.
        weight: Transforms, ``[k, n, d, o, e]``.
        iterations: Number of iterations.
        coupling_grad: Whether gradients flow through the couplings.

    Returns:
        Poses ``[b * l, o, e]`` and their lengths ``[b * l, o]``.
    """
    pose, weight = full_precision(pose), full_precision(weight)
    if torch.jit.is_scripting():
        return _route(pose, child, places, weight, iterations, coupling_grad)
    with without_autocast(pose):
        return _route(pose, child, places, weight, iterations, coupling_grad)


class DynamicRouting(WindowRouting):
    """Capsule layer with dynamic routing (Sabour et al. 2017, procedure 1).

    Every child ``i`` casts the vote ``u_ij = W_ij u_i`` for parent ``j``, a linear map of its whole pose. Couplings
    ``c_i = softmax(b_i)`` weight the votes, ``v_j = squash(sum_i c_ij u_ij)``, and agreement raises them,
    ``b_ij += u_ij v_j``. The softmax runs over all parents of the child, as in :class:`EMRouting`. A capsule's
    activation is the length of its pose, so activations of the input are ignored.

    Args:
        in_types: Capsule types of the input.
        out_types: Capsule types of the output. Defaults to ``in_types``.
        kernel_size: Side of the window, or its height and width: the map's own for class capsules. Defaults to 3.
        stride: Stride of the output. Defaults to 1.
        padding: Zero padding; ``None`` is ``kernel_size // 2``. Defaults to None.
        pose_size: Side ``p`` of a pose matrix. Defaults to 4.
        iterations: Number of iterations. Defaults to 3.
        in_dim: Entries of an input pose that is a vector; ``None`` is ``p * p``. Defaults to None.
        out_dim: Entries of an output pose that is a vector; ``None`` is ``p * p``. Defaults to None.
        coupling_grad: Whether gradients flow through the couplings too. If not, these are treated as constants, and
            gradients flow only through the votes of the last iteration. Defaults to True.
        transform_std: Initial standard deviation of the transforms; ``None`` is ``1 / sqrt(in_dim)``, which keeps the
            length of votes. Parents of thousands of children then start saturated, so class capsules need less: 0.1 in
            the paper's networks. Defaults to None.
        log_odds: Whether the output has the log-odds of the activations in their place. Defaults to False.

    Shape:
        - input: a capsule map ``[b, in_types * (in_dim + 1), h, w]`` or its poses ``[b, in_types * in_dim, h, w]``
        - output: a capsule map ``[b, out_types * (out_dim + 1), h', w']``, activations in [0, 1)

    Raises:
        ValueError: If a size is not positive.
        AssertionError: If the input has another number of channels.

    Example:
        >>> DynamicRouting(32, 10, kernel_size=6, padding=0, in_dim=8)(torch.rand(1, 32 * 8, 6, 6)).shape
        torch.Size([1, 170, 1, 1])
    """

    def __init__(
        self,
        in_types: int,
        out_types: int | None = None,
        kernel_size: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int | None = None,
        pose_size: int = 4,
        iterations: int = 3,
        in_dim: int | None = None,
        out_dim: int | None = None,
        coupling_grad: bool = True,
        transform_std: float | None = None,
        log_odds: bool = False,
    ) -> None:
        in_dim = pose_size**2 if in_dim is None else in_dim
        out_dim = pose_size**2 if out_dim is None else out_dim
        super().__init__(
            in_types, out_types, kernel_size, stride, padding, in_dim, out_dim, log_odds, input_activations=None
        )
        check_positive(iterations=iterations)
        self.iterations = iterations
        self.coupling_grad = coupling_grad
        self.transform_std = 1 / math.sqrt(in_dim) if transform_std is None else transform_std
        self.weight = nn.Parameter(torch.empty(self.window, in_types, in_dim, self.out_types * out_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw transforms from ``N(0, transform_std^2)``."""
        nn.init.normal_(self.weight, std=self.transform_std)

    def forward(self, x: Tensor) -> Tensor:
        pose, activation = dynamic_routing(
            self.poses(x),
            self.child_positions(x),
            1 + x.shape[2] * x.shape[3],
            self.by_parent(self.weight),
            self.iterations,
            self.coupling_grad,
        )
        return self.capsule_map(pose, to_log_odds(activation) if self.log_odds else activation, x)


class PrimaryVectorCaps(nn.Module):
    """Primary capsules of dynamic routing: a convolution whose channels are squashed as vectors (Sabour et al. 2017).

    Args:
        in_channels: Channels of the input feature map.
        capsule_types: Number of capsule types ``n``.
        dim: Entries ``d`` of a pose. Defaults to 8.
        kernel_size: Kernel of the convolution. Defaults to 9.
        stride: Stride of the convolution. Defaults to 2.
        padding: Zero padding of the convolution. Defaults to 0.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: a capsule map ``[b, n * (d + 1), h', w']``, whose activations are the lengths of the poses

    Example:
        >>> PrimaryVectorCaps(256, 32)(torch.zeros(1, 256, 20, 20)).shape
        torch.Size([1, 288, 6, 6])
    """

    def __init__(
        self,
        in_channels: int,
        capsule_types: int,
        dim: int = 8,
        kernel_size: int = 9,
        stride: int = 2,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.capsule_types = capsule_types
        self.dim = dim
        self.pose_shape = (dim,)
        self.out_channels = capsule_types * (dim + 1)
        self.pose = nn.Conv2d(in_channels, capsule_types * dim, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        pose, length = squash(self.pose(x).unflatten(1, (self.capsule_types, self.dim)), dim=2)
        return torch.cat([pose.flatten(1, 2), length], dim=1)
