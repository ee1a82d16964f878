"""EM routing of matrix capsules.

Hinton, Sabour, Frosst, *Matrix capsules with EM routing*, ICLR 2018.

Letters are those of :mod:`rescaps_plugin.layers.window`; ``i m c`` are rows and columns of poses.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescaps_plugin.layers.checks import check_positive
from rescaps_plugin.layers.precision import matmul_full_precision, without_autocast
from rescaps_plugin.layers.window import WindowRouting, divide_by_mass, full_precision, softmax_over_parents


def _expectation_maximisation(
    votes: Tensor,
    activation: Tensor,
    child: Tensor,
    places: int,
    in_types: int,
    beta_u: Tensor,
    beta_a: Tensor,
    iterations: int,
    inverse_temperature: float,
) -> tuple[Tensor, Tensor]:
    """Fit a Gaussian to the votes for every parent: ``[b, l, o, q, d]`` to means ``[b, l, o, 1, d]`` and log-odds.

    Squared distances are expanded into products of matrices, ``sum r (v - m)^2 = sum r v^2 - m^2 sum r``, so that an
    iteration allocates no tensor of the votes' size. Votes are relative to a centre of theirs, so that float32 is
    precise enough for the differences; TF32 is not. Variances are at least 1e-5, so that the density is finite where
    votes agree exactly.
    """
    squares = votes.square()
    active = activation[:, :, None]
    logits = torch.zeros_like(votes[..., 0])
    mean = votes[..., :1, :]
    logit = logits[..., :1]
    for iteration in range(iterations):
        # M-step
        weight = softmax_over_parents(logits, child, places, in_types) * active
        mass = weight.sum(dim=-1, keepdim=True)
        share = divide_by_mass(weight, mass).unsqueeze(-2)
        mean = matmul_full_precision(share, votes)
        variance = (matmul_full_precision(share, squares) - mean.square()).clamp_min(0) + 1e-5
        log_variance = torch.log(variance)
        cost = (beta_u[:, None] + 0.5 * log_variance.squeeze(-2)).sum(dim=-1, keepdim=True) * mass
        rising = inverse_temperature * (1 - 0.95 ** (iteration + 1))
        logit = rising * (beta_a[:, None] - cost)
        if iteration + 1 < iterations:
            # E-step, in the log domain
            precision = 1 / variance
            distance = matmul_full_precision(squares, 0.5 * precision.transpose(-1, -2))
            distance = distance - matmul_full_precision(votes, (mean * precision).transpose(-1, -2))
            constant = 0.5 * (mean.square() * precision + log_variance).sum(dim=-1)
            logits = F.logsigmoid(logit) - distance.squeeze(-1) - constant
    return mean, logit.squeeze(-1)


def _route(
    pose: Tensor,
    activation: Tensor,
    child: Tensor,
    places: int,
    weight: Tensor,
    coordinates: Tensor,
    beta_u: Tensor,
    beta_a: Tensor,
    iterations: int,
    inverse_temperature: float,
) -> tuple[Tensor, Tensor]:
    children, parents, dim = pose.shape
    offsets, in_types, _, out_types, columns = weight.shape
    window = children // in_types
    # p W on flattened poses: block-diagonal, one block per row. Products of 4x4 matrices are too small for a BLAS.
    rows = torch.eye(columns, device=weight.device, dtype=weight.dtype)
    transform = rows[:, None, None, :, None] * weight[:, :, None, :, :, None, :]
    transform = transform.reshape(offsets, in_types, dim, out_types * dim)
    transform = transform.expand(window, -1, -1, -1).reshape(children, dim, out_types * dim)
    # Any centre is correct, since it is added back; the mean of the active votes costs one product, without gradient.
    active = activation.detach()
    centre = (pose.detach() * active[..., None]).transpose(0, 1).flatten(1)
    centre = matmul_full_precision(centre, transform.detach().flatten(0, 1))
    centre = divide_by_mass(centre, active.sum(dim=0)[:, None])
    votes = matmul_full_precision(pose, transform).sub_(centre)
    votes = votes.reshape(children, parents, out_types, dim).permute(1, 2, 0, 3).contiguous()
    if coordinates.numel() > 0:
        votes = votes + coordinates.repeat_interleave(in_types, dim=0)

    positions = child.shape[0] // window
    votes = votes.reshape(parents // positions, positions, out_types, children, dim)
    activation = activation.t().reshape(parents // positions, positions, children)
    mean, logit = _expectation_maximisation(
        votes, activation, child, places, in_types, beta_u, beta_a, iterations, inverse_temperature
    )
    return mean.reshape(parents, out_types, dim) + centre.reshape(parents, out_types, dim), logit.flatten(0, 1)


@torch.fx.wrap
def em_routing(
    pose: Tensor,
    activation: Tensor,
    child: Tensor,
    places: int,
    weight: Tensor,
    coordinates: Tensor,
    beta_u: Tensor,
    beta_a: Tensor,
    iterations: int,
    inverse_temperature: float,
) -> tuple[Tensor, Tensor]:
    """Route by expectation maximisation, in float32, also under autocast except in TorchScript; see :class:`EMRouting`.

    Args:
        pose: Poses of the children of every window, ``[q, b * l, p * p]``.
        activation: Their activations, ``[q, b * l]``.
        child: Their positions in the input map, ``[l * k]``, see ``window_positions``.
        places: Number of positions.
        weight: Transforms, ``[k, n, p, o, p]``, or ``[1, n, p, o, p]`` shared by the offsets.
        coordinates: Coordinates of the offsets, which are added to votes, ``[k, p * p]``, or none, ``[0, p * p]``.
        beta_u: Cost of a child per entry of the pose, ``[o]``.
        beta_a: Cost of an inactive parent, ``[o]``.
        iterations: Number of M-steps.
        inverse_temperature: Limit that the inverse temperature ``lambda`` rises to.

    Returns:
        Poses ``[b * l, o, p * p]`` of the parents and the log-odds of their activations ``[b * l, o]``.
    """
    pose, activation, weight = full_precision(pose), full_precision(activation), full_precision(weight)
    coordinates, beta_u, beta_a = full_precision(coordinates), full_precision(beta_u), full_precision(beta_a)
    if torch.jit.is_scripting():
        return _route(
            pose, activation, child, places, weight, coordinates, beta_u, beta_a, iterations, inverse_temperature
        )
    with without_autocast(pose):
        return _route(
            pose, activation, child, places, weight, coordinates, beta_u, beta_a, iterations, inverse_temperature
        )


class EMRouting(WindowRouting):
    """Capsule layer with EM routing (Hinton et al. 2018, procedure 1).

    Every child ``i`` casts the vote ``V_ij = p_i W_ij`` for parent ``j``. Each iteration is an M-step, the mean ``m``
    and standard deviation ``s`` of the votes under ``r_ij a_i``, the cost ``sum_h (beta_u + log s^h) sum_i r_ij a_i``
    and the activation ``sigmoid(lambda (beta_a - cost))``, with ``lambda = 0.01 (1 - 0.95^t)`` at iteration ``t``; and
    an E-step, ``r_ij = a_j N(V_ij; m_j, s_j) / sum_j' a_j' N(V_ij'; m_j', s_j')``. The result of the last E-step would
    not be used, so it is left out.

    As in the paper, ``j'`` runs over *all* parents of the child: over the types and over the windows that contain the
    child. Much public code normalises over the types of one window, so that children in several windows count several
    times.

    Args:
        in_types: Capsule types of the input.
        out_types: Capsule types of the output. Defaults to ``in_types``.
        kernel_size: Side of the window, or its height and width. Defaults to 3.
        stride: Stride of the output. Defaults to 1.
        padding: Zero padding, of capsules that are not active; ``None`` is ``kernel_size // 2``. Defaults to None.
        pose_size: Side ``p`` of a pose matrix. Defaults to 4.
        iterations: Number of M-steps. Defaults to 3.
        inverse_temperature: Limit that ``lambda`` rises to. Defaults to 0.01.
        coordinate_addition: Whether the offsets of the window share their transforms, and add their coordinates to the
            votes' last column instead (rows scaled to (0, 1) to the first entry, columns to the second). With the
            map's own size as ``kernel_size`` this is the paper's class capsules. Defaults to False.
        transform_std: Initial standard deviation of the transforms about the identity. Defaults to 0.1.
        log_odds: Whether the output has the log-odds of the activations in their place. Defaults to False.

    Shape:
        - input: a capsule map ``[b, in_types * (p * p + 1), h, w]``
        - output: a capsule map ``[b, out_types * (p * p + 1), h', w']``, activations in (0, 1)

    Raises:
        ValueError: If a size is not positive, or ``pose_size`` too small for coordinates.
        AssertionError: If the input has another number of channels.

    Example:
        >>> EMRouting(4, 8, stride=2)(torch.rand(1, 4 * 17, 12, 10)).shape
        torch.Size([1, 136, 6, 5])
    """

    if TYPE_CHECKING:
        coordinates: Tensor

    def __init__(
        self,
        in_types: int,
        out_types: int | None = None,
        kernel_size: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int | None = None,
        pose_size: int = 4,
        iterations: int = 3,
        inverse_temperature: float = 0.01,
        coordinate_addition: bool = False,
        transform_std: float = 0.1,
        log_odds: bool = False,
    ) -> None:
        super().__init__(in_types, out_types, kernel_size, stride, padding, pose_size**2, pose_size**2, log_odds)
        check_positive(iterations=iterations)
        self.pose_shape = (pose_size, pose_size)
        if coordinate_addition and pose_size < 2:
            raise ValueError(f'pose_size must be at least 2 with coordinate_addition=True, got {pose_size}')
        self.iterations = iterations
        self.inverse_temperature = inverse_temperature
        self.transform_std = transform_std
        offsets = 1 if coordinate_addition else self.window
        self.weight = nn.Parameter(torch.empty(offsets, in_types, pose_size, self.out_types * pose_size))
        self.beta_u = nn.Parameter(torch.empty(self.out_types))
        self.beta_a = nn.Parameter(torch.empty(self.out_types))
        self.register_buffer('coordinates', None, persistent=False)
        self.coordinate_addition = coordinate_addition
        self.init_non_persistent_buffers()
        self.reset_parameters()

    def init_non_persistent_buffers(self) -> None:
        """Compute the coordinates, where the parameters are; for timm, after a network was built on the meta device."""
        size = self.pose_shape[0]
        coordinates = self.weight.new_zeros(self.window if self.coordinate_addition else 0, size, size)
        if self.coordinate_addition:
            height, width = self.kernel_size
            rows = (torch.arange(height) + 0.5) / height
            columns = (torch.arange(width) + 0.5) / width
            coordinates[:, 0, -1] = rows.repeat_interleave(width)
            coordinates[:, 1, -1] = columns.repeat(height)
        self.coordinates = coordinates.flatten(1)

    def reset_parameters(self) -> None:
        """Draw transforms about the identity, and set the costs to zero.

        Votes then agree to some degree at the start. Votes of random transforms would cancel in the means, which
        shrinks poses from layer to layer.
        """
        identity = torch.eye(self.weight.shape[2]).repeat(1, self.out_types)
        with torch.no_grad():
            self.weight.normal_(std=self.transform_std).add_(identity.to(self.weight))
        nn.init.zeros_(self.beta_u)
        nn.init.zeros_(self.beta_a)

    def forward(self, x: Tensor) -> Tensor:
        pose, logit = em_routing(
            self.poses(x),
            self.activations(x),
            self.child_positions(x),
            1 + x.shape[2] * x.shape[3],
            self.by_parent(self.weight),
            self.coordinates,
            self.beta_u,
            self.beta_a,
            self.iterations,
            self.inverse_temperature,
        )
        return self.capsule_map(pose, logit if self.log_odds else torch.sigmoid(logit), x)
