"""Salient object detection with capsule networks for mmsegmentation.

``custom_imports = dict(imports=['rescaps_plugin.saliency'])`` in a config registers all classes below.
"""

from typing import Any

from rescaps_plugin.saliency import datasets, transforms
from rescaps_plugin.saliency.data_preprocessor import SaliencyDataPreProcessor
from rescaps_plugin.saliency.heads import ICONHead, TSPOAHead
from rescaps_plugin.saliency.losses import BCEIoULoss, BCELoss, ContourIoULoss, StructureLoss
from rescaps_plugin.saliency.metric import SODMetric
from rescaps_plugin.saliency.schedules import TriangularLR
from rescaps_plugin.saliency.visualization import SaliencyVisualizationHook
from rescaps_plugin.saliency.weights import EfficientNetLite0Weights, TIMMWeights
from rescaps_plugin.training.schedules import CycleLR  # noqa: F401  (registers it)

__all__ = [
    'BCEIoULoss',
    'BCELoss',
    'ContourIoULoss',
    'EfficientNetLite0Weights',
    'ICONHead',
    'SODMetric',
    'SaliencyDataPreProcessor',
    'SaliencyVisualizationHook',
    'StructureLoss',
    'TIMMWeights',
    'TSPOAHead',
    'TriangularLR',
    'datasets',
    'transforms',
]


def __getattr__(name: str) -> Any:
    """Import ``MMSegInferencer`` on first access: the import takes seconds and no config needs it."""
    if name == 'MMSegInferencer':
        from rescaps_plugin.saliency.inferencer import MMSegInferencer

        return MMSegInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
