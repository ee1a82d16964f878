"""Margin loss of capsule activations."""

import torch
from torch import Tensor, nn

from rescaps_plugin.losses.checks import check_activations


def margin_loss(
    activation: Tensor, target: Tensor, upper: float = 0.9, lower: float = 0.1, absent_weight: float = 0.5
) -> Tensor:
    """Margin loss of every sample (Sabour et al. 2017, eq. 4).

    ``sum_c T_c max(0, upper - a_c)^2 + absent_weight (1 - T_c) max(0, a_c - lower)^2``, computed in at least float32.

    Args:
        activation: Class activations ``[b, classes]``, in (0, 1).
        target: Class indices ``[b]``, or ``T`` itself ``[b, classes]``: several classes at once, or probabilities.
        upper: Activation above which the loss of a present class is zero. Defaults to 0.9.
        lower: Activation below which the loss of an absent class is zero. Defaults to 0.1.
        absent_weight: Weight of absent classes. Defaults to 0.5.

    Returns:
        Losses ``[b]``.

    Raises:
        ValueError: If the shapes of ``activation`` and ``target`` do not match, or an activation is outside
            [0, 1], as logits are; on a GPU that is a device-side assertion.

    Example:
        >>> margin_loss(torch.tensor([[0.8, 0.3]]), torch.tensor([0]))
        tensor([0.0300])
    """
    if activation.dim() != 2 or target.shape not in (activation.shape[:1], activation.shape):
        raise ValueError(
            'margin loss takes activations [b, classes] and targets [b] or [b, classes], got '
            f'{tuple(activation.shape)} and {tuple(target.shape)}'
        )
    check_activations('MarginLoss', activation)
    activation = activation.to(torch.promote_types(activation.dtype, torch.float32))
    # Not one_hot, which reads the largest label from the device to check it.
    if target.dim() == 1:
        present = torch.zeros_like(activation).scatter(1, target[:, None], 1.0)
    else:
        present = target.to(torch.promote_types(target.dtype, activation.dtype))
    missed = torch.relu(upper - activation).square()
    false = torch.relu(activation - lower).square()
    return (present * missed + absent_weight * (1 - present) * false).sum(dim=1)


class MarginLoss(nn.Module):
    """Margin loss, averaged over the batch; arguments and shapes as in :func:`margin_loss`."""

    def __init__(self, upper: float = 0.9, lower: float = 0.1, absent_weight: float = 0.5) -> None:
        super().__init__()
        self.upper = upper
        self.lower = lower
        self.absent_weight = absent_weight

    def forward(self, activation: Tensor, target: Tensor) -> Tensor:
        return margin_loss(activation, target, self.upper, self.lower, self.absent_weight).mean()
