"""Capsule arithmetic in plain PyTorch: no other dependency."""

from rescaps_plugin.layers.primary import PrimaryCaps
from rescaps_plugin.layers.residual_pose import ResidualPoseBlock, ResidualPoseClassifier, ResidualPoseRouting

__all__ = ['PrimaryCaps', 'ResidualPoseBlock', 'ResidualPoseClassifier', 'ResidualPoseRouting']
