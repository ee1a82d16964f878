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
    """Import ``MMSegInferencer`` from ``mmseg.apis`` on first access: the import takes seconds and no config needs it.

    Without compiled MMCV operators, ``mmseg.apis`` must be imported after ``rescaps_plugin``, an order that import
    sorters do not keep.
    """
    if name == 'MMSegInferencer':
        from mmseg.apis import MMSegInferencer

        return MMSegInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
