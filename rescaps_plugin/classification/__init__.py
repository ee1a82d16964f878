"""What mmpretrain needs to train and test capsule networks.

``custom_imports = dict(imports=['rescaps_plugin.classification'])`` in a config registers everything below.
Importing it also adds the project's classifiers to mmpretrain's ``list_models``.
"""

from rescaps_plugin.classification import datasets, transforms
from rescaps_plugin.classification.backbone import ResCaps
from rescaps_plugin.classification.classifier import TimmCapsuleClassifier
from rescaps_plugin.classification.head import CapsuleClsHead
from rescaps_plugin.classification.hub import register_models
from rescaps_plugin.classification.losses import MarginLoss, SpreadLoss
from rescaps_plugin.classification.visualization import InputVisualizationHook
from rescaps_plugin.training.schedules import CycleLR  # noqa: F401  (registers it)

__all__ = [
    'CapsuleClsHead',
    'MarginLoss',
    'ResCaps',
    'SpreadLoss',
    'TimmCapsuleClassifier',
    'InputVisualizationHook',
    'datasets',
    'transforms',
]

register_models()
