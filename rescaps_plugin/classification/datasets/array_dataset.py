"""Base class of data sets that hold all images in one array."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from mmpretrain.datasets import BaseDataset

from rescaps_plugin.classification.datasets.array_files import DataError


class ArrayDataset(BaseDataset, ABC):
    """Images and labels in two arrays; samples are created on access.

    mmengine copies and pickles every entry of ``data_list``. Here an entry has only an index and a label, so that the
    images stay in one array, which data loader workers share and which can be memory-mapped.

    Args:
        data_root: Folder of the data.
        split: One of ``splits``.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, such as ``pipeline`` and ``indices``.

    Raises:
        DataError: ``split`` is unknown, images and labels differ in number, or a label is out of range.
    """

    splits = ('train', 'test')

    def __init__(self, data_root: str = '', split: str = 'train', **kwargs):
        if split not in self.splits:
            raise DataError(f"{type(self).__name__}: split must be one of {self.splits}, not '{split}'")
        self.split = split
        super().__init__(ann_file='', data_root=data_root, **kwargs)

    @abstractmethod
    def load_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Load the split.

        Returns:
            Images ``[n, height, width]`` or ``[n, height, width, channels]`` and integer labels ``[n]``.
        """

    def load_data_list(self) -> list[dict]:
        """List the samples, with ``index`` into the images and ``gt_label``."""
        self.images, labels = self.load_arrays()
        name = f'{type(self).__name__} ({self.split})'
        if len(self.images) != len(labels):
            raise DataError(f'{name}: found {len(self.images)} images and {len(labels)} labels')
        wrong = np.setdiff1d(labels, np.arange(len(self.CLASSES)))
        if wrong.size:
            raise DataError(f'{name}: labels must be 0 to {len(self.CLASSES) - 1}, found {wrong.tolist()}')
        return [dict(index=index, gt_label=label) for index, label in enumerate(labels.tolist())]

    def get_data_info(self, idx: int) -> dict:
        """Return a sample.

        Args:
            idx: Index of the sample.

        Returns:
            ``img``, ``gt_label`` and ``sample_idx``. ``img`` is a copy that transforms may modify.
        """
        info = super().get_data_info(idx)
        info['img'] = np.array(self.images[info.pop('index')], order='C')
        return info
