"""Self-routing: the coefficients of a capsule are computed from its own pose.

Hahn, Pyeon, Kim, *Self-routing capsule networks*, NeurIPS 2019.

Letters are those of :mod:`rescaps_plugin.layers.window`.
"""

import math

import torch
from torch import Tensor, nn

from rescaps_plugin.layers.precision import without_autocast
from rescaps_plugin.layers.window import WindowRouting, divide_by_mass, full_precision, to_log_odds


def _route(pose: Tensor, activation: Tensor, weight: Tensor, transform: Tensor | None) -> tuple[Tensor, Tensor]:
    coefficient = torch.softmax(torch.bmm(pose, weight.flatten(0, 1)), dim=-1)
    share = coefficient * activation[..., None]
    mass = share.sum(dim=0)
    active = divide_by_mass(mass, activation.sum(dim=0)[:, None])
    if transform is None:
        return mass.new_empty((mass.shape[0], 0)), active
    # Poses are weighted before they are transformed: that takes one product of matrices over all children, and no
    # tensor of votes.
    weighted = share.permute(2, 1, 0)[..., None] * pose.transpose(0, 1)
    matrix = transform.flatten(0, 1).permute(2, 0, 1, 3).flatten(1, 2)
    total = torch.bmm(weighted.flatten(2), matrix).transpose(0, 1)
    return divide_by_mass(total, mass[..., None]), active


@torch.fx.wrap
def self_routing(pose: Tensor, activation: Tensor, weight: Tensor, transform: Tensor | None) -> tuple[Tensor, Tensor]:
    """Route a child by its own pose, in float32, also under autocast except in TorchScript; see :class:`SelfRouting`.

    Args:
        pose: Poses of the children of every window, ``[q, b * l, d]``.
        activation: Their activations, ``[q, b * l]``.
        weight: Routing weights, ``[k, n, d, o]``.
        transform: Transforms of the votes, ``[k, n, d, o, e]``, or None for parents without poses.

    Returns:
        Poses ``[b * l, o, e]`` (without transforms ``[b * l, 0]``) and activations ``[b * l, o]`` of the parents.
    """
    pose, activation, weight = full_precision(pose), full_precision(activation), full_precision(weight)
    if transform is not None:
        transform = full_precision(transform)
    if torch.jit.is_scripting():
        return _route(pose, activation, weight, transform)
    with without_autocast(pose):
        return _route(pose, activation, weight, transform)


class SelfRouting(WindowRouting):
    """Capsule layer with self-routing (Hahn et al. 2019, Sec. 3).

    Every child ``i`` casts the vote ``u_ij = W_ij u_i`` for parent ``j``, a linear map of its whole pose, and routes
    itself by ``c_i = softmax(R_i u_i)``, without iteration: ``a_j = sum_i c_ij a_i / sum_i a_i`` and
    ``u_j = sum_i c_ij a_i u_ij / sum_i c_ij a_i``. As in the authors' layers, a child is routed separately in every
    window, whose softmax runs over the types there; the activations of a position therefore sum to one.

    Args:
        in_types: Capsule types of the input.
        out_types: Capsule types of the output. Defaults to ``in_types``.
        kernel_size: Side of the window, or its height and width: the map's own for class capsules. Defaults to 3.
        stride: Stride of the output. Defaults to 1.
        padding: Zero padding, of capsules that are not active; ``None`` is ``kernel_size // 2``. Defaults to None.
        pose_size: Side ``p`` of a pose matrix, which is read as a vector. Defaults to 4.
        activation_only: Whether to return activations alone, for class capsules, whose poses no layer reads. Defaults
            to False.
        log_odds: Whether the output has the log-odds of the activations in their place. Defaults to False.

    Shape:
        - input: a capsule map ``[b, in_types * (p * p + 1), h, w]``
        - output: a capsule map ``[b, out_types * (p * p + 1), h', w']``, or with ``activation_only`` its activations,
          which are in [0, 1]

    Raises:
        ValueError: If a size is not positive.
        AssertionError: If the input has another number of channels.

    Example:
        >>> SelfRouting(4, 8, stride=2)(torch.rand(1, 4 * 17, 12, 10)).shape
        torch.Size([1, 136, 6, 5])
    """

    def __init__(
        self,
        in_types: int,
        out_types: int | None = None,
        kernel_size: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int | None = None,
        pose_size: int = 4,
        activation_only: bool = False,
        log_odds: bool = False,
    ) -> None:
        super().__init__(in_types, out_types, kernel_size, stride, padding, pose_size**2, pose_size**2, log_odds)
        self.pose_shape = (pose_size, pose_size)
        children = (self.window, in_types, self.in_dim)
        self.weight = nn.Parameter(torch.empty(*children, self.out_types))
        self.transform = (
            None if activation_only else nn.Parameter(torch.empty(*children, self.out_types * self.out_dim))
        )
        if activation_only:
            self.out_channels = self.out_types
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw transforms and routing weights that keep the scale of poses."""
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=1 / math.sqrt(self.in_dim))

    def forward(self, x: Tensor) -> Tensor:
        transform = None if self.transform is None else self.by_parent(self.transform)
        pose, activation = self_routing(self.poses(x), self.activations(x), self.weight, transform)
        return self.capsule_map(pose, to_log_odds(activation) if self.log_odds else activation, x)
