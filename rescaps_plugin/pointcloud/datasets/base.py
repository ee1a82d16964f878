"""Base class of the point cloud data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from mmengine.dataset import BaseDataset

from rescaps_plugin.pointcloud.files import CloudError


class PointCloudDataset(BaseDataset, ABC):
    """Labelled clouds, whose points are loaded or sampled on access.

    Subclasses implement ``load_labels`` and ``load_points``. Random sampling depends only on the seed and the index of
    the cloud in the data set, so that all epochs, workers and machines get the same points.

    Args:
        data_root: Folder of the data.
        split: One of ``splits``.
        num_points: Points of a sample; ``None`` returns all points of a cloud.
        seed: Random seed; ``None`` samples different points on every access, from NumPy's global state.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline`` and ``indices``.

    Raises:
        ValueError: ``split`` or ``num_points`` is invalid, or a label is out of range.
    """

    splits: tuple[str, ...] = ('train', 'test')

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        num_points: int | None = None,
        seed: int | None = 0,
        **kwargs,
    ):
        name = type(self).__name__
        if split not in self.splits:
            raise ValueError(f"{name}: split must be one of {self.splits}, not '{split}'")
        if num_points is not None and (not isinstance(num_points, int) or num_points < 1):
            raise ValueError(f'{name}: num_points must be a positive integer or None, not {num_points!r}')
        self.split = split
        self.num_points = num_points
        self.seed = seed
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return self._metainfo['classes']

    @abstractmethod
    def load_labels(self) -> np.ndarray:
        """Load the split and return the labels ``[n]`` of its clouds."""

    @abstractmethod
    def load_points(self, index: int, random: np.random.RandomState) -> np.ndarray:
        """Return the points ``[num_points, 3]`` of cloud ``index``, sampled by ``random`` if necessary."""

    def describe(self, index: int) -> str:
        """Return the source of cloud ``index``, for error messages."""
        return f'{self.data_root or type(self).__name__} ({self.split}): cloud {index}'

    def load_data_list(self) -> list[dict]:
        """List the samples, with ``index`` of the cloud and ``gt_label``."""
        return [dict(index=index, gt_label=label) for index, label in enumerate(self.load_labels().tolist())]

    def check_labels(self, labels: np.ndarray, source: str) -> None:
        """Check that labels are in the range of the classes.

        Args:
            labels: Labels ``[n]``.
            source: File and field of the labels, for the error message.

        Raises:
            CloudError: A label is out of range.
        """
        wrong = np.setdiff1d(labels, np.arange(len(self.classes)))
        if wrong.size:
            raise CloudError(f'{source}: labels must be 0 to {len(self.classes) - 1}, found {wrong.tolist()}')

    def get_data_info(self, idx: int) -> dict:
        """Return a sample.

        Args:
            idx: Index of the sample.

        Returns:
            ``points``, float32 or float64 ``[num_points, 3]``, a copy that transforms may modify; ``gt_label``;
            ``sample_idx``; and ``source``, the name of the cloud for error messages.
        """
        info = super().get_data_info(idx)
        index = info.pop('index')
        # RandomState has the same streams in all releases of numpy.
        random = np.random if self.seed is None else np.random.RandomState([self.seed, index])
        info['source'] = self.describe(index)
        points = self.load_points(index, random)
        info['points'] = np.array(points, np.result_type(points, np.float32))
        return info
