"""Residual pose routing inside other people's models.

``custom_imports = dict(imports=['rescaps_plugin.swap'])`` in a config registers everything below in MMEngine's root
registry, where the configs of any OpenMMLab library find it; nothing but MMEngine is needed.
"""

from mmengine.registry import MODELS

from rescaps_plugin.layers import RPRConv2d, RPRNeck, RPRPlugin
from rescaps_plugin.swap.builder import convert_model

for layer in (RPRConv2d, RPRNeck, RPRPlugin):
    MODELS.register_module(module=layer)

__all__ = ['RPRConv2d', 'RPRNeck', 'RPRPlugin', 'convert_model']
