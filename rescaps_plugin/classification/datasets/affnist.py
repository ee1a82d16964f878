"""affNIST: the MNIST test set with affine transforms."""

from __future__ import annotations

import os

import numpy as np
from mmpretrain.datasets.categories import MNIST_CATEGORITES
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets.array_dataset import ArrayDataset
from rescaps_plugin.classification.datasets.array_files import DataError, find_file, read_idx
from rescaps_plugin.classification.datasets.mat_files import read_mat_struct

# Files written by tools/prepare_affnist.py.
IMAGES_NAME = 'affnist-test-images-idx4-ubyte'
LABELS_NAME = 'affnist-test-labels-idx1-ubyte'
SIZE = 40
PER_DIGIT = 32


@DATASETS.register_module()
class AffNIST(ArrayDataset):
    """The affNIST test set: every MNIST test digit with 32 random affine transforms, 320,000 images of 40x40.

    Reads the first of these that ``data_root`` has:

    1. the output of ``tools/prepare_affnist.py``: IDX files ``affnist-test-images-idx4-ubyte``
       ``[transforms, digits, 40, 40]`` and ``affnist-test-labels-idx1-ubyte`` ``[digits]``, plain or gzipped;
    2. the original batches ``test_batches/1.mat`` to ``test_batches/32.mat``, each with one transform of every digit;
    3. the original ``test.mat``.

    A ``.mat`` file holds a struct ``affNISTdata`` with ``label_int`` ``[1, n]`` and ``image`` ``[1600, n]``, with one
    digit per column, its pixels in row-major order. Source: https://www.cs.toronto.edu/~tijmen/affNIST/

    There is no training split: networks are trained on MNIST digits that
    :class:`~rescaps_plugin.classification.transforms.RandomAffinePlacement` places on the larger canvas.

    Args:
        data_root: Folder of the data.
        split: ``'test'``.
        per_digit: Number of transforms of each digit to use, from the first; 32 is the whole data set.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: ``data_root`` has none of these files.
        DataError: A file is truncated, damaged or not from affNIST, or has fewer transforms than ``per_digit``.
    """

    METAINFO = {'classes': MNIST_CATEGORITES}
    splits = ('test',)

    def __init__(self, data_root: str, split: str = 'test', per_digit: int = PER_DIGIT, **kwargs):
        if not 1 <= per_digit <= PER_DIGIT:
            raise DataError(f'AffNIST: per_digit must be from 1 to {PER_DIGIT}, not {per_digit}')
        self.per_digit = per_digit
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Load uint8 images ``[per_digit * digits, 40, 40]``, transform by transform, and labels."""
        batches = os.path.join(self.data_root, 'test_batches')
        whole = os.path.join(self.data_root, 'test.mat')
        try:
            images_path, labels_path = self._find(IMAGES_NAME), self._find(LABELS_NAME)
        except FileNotFoundError:
            if os.path.isdir(batches):
                return self._read_batches(batches)
            if os.path.isfile(whole):
                return self._read_whole(whole)
            raise
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 4 or images.shape[2:] != (SIZE, SIZE):
            raise DataError(f'{images_path}: expected an array [transforms, digits, 40, 40], found {images.shape}')
        if len(images) < self.per_digit:
            raise DataError(
                f'{images_path}: it has {len(images)} transforms of each digit and per_digit={self.per_digit}; make it '
                f'again with tools/prepare_affnist.py --per-digit {self.per_digit}, or set per_digit={len(images)}'
            )
        return images[: self.per_digit].reshape(-1, SIZE, SIZE), np.tile(labels, self.per_digit)

    def _find(self, name: str) -> str:
        return find_file(
            (self.data_root,),
            name,
            'affNIST made from the MNIST test set',
            'Make it with `python tools/prepare_affnist.py <folder of MNIST> <this folder>`, or put test.mat or '
            'test_batches/1.mat to 32.mat of https://www.cs.toronto.edu/~tijmen/affNIST/ there.',
        )

    def _read_batches(self, folder: str) -> tuple[np.ndarray, np.ndarray]:
        paths = [os.path.join(folder, f'{number}.mat') for number in range(1, self.per_digit + 1)]
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing:
            raise FileNotFoundError(
                f'{missing[0]} and {len(missing) - 1} more of the {len(paths)} affNIST batches that '
                f'per_digit={self.per_digit} needs are missing. Unpack test_batches.zip of '
                'https://www.cs.toronto.edu/~tijmen/affNIST/ again.'
            )
        images, labels = zip(*map(read_affnist_mat, paths), strict=True)
        return np.concatenate(images), np.concatenate(labels)

    def _read_whole(self, path: str) -> tuple[np.ndarray, np.ndarray]:
        if self.per_digit != PER_DIGIT:
            raise DataError(
                f'{path}: the order of its images is not documented, so per_digit must be {PER_DIGIT}, not '
                f'{self.per_digit}; use test_batches/*.mat for fewer transforms of each digit'
            )
        images, labels = read_affnist_mat(path)
        if len(labels) % PER_DIGIT:
            raise DataError(
                f'{path}: expected {PER_DIGIT} images of each digit, found {len(labels)} images in all; is it the '
                'untransformed ("just centered") version?'
            )
        return images, labels


def read_affnist_mat(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Read an original affNIST ``.mat`` file.

    Args:
        path: The file.

    Returns:
        uint8 images ``[n, 40, 40]`` and labels ``[n]``.

    Raises:
        DataError: The file is truncated or damaged, or has no ``affNISTdata`` of the documented shape.
    """
    pixels, labels = read_mat_struct(path, 'affNISTdata', ('image', 'label_int'))
    labels = labels.ravel()
    if pixels.shape != (SIZE * SIZE, len(labels)) or pixels.dtype != np.uint8:
        raise DataError(
            f'{path}: expected uint8 images [1600, {len(labels)}] for its {len(labels)} labels, found '
            f'{pixels.dtype} {pixels.shape}'
        )
    with np.errstate(invalid='ignore'):
        digits = labels.astype(np.uint8)
    if (digits != labels).any():  # also true for NaN
        raise DataError(f'{path}: label_int must hold digits 0 to 9, found {labels[digits != labels][0]}')
    return pixels.T.reshape(-1, SIZE, SIZE), digits
