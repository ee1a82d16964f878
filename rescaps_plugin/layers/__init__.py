"""Capsule arithmetic in plain PyTorch. The modules here import no other library."""

from rescaps_plugin.layers.capsule_map import split_capsules
from rescaps_plugin.layers.dynamic import DynamicRouting, PrimaryVectorCaps
from rescaps_plugin.layers.em import EMRouting
from rescaps_plugin.layers.primary import PrimaryCaps
from rescaps_plugin.layers.residual_pose import (
    ResidualPoseBlock,
    ResidualPoseBlocks,
    ResidualPoseClassifier,
    ResidualPoseRouting,
)
from rescaps_plugin.layers.routing import create_routing
from rescaps_plugin.layers.rpr_conv import RPRConv2d, RPRNeck, RPRPlugin
from rescaps_plugin.layers.self_routing import SelfRouting

__all__ = [
    'DynamicRouting',
    'EMRouting',
    'PrimaryCaps',
    'PrimaryVectorCaps',
    'RPRConv2d',
    'RPRNeck',
    'RPRPlugin',
    'ResidualPoseBlock',
    'ResidualPoseBlocks',
    'ResidualPoseClassifier',
    'ResidualPoseRouting',
    'SelfRouting',
    'create_routing',
    'split_capsules',
]
