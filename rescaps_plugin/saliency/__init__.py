"""What mmsegmentation needs for salient object detection with capsule networks.

``custom_imports = dict(imports=['rescaps_plugin.saliency'])`` in a config registers everything below.
"""

from rescaps_plugin.saliency import datasets, transforms
from rescaps_plugin.saliency.data_preprocessor import SaliencyDataPreProcessor
from rescaps_plugin.saliency.metric import SODMetric

__all__ = ['SODMetric', 'SaliencyDataPreProcessor', 'datasets', 'transforms']
