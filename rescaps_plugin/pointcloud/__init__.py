"""Autoencoders of point clouds for mmengine; requires only the ``pointcloud`` extra.

``custom_imports = dict(imports=['rescaps_plugin.pointcloud'])`` in a config registers all classes below in mmengine's
root registries.
"""

from rescaps_plugin.pointcloud import datasets, transforms
from rescaps_plugin.pointcloud.autoencoder import ChamferLoss
from rescaps_plugin.pointcloud.metric import ChamferMetric
from rescaps_plugin.pointcloud.point_caps import PointCapsAE
from rescaps_plugin.pointcloud.pointnet import PointNetAE
from rescaps_plugin.training.schedules import CycleLR  # noqa: F401  (registers it)

__all__ = ['ChamferLoss', 'ChamferMetric', 'PointCapsAE', 'PointNetAE', 'datasets', 'transforms']
