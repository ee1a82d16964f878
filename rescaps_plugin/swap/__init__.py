"""Residual pose routing as replacement or addition in existing models.

``custom_imports = dict(imports=['rescaps_plugin.swap'])`` in a config registers all classes below in MMEngine's root
registry, for configs of any OpenMMLab library. Only MMEngine is required.
"""

from mmengine.registry import MODELS

import rescaps_plugin.training  # noqa: F401  (registers rescaps://)
from rescaps_plugin.layers import RPRConv2d, RPRNeck, RPRPlugin
from rescaps_plugin.swap.builder import convert_model

for layer in (RPRConv2d, RPRNeck, RPRPlugin):
    MODELS.register_module(module=layer)

__all__ = ['RPRConv2d', 'RPRNeck', 'RPRPlugin', 'convert_model']
