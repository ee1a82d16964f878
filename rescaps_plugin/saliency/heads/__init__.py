"""Decode heads of salient object detection."""

from rescaps_plugin.saliency.heads.icon import ICONHead
from rescaps_plugin.saliency.heads.tspoa import TSPOAHead

__all__ = ['ICONHead', 'TSPOAHead']
