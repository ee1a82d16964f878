"""The package can be imported without optional dependencies."""

import subprocess
import sys

CODE = """
import sys
for package in ('h5py', 'mmcv', 'mmpretrain', 'mmseg', 'scipy', 'sklearn', 'trimesh'):
    sys.modules[package] = None
import rescaps_plugin.pointcloud
from mmengine.registry import DATASETS, METRICS, MODELS, TRANSFORMS
for registry, names in (
    (DATASETS, 'DigitClouds ModelNet40 PointCloudFolder ShapeNetCore'),
    (METRICS, 'ChamferMetric'),
    (MODELS, 'ChamferLoss PointCapsAE'),
    (TRANSFORMS, 'NormalizePoints PackPoints RandomDropPoints RandomJitterPoints RandomRotatePoints RandomScalePoints'),
):
    print([name for name in names.split() if registry.get(name) is None])
"""


def test_import_needs_only_mmengine(repository):
    done = subprocess.run([sys.executable, '-c', CODE], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split('\n')[:-1] == ['[]'] * 4
