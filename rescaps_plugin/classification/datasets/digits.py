"""scikit-learn's handwritten digits, which need no files or downloads."""

from __future__ import annotations

import numpy as np
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets.array_dataset import ArrayDataset
from rescaps_plugin.data.digits import load_digits


@DATASETS.register_module()
class Digits(ArrayDataset):
    """The 1,797 handwritten 8x8 digits of scikit-learn (:func:`sklearn.datasets.load_digits`).

    1,437 are for training and 360 for testing, see ``rescaps_plugin.data.digits.load_digits``. Grey levels are
    rescaled from 0 to 16 to 0 to 255.

    Args:
        split: ``'train'`` or ``'test'``.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, such as ``pipeline``.

    Example:
        >>> from rescaps_plugin.classification.datasets import Digits
        >>> digits = Digits(split='test')
        >>> len(digits), digits[0]['img'].shape
        (360, (8, 8))
    """

    METAINFO = {'classes': tuple('0123456789')}

    def load_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Load uint8 images ``[n, 8, 8]`` and labels ``[n]`` of the split."""
        images, labels = load_digits(self.split, 'classification')
        return np.rint(images * (255 / 16)).astype(np.uint8), labels
