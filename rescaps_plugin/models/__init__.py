"""Whole networks in timm's style, registered in timm."""

from rescaps_plugin.models.rescaps import CapsuleClassifier, ResCaps, ResCapsTrunk

__all__ = ['CapsuleClassifier', 'ResCaps', 'ResCapsTrunk']
