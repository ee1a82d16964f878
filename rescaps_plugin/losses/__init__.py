"""Losses of capsule networks in plain PyTorch: no other dependency."""

from rescaps_plugin.losses.chamfer import ChamferLoss, chamfer_distance
from rescaps_plugin.losses.margin import MarginLoss, margin_loss
from rescaps_plugin.losses.spread import SpreadLoss, spread_loss

__all__ = [
    'ChamferLoss',
    'MarginLoss',
    'SpreadLoss',
    'chamfer_distance',
    'margin_loss',
    'spread_loss',
]
