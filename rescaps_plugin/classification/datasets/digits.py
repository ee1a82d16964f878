"""scikit-learn's handwritten digits: real data that needs no file and no network."""

from __future__ import annotations

import numpy as np
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets.array_dataset import ArrayDataset


@DATASETS.register_module()
class Digits(ArrayDataset):
    """The 1,797 real 8x8 digits that come with scikit-learn (:func:`sklearn.datasets.load_digits`).

    scikit-learn has no official split. This one is fixed: 1,437 training and 360 test digits, stratified by class,
    drawn by :func:`sklearn.model_selection.train_test_split` with ``test_size=0.2`` and ``random_state=0``. Grey levels
    0 to 16 are stretched to 0 to 255.

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
        # Imported here because it takes half a second that no other data set needs to spend.
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        train, test = train_test_split(
            np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0
        )
        members = np.sort(train if self.split == 'train' else test)
        images = np.rint(digits.images[members] * (255 / 16)).astype(np.uint8)
        return images, digits.target[members]
