"""Image transforms."""

from rescaps_plugin.classification.transforms.affine import RandomAffinePlacement, place_affine
from rescaps_plugin.classification.transforms.grayscale import Grayscale
from rescaps_plugin.classification.transforms.standardize import Standardize
from rescaps_plugin.classification.transforms.warp import AffineWarp, warp_affine
from rescaps_plugin.data.transforms import LoadCheckedImageFromFile

__all__ = [
    'AffineWarp',
    'Grayscale',
    'LoadCheckedImageFromFile',
    'RandomAffinePlacement',
    'Standardize',
    'place_affine',
    'warp_affine',
]
