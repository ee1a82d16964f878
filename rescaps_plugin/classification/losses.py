"""Capsule losses as OpenMMLab losses, in mmengine's root registry: heads of any repository can use them."""

from abc import ABC, abstractmethod

import torch
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from torch import Tensor, nn

from rescaps_plugin import losses

REDUCTIONS = ('none', 'mean', 'sum')


def training_progress() -> float:
    """Fraction of the running training loop that is done, in [0, 1]; 1 where no training loop runs.

    It is read from the runner's own counters, so a resumed run continues where it stopped.
    """
    hub = MessageHub.get_current_instance()
    max_iters = hub.get_info('max_iters')
    return hub.get_info('iter') / max_iters if max_iters else 1.0


class CapsuleLoss(nn.Module, ABC):
    """Base of capsule losses: activations from scores, and the reduction over the batch."""

    def __init__(self, loss_weight: float = 1.0, use_sigmoid: bool = False) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        self.use_sigmoid = use_sigmoid

    @abstractmethod
    def sample_loss(self, activation: Tensor, target: Tensor) -> Tensor:
        """Return the losses ``[b]`` of activations ``[b, classes]`` and targets."""

    def forward(
        self,
        cls_score: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | None = None,
        reduction_override: str = 'mean',
    ) -> Tensor:
        """Compute the loss.

        Args:
            cls_score: Scores ``[b, classes]``: activations in (0, 1), or logits with ``use_sigmoid``.
            target: Class indices ``[b]`` or class probabilities ``[b, classes]``.
            weight: Weights of the samples ``[b]``. Defaults to None.
            avg_factor: Divisor of the mean; the batch size by default.
            reduction_override: ``'none'``, ``'mean'`` or ``'sum'``. Defaults to ``'mean'``.
        """
        if reduction_override not in REDUCTIONS:
            raise ValueError(f'reduction_override must be one of {REDUCTIONS}, got {reduction_override!r}')
        loss = self.sample_loss(torch.sigmoid(cls_score) if self.use_sigmoid else cls_score, target)
        loss = self.loss_weight * (loss if weight is None else loss * weight)
        if reduction_override == 'none':
            return loss
        if reduction_override == 'sum':
            return loss.sum()
        return loss.sum() / (avg_factor or len(loss))


@MODELS.register_module()
class SpreadLoss(CapsuleLoss):
    """Spread loss with the margin growing linearly over the training, by iteration (Liu et al. 2024, eq. 17).

    Args:
        margin: Margin at the start and at the end of training. Defaults to (0.2, 0.9).
        loss_weight: Weight of the loss. Defaults to 1.0.
        use_sigmoid: Whether scores are logits, as of heads without capsules. Defaults to False.
    """

    def __init__(
        self, margin: tuple[float, float] = (0.2, 0.9), loss_weight: float = 1.0, use_sigmoid: bool = False
    ) -> None:
        super().__init__(loss_weight, use_sigmoid)
        self.loss = losses.SpreadLoss(margin)

    def sample_loss(self, activation: Tensor, target: Tensor) -> Tensor:
        """Return the losses ``[b]`` at the current margin."""
        return losses.spread_loss(activation, target, self.loss.margin_at(training_progress()))


@MODELS.register_module()
class MarginLoss(CapsuleLoss):
    """Margin loss (Sabour et al. 2017, eq. 4).

    Args:
        upper: Activation from which on a present class costs nothing. Defaults to 0.9.
        lower: Activation up to which an absent class costs nothing. Defaults to 0.1.
        absent_weight: Weight of absent classes. Defaults to 0.5.
        loss_weight: Weight of the loss. Defaults to 1.0.
        use_sigmoid: Whether scores are logits, as of heads without capsules. Defaults to False.
    """

    def __init__(
        self,
        upper: float = 0.9,
        lower: float = 0.1,
        absent_weight: float = 0.5,
        loss_weight: float = 1.0,
        use_sigmoid: bool = False,
    ) -> None:
        super().__init__(loss_weight, use_sigmoid)
        self.loss = losses.MarginLoss(upper, lower, absent_weight)

    def sample_loss(self, activation: Tensor, target: Tensor) -> Tensor:
        """Return the losses ``[b]``."""
        return losses.margin_loss(activation, target, self.loss.upper, self.loss.lower, self.loss.absent_weight)
