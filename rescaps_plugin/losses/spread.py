"""Spread loss of capsule activations."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescaps_plugin.losses.checks import check_activations


def spread_loss(activation: Tensor, target: Tensor, margin: float) -> Tensor:
    """Spread loss of every sample (Hinton et al. 2018; Liu et al. 2024, eq. 17).

    ``sum_{i != t} max(0, margin - (a_t - a_i))^2``, computed in at least float32. The public code that sums over all
    classes and subtracts ``margin^2``, the target's own term, computes the same.

    Args:
        activation: Class activations ``[b, classes]``, in (0, 1).
        target: Class indices ``[b]``, or class probabilities ``[b, classes]`` (mixup, label smoothing), for which the
            loss is the expectation over the target.
        margin: Smallest difference between the target's and another activation for which the loss is zero.

    Returns:
        Losses ``[b]``.

    Raises:
        ValueError: If the shapes of ``activation`` and ``target`` do not match, or an activation is outside
            [0, 1], as logits are; on a GPU that is a device-side assertion.

    Example:
        >>> spread_loss(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([0]), margin=0.5)
        tensor([0.0100])
    """
    if activation.dim() != 2 or target.shape not in (activation.shape[:1], activation.shape):
        raise ValueError(
            'spread loss takes activations [b, classes] and targets [b] or [b, classes], got '
            f'{tuple(activation.shape)} and {tuple(target.shape)}'
        )
    check_activations('SpreadLoss', activation)
    activation = activation.to(torch.promote_types(activation.dtype, torch.float32))
    if target.dim() == 1:
        label = target[:, None]
        excess = torch.relu(margin - (activation.gather(1, label) - activation))
        return excess.scatter(1, label, 0.0).square().sum(dim=1)
    losses = _spread_of_every_target(activation.double(), margin)
    return (target * losses).sum(dim=1).to(activation.dtype)


def _spread_of_every_target(activation: Tensor, margin: float) -> Tensor:
    """Return the loss for each class as the target, ``[b, classes]``, in memory linear in the classes.

    Of the sorted activations, those that cost target ``t`` are a suffix, ``a_i > a_t - margin``, of length ``n``:
    ``sum_i (d + a_i)^2 = n d^2 + 2 d sum_i a_i + sum_i a_i^2`` with ``d = margin - a_t``. The terms cancel, so the
    activations must be float64.
    """
    classes = activation.shape[1]
    values = activation.sort(dim=1).values
    first = torch.searchsorted(values.detach(), (activation.detach() - margin).contiguous(), right=True)
    # Sums of the suffixes that begin at each index; the last one is empty.
    sums = F.pad(torch.stack([values, values.square()]).flip(2).cumsum(2).flip(2), (0, 1))
    total, squares = sums.gather(2, first.expand(2, -1, -1))
    difference = margin - activation
    losses = (classes - first) * difference.square() + 2 * difference * total + squares
    # The target's own term is not part of the loss.
    return (losses - max(margin, 0.0) ** 2).clamp_min(0)


class SpreadLoss(nn.Module):
    """Spread loss, averaged over the batch, with a margin that grows over training.

    Args:
        margin: Margin at the start and at the end of training. Defaults to (0.2, 0.9).

    Raises:
        ValueError: If not ``0 <= start <= end <= 1``.

    Shape:
        - activation: ``[b, classes]``, in (0, 1)
        - target: ``[b]`` class indices, or ``[b, classes]`` probabilities
        - output: scalar

    Example:
        >>> loss = SpreadLoss()
        >>> loss(torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([0]), progress=0.5)
        tensor(0.0225)
    """

    def __init__(self, margin: tuple[float, float] = (0.2, 0.9)) -> None:
        super().__init__()
        start, end = margin
        if not 0 <= start <= end <= 1:
            raise ValueError(f'margin must be (start, end) with 0 <= start <= end <= 1, got {margin}')
        self.margin_start = start
        self.margin_end = end

    def margin_at(self, progress: float) -> float:
        """Return the margin after a fraction ``progress`` of the training, in [0, 1]."""
        return self.margin_start + (self.margin_end - self.margin_start) * progress

    def forward(self, activation: Tensor, target: Tensor, progress: float = 1.0) -> Tensor:
        return spread_loss(activation, target, self.margin_at(progress)).mean()
