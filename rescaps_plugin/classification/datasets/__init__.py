"""Data sets registered in mmpretrain's ``DATASETS``."""

from rescaps_plugin.classification.datasets.affnist import AffNIST
from rescaps_plugin.classification.datasets.array_dataset import ArrayDataset
from rescaps_plugin.classification.datasets.digits import Digits
from rescaps_plugin.classification.datasets.image_folder import ImageFolder, ImageNetFolder
from rescaps_plugin.classification.datasets.mnist import IDXMNIST, IDXFashionMNIST
from rescaps_plugin.classification.datasets.smallnorb import SmallNORB

__all__ = [
    'AffNIST',
    'ArrayDataset',
    'Digits',
    'IDXFashionMNIST',
    'IDXMNIST',
    'ImageFolder',
    'ImageNetFolder',
    'SmallNORB',
]
