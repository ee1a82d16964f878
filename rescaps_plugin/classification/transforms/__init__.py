"""Image transforms registered in mmpretrain's ``TRANSFORMS``."""

from .affine import RandomAffinePlacement, place_affine
from .standardize import Standardize

__all__ = ['RandomAffinePlacement', 'Standardize', 'place_affine']
