"""Data sets registered in mmengine's root ``DATASETS``."""

from rescaps_plugin.pointcloud.datasets.base import PointCloudDataset
from rescaps_plugin.pointcloud.datasets.digit_clouds import DigitClouds
from rescaps_plugin.pointcloud.datasets.folder import PointCloudFolder
from rescaps_plugin.pointcloud.datasets.hdf5 import ModelNet40, ShapeNetCore

__all__ = ['DigitClouds', 'ModelNet40', 'PointCloudDataset', 'PointCloudFolder', 'ShapeNetCore']
