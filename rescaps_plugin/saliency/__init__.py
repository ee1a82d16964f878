"""What mmsegmentation needs for salient object detection with capsule networks.

``custom_imports = dict(imports=['rescaps_plugin.saliency'])`` in a config registers everything below.
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
    """Give ``MMSegInferencer`` of ``mmseg.apis``, whose import takes seconds and no config needs.

    By its own name it has to be imported after ``rescaps_plugin`` where MMCV is not compiled, which tools that sort
    imports do not keep to.
    """
    if name == 'MMSegInferencer':
        from mmseg.apis import MMSegInferencer

        return MMSegInferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
