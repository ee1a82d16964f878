"""Losses of capsule networks in plain PyTorch: no other dependency."""

from rescaps_plugin.losses.margin import MarginLoss, margin_loss
from rescaps_plugin.losses.spread import SpreadLoss, spread_loss

__all__ = ['MarginLoss', 'SpreadLoss', 'margin_loss', 'spread_loss']
