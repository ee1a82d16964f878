"""Image transforms registered in mmpretrain's ``TRANSFORMS``, where ``LoadImageFromFile`` also checks what it loads."""

import mmpretrain.datasets.transforms  # noqa: F401  (registers MMCV's LoadImageFromFile, which gives way)
from mmpretrain.registry import TRANSFORMS

from rescaps_plugin.classification.transforms.affine import RandomAffinePlacement, place_affine
from rescaps_plugin.classification.transforms.grayscale import Grayscale
from rescaps_plugin.classification.transforms.standardize import Standardize
from rescaps_plugin.classification.transforms.warp import AffineWarp, warp_affine
from rescaps_plugin.data.transforms import LoadCheckedImageFromFile

TRANSFORMS.register_module('LoadImageFromFile', force=True, module=LoadCheckedImageFromFile)

__all__ = ['AffineWarp', 'Grayscale', 'RandomAffinePlacement', 'Standardize', 'place_affine', 'warp_affine']
