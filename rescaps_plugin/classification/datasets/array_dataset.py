"""The base of the data sets that hold all their images in one array."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from mmpretrain.datasets import BaseDataset

from rescaps_plugin.classification.datasets.array_files import DataError


class ArrayDataset(BaseDataset, ABC):
    """Images and labels in two arrays; a sample is made when it is asked for.

    mmengine copies and pickles every entry of ``data_list``. Here an entry holds an index and a label, so images stay
    in one array that data loader workers share, and one that is memory-mapped stays on disk.

    Args:
        data_root: Folder of the data.
        split: One of :attr:`splits`.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, such as ``pipeline`` and ``indices``.

    Raises:
        DataError: ``split`` is unknown, images and labels differ in number, or a label is no class.
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
        """List the samples: ``index`` into the images and ``gt_label``."""
        self.images, labels = self.load_arrays()
        name = f'{type(self).__name__} ({self.split})'
        if len(self.images) != len(labels):
            raise DataError(f'{name}: found {len(self.images)} images and {len(labels)} labels')
        wrong = np.setdiff1d(labels, np.arange(len(self.CLASSES)))
        if wrong.size:
            raise DataError(f'{name}: labels must be 0 to {len(self.CLASSES) - 1}, found {wrong.tolist()}')
        return [dict(index=index, gt_label=label) for index, label in enumerate(labels.tolist())]

    def get_data_info(self, idx: int) -> dict:
        """Get a sample.

        Args:
            idx: Number of the sample.

        Returns:
            ``img``, ``gt_label`` and ``sample_idx``. ``img`` is a copy, which transforms may write into.
        """
        info = super().get_data_info(idx)
        info['img'] = np.array(self.images[info.pop('index')], order='C')
        return info
