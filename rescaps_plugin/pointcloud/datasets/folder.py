"""Folders of meshes and clouds, laid out as ModelNet's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmengine.registry import DATASETS

from rescaps_plugin.pointcloud.datasets.base import PointCloudDataset
from rescaps_plugin.pointcloud.files import SUFFIXES, read_points


@DATASETS.register_module()
class PointCloudFolder(PointCloudDataset):
    """Meshes and clouds in ``<data_root>/<class>/<split>/``, as ModelNet40's raw ``.off`` files come.

    Meshes are sampled uniformly on their surface. Files are read when they are asked for, so a data set of any size
    fits in memory; what is wrong with one is said then. Formats are those of
    :func:`~rescaps_plugin.pointcloud.files.read_points`.

    Args:
        data_root: Folder of the classes.
        split: ``'train'`` or ``'test'``.
        num_points: Points of a sample.
        seed: As in :class:`PointCloudDataset`.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: No class has a file of the split.
        CloudError: When a file is asked for that cannot be used; names the file and the field.
        UserError: trimesh is not installed.
    """

    def __init__(self, data_root: str, split: str = 'train', num_points: int = 2048, **kwargs):
        root = Path(data_root)
        names = sorted(folder.name for folder in root.iterdir() if folder.is_dir()) if root.is_dir() else []
        kwargs.setdefault('metainfo', dict(classes=tuple(names)))
        super().__init__(data_root, split, num_points, **kwargs)

    def load_labels(self) -> np.ndarray:
        """List the files of the split, and give their labels ``[n]``."""
        self.files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes):
            files = Path(self.data_root, name, self.split).glob('*')
            found = sorted(path for path in files if path.suffix.lower() in SUFFIXES)
            self.files += found
            labels += [label] * len(found)
        if not self.files:
            raise FileNotFoundError(
                f'{Path(self.data_root).absolute()} holds no <class>/{self.split}/*, of {", ".join(SUFFIXES)}'
            )
        return np.array(labels)

    def describe(self, index: int) -> str:
        """Name the file of cloud ``index``."""
        return str(self.files[index])

    def load_points(self, index: int, random: np.random.RandomState) -> np.ndarray:
        """Read a file."""
        return read_points(self.files[index], self.num_points, random)
