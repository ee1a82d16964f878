"""Image transforms registered in mmpretrain's ``TRANSFORMS``."""

from rescaps_plugin.classification.transforms.affine import RandomAffinePlacement, place_affine
from rescaps_plugin.classification.transforms.standardize import Standardize

__all__ = ['RandomAffinePlacement', 'Standardize', 'place_affine']
