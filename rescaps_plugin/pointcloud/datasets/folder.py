"""Folders of meshes and clouds in ModelNet's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmengine.registry import DATASETS

from rescaps_plugin.data.folders import list_folders
from rescaps_plugin.pointcloud.datasets.base import PointCloudDataset
from rescaps_plugin.pointcloud.files import SUFFIXES, CloudError, is_cloud, read_points


@DATASETS.register_module()
class PointCloudFolder(PointCloudDataset):
    """Meshes and clouds in ``<data_root>/<class>/<split>/``, the layout of ModelNet40's raw ``.off`` files.

    The classes are those of ``metainfo``, or all folders in alphabetical order. Since an unrelated folder would shift
    the labels, folders without ``train`` and ``test`` are an error. Hidden folders and those of operating systems, such
    as ``__MACOSX``, are ignored.

    Meshes are sampled uniformly on their surface. Files are read and checked on access, so a data set of any size fits
    in memory. Formats are those of :func:`~rescaps_plugin.pointcloud.files.read_points`.

    Args:
        data_root: Folder of the classes.
        split: ``'train'`` or ``'test'``.
        num_points: Points of a sample.
        seed: As in :class:`PointCloudDataset`.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: No class has a file of the split.
        CloudError: Some classes have no file of the split, or a folder is not a class; or, on access, a file cannot be
            used, with the names of the file and the field.
        UserError: trimesh is not installed.
    """

    def __init__(self, data_root: str, split: str = 'train', num_points: int = 2048, **kwargs):
        root = Path(data_root)
        names = list_folders(root) if root.is_dir() else []
        self.named = 'classes' in kwargs.get('metainfo', {})
        kwargs['metainfo'] = {'classes': tuple(names), **kwargs.get('metainfo', {})}
        super().__init__(data_root, split, num_points, **kwargs)

    def load_labels(self) -> np.ndarray:
        """List the files of the split and return their labels ``[n]``."""
        root = Path(self.data_root)
        found = [sorted(filter(is_cloud, (root / name / self.split).glob('*'))) for name in self.classes]
        self.files = [path for files in found for path in files]
        if not self.files:
            raise FileNotFoundError(f'{root.absolute()} holds no <class>/{self.split}/*, of {", ".join(SUFFIXES)}')
        strange = [name for name in self.classes if not any((root / name / split).is_dir() for split in self.splits)]
        if strange and not self.named:
            raise CloudError(
                f'{root}: {", ".join(strange)} cannot be classes, without a subfolder {" or ".join(self.splits)}; move '
                'them, or set the classes: metainfo=dict(classes=...)'
            )
        empty = [name for name, files in zip(self.classes, found, strict=True) if not files]
        if empty:
            raise CloudError(f'{root}: no clouds or meshes in {", ".join(f"{name}/{self.split}" for name in empty)}')
        return np.repeat(np.arange(len(found)), [len(files) for files in found])

    def describe(self, index: int) -> str:
        """Return the path of cloud ``index``."""
        return str(self.files[index])

    def load_points(self, index: int, random: np.random.RandomState) -> np.ndarray:
        """Read the points of a file."""
        return read_points(self.files[index], self.num_points, random)
