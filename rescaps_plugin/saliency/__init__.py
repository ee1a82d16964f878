"""What mmsegmentation needs for salient object detection with capsule networks.

``custom_imports = dict(imports=['rescaps_plugin.saliency'])`` in a config registers everything below.
"""

from rescaps_plugin.engine.schedules import CycleLR
from rescaps_plugin.saliency import datasets, transforms
from rescaps_plugin.saliency.data_preprocessor import SaliencyDataPreProcessor
from rescaps_plugin.saliency.heads import ICONHead, TSPOAHead
from rescaps_plugin.saliency.losses import BCEIoULoss, BCELoss, ContourIoULoss, StructureLoss
from rescaps_plugin.saliency.metric import SODMetric
from rescaps_plugin.saliency.schedules import TriangularLR
from rescaps_plugin.saliency.weights import EfficientNetLite0Weights, TIMMWeights

__all__ = [
    'BCEIoULoss',
    'BCELoss',
    'ContourIoULoss',
    'CycleLR',
    'EfficientNetLite0Weights',
    'ICONHead',
    'SODMetric',
    'SaliencyDataPreProcessor',
    'StructureLoss',
    'TIMMWeights',
    'TSPOAHead',
    'TriangularLR',
    'datasets',
    'transforms',
]
