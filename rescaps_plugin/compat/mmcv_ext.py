"""Stand-in for mmcv's compiled operators (``mmcv._ext``), implemented by PyTorch and torchvision.

It has the operators that common models need for training and prediction; all others raise a ``RuntimeError`` when
called, so that ``mmcv.ops`` can be imported. Functions have mmcv's calling convention: outputs are written in place.
"""

from collections.abc import Callable
from typing import NoReturn

import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms as torchvision_nms


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: Corners ``x1, y1, x2, y2``, ``[N, 4]``.
        scores: ``[N]``.
        iou_threshold: Boxes that overlap a box of higher score by more than this are dropped.
        offset: 1 if the width of a box is ``x2 - x1 + 1`` (corners are pixels), 0 if it is ``x2 - x1``.

    Returns:
        Indices of the kept boxes, highest score first.
    """
    return torchvision_nms(boxes + boxes.new_tensor([0, 0, offset, offset]), scores, iou_threshold)


def sigmoid_focal_loss_forward(
    logits: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the focal loss of every class (Lin et al. 2017, eq. 5) to ``output``.

    Args:
        logits: ``[N, C]``.
        target: Class indices, ``[N]``; an index outside ``[0, C)`` is background.
        weight: Weight of each class, ``[C]``, indexed by the row's target; empty for no weights.
        output: Output, the loss ``[N, C]``.
        gamma: Focusing exponent.
        alpha: Weight of positives; negatives have weight ``1 - alpha``.
    """
    p = logits.sigmoid()
    positive = -alpha * (1 - p) ** gamma * F.logsigmoid(logits)
    negative = -(1 - alpha) * p**gamma * F.logsigmoid(-logits)
    output.copy_(_select(positive, negative, target, weight))


def sigmoid_focal_loss_backward(
    logits: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the gradient of :func:`sigmoid_focal_loss_forward` by ``logits`` to ``grad_input``, ``[N, C]``."""
    p = logits.sigmoid()
    positive = -alpha * (1 - p) ** gamma * (1 - p - gamma * p * F.logsigmoid(logits))
    negative = -(1 - alpha) * p**gamma * (gamma * (1 - p) * F.logsigmoid(-logits) - p)
    grad_input.copy_(_select(positive, negative, target, weight))


def _select(positive: Tensor, negative: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Select ``positive`` in the target's column, ``negative`` elsewhere, and scale rows by the target's weight."""
    columns = target.new_tensor(range(positive.shape[1]))
    values = positive.where(target[:, None] == columns, negative)
    return values * weight[target][:, None] if weight.numel() else values


def __getattr__(name: str) -> Callable[..., NoReturn]:
    # Provide missing operators only when loaded as mmcv._ext, not under the module's own name.
    if __name__ != 'mmcv._ext' or name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def missing(*args, **kwargs) -> NoReturn:
        raise RuntimeError(
            f'mmcv operator {name!r} needs full mmcv: mmcv-lite, which is installed, has no compiled operators. '
            'Install an mmcv that is compiled for your PyTorch, or use a model without this operator.'
        )

    return missing
