"""Saliency losses in mmsegmentation's registry, for any of its heads."""

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from rescaps_plugin import losses


class _SegmentationLoss(nn.Module):
    """Saliency loss with the call signature of mmsegmentation's losses.

    Args:
        loss_weight: Weight of the loss. Defaults to 1.0.
        loss_name: Name in the log; only names that begin with ``loss`` are optimised. Defaults to the class's name.
        **kwargs: Arguments of the wrapped loss.
    """

    loss_class: type[nn.Module]
    default_name: str

    def __init__(self, loss_weight: float = 1.0, loss_name: str | None = None, **kwargs) -> None:
        super().__init__()
        self.loss = self.loss_class(**kwargs)
        self.loss_weight = loss_weight
        self.loss_name = self.default_name if loss_name is None else loss_name

    def forward(
        self, logit: Tensor, label: Tensor, weight: Tensor | None = None, ignore_index: int | None = 255
    ) -> Tensor:
        """Compute the loss.

        Args:
            logit: Logits of saliency ``[b, 1, h, w]``, or of background and saliency ``[b, 2, h, w]``.
            label: Labels ``[b, h, w]``: 0 background, 1 salient.
            weight: Weights of pixels ``[b, h, w]``. Defaults to None.
            ignore_index: Label of ignored pixels, such as batch padding. Defaults to 255.
        """
        if logit.shape[1] == 2:
            # A softmax over two classes is a sigmoid of the difference of their logits.
            logit = logit[:, 1:] - logit[:, :1]
        label = label[:, None]
        valid = torch.ones_like(label, dtype=torch.float32) if weight is None else weight[:, None]
        if ignore_index is not None:
            valid = valid * (label != ignore_index)
        return self.loss_weight * self.loss(logit, label == 1, valid)


@MODELS.register_module()
class BCELoss(_SegmentationLoss):
    """Binary cross-entropy of saliency and mask, see :func:`rescaps_plugin.losses.bce_loss`.

    Unlike MMSegmentation's ``CrossEntropyLoss``, it does not read label values back from the device, which would
    synchronise every training step.
    """

    loss_class = losses.BCELoss
    default_name = 'loss_ce'


@MODELS.register_module()
class BCEIoULoss(_SegmentationLoss):
    """Binary cross-entropy plus IoU loss of ICON, see :func:`rescaps_plugin.losses.bce_iou_loss`."""

    loss_class = losses.BCEIoULoss
    default_name = 'loss_bce_iou'


@MODELS.register_module()
class StructureLoss(_SegmentationLoss):
    """Structure loss, see :func:`rescaps_plugin.losses.structure_loss`; arguments ``window`` and ``emphasis``."""

    loss_class = losses.StructureLoss
    default_name = 'loss_structure'


@MODELS.register_module()
class ContourIoULoss(_SegmentationLoss):
    """Contour IoU loss of TSPOANet, see :func:`rescaps_plugin.losses.contour_iou_loss`."""

    loss_class = losses.ContourIoULoss
    default_name = 'loss_contour_iou'
