"""Losses of capsule networks, in PyTorch without other dependencies."""

from rescaps_plugin.losses.chamfer import ChamferLoss, chamfer_distance
from rescaps_plugin.losses.margin import MarginLoss, margin_loss
from rescaps_plugin.losses.saliency import (
    BCEIoULoss,
    BCELoss,
    ContourIoULoss,
    StructureLoss,
    bce_iou_loss,
    bce_loss,
    contour_iou_loss,
    iou_loss,
    structure_loss,
)
from rescaps_plugin.losses.spread import SpreadLoss, spread_loss

__all__ = [
    'BCEIoULoss',
    'BCELoss',
    'ChamferLoss',
    'ContourIoULoss',
    'MarginLoss',
    'SpreadLoss',
    'StructureLoss',
    'bce_iou_loss',
    'bce_loss',
    'chamfer_distance',
    'contour_iou_loss',
    'iou_loss',
    'margin_loss',
    'spread_loss',
    'structure_loss',
]
