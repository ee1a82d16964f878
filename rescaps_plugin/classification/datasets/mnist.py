"""MNIST and Fashion-MNIST from IDX files in any common layout."""

from __future__ import annotations

import logging
import os

import mmengine.dist as dist
import numpy as np
import torchvision
from mmengine.logging import print_log
from mmpretrain.datasets.categories import FASHIONMNIST_CATEGORITES, MNIST_CATEGORITES
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets.array_dataset import ArrayDataset
from rescaps_plugin.classification.datasets.array_files import DataError, find_file, read_idx


@DATASETS.register_module()
class IDXMNIST(ArrayDataset):
    """MNIST from its IDX files, plain or gzipped, with checked lengths.

    mmpretrain's ``MNIST`` requires decompressed files in ``data_root``, does not check their length, and downloads from
    a server that no longer exists. This class reads files in ``data_root`` or in torchvision's layout below it
    (``MNIST/raw``), and downloads missing files from torchvision's mirrors.

    Args:
        data_root: Folder with the IDX files or with torchvision's layout.
        split: ``'train'`` (60,000 images) or ``'test'`` (10,000 images).
        download: Whether to download missing files to ``data_root``.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: A file is missing and was not or could not be downloaded.
        DataError: A file is truncated, damaged or of another data set.
    """

    METAINFO = {'classes': MNIST_CATEGORITES}
    num_images = {'train': 60000, 'test': 10000}
    torchvision_class = torchvision.datasets.MNIST

    def __init__(self, data_root: str, split: str = 'train', download: bool = True, **kwargs):
        self.download = download
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Load uint8 images ``[n, 28, 28]`` and labels ``[n]`` of the split."""
        prefix = 'train' if self.split == 'train' else 't10k'
        count = self.num_images[self.split]
        images_path, labels_path = self._find_files(f'{prefix}-images-idx3-ubyte', f'{prefix}-labels-idx1-ubyte')
        images, labels = read_idx(images_path), read_idx(labels_path)
        for path, array, shape in ((images_path, images, (count, 28, 28)), (labels_path, labels, (count,))):
            if array.shape != shape:
                raise DataError(f'{path}: expected an array {shape}, found {array.shape}; is it of another data set?')
        return images, labels

    def _find_files(self, *names: str) -> list[str]:
        title = self.torchvision_class.__name__
        folders = (self.data_root, os.path.join(self.data_root, title, 'raw'))
        mirrors = ' or '.join(self.torchvision_class.mirrors)
        source = f'Get it from {mirrors}, or let download=True fetch it.'

        def find() -> list[str]:
            return [find_file(folders, name, f'an IDX file of {title}', source) for name in names]

        if self.download and dist.is_main_process():
            try:
                find()
            except FileNotFoundError:
                try:
                    self.torchvision_class(self.data_root, download=True)
                except (OSError, RuntimeError) as error:
                    print_log(f'{title} could not be downloaded: {error}', logger='current', level=logging.WARNING)
        # Other processes must not read files that rank 0 is still writing.
        dist.barrier()
        return find()


@DATASETS.register_module()
class IDXFashionMNIST(IDXMNIST):
    """Fashion-MNIST, in the format of MNIST; see :class:`IDXMNIST`.

    For Debian's package ``dataset-fashion-mnist``, set ``data_root='/usr/share/datasets/fashion-mnist'``.

    Args:
        data_root: Folder with the IDX files or with torchvision's layout (``FashionMNIST/raw``).
        split: ``'train'`` (60,000 images) or ``'test'`` (10,000 images).
        download: Whether to download missing files to ``data_root``.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: A file is missing and was not or could not be downloaded.
        DataError: A file is truncated, damaged or of another data set.
    """

    METAINFO = {'classes': FASHIONMNIST_CATEGORITES}
    torchvision_class = torchvision.datasets.FashionMNIST
