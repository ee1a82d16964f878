"""Data sets registered in mmpretrain's ``DATASETS``."""

from .affnist import AffNIST
from .array_dataset import ArrayDataset
from .digits import Digits
from .mnist import IDXMNIST, IDXFashionMNIST
from .smallnorb import SmallNORB

__all__ = ['AffNIST', 'ArrayDataset', 'Digits', 'IDXFashionMNIST', 'IDXMNIST', 'SmallNORB']
