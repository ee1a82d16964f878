"""Standardisation of an image by its own mean and deviation."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Standardize(BaseTransform):
    """Scale an image to zero mean and unit variance over all its pixels and channels.

    The deviation is taken as at least ``1 / sqrt(number of values)``, as TensorFlow's ``per_image_standardization``
    does, so that a constant image becomes zero.

    Required Keys:

    - img

    Modified Keys:

    - img
    """

    def transform(self, results: dict) -> dict:
        """Standardise ``img``, of any shape and type.

        Args:
            results: Result dict from the data set or the transform before.

        Returns:
            The result dict with ``img`` as float32.
        """
        image = results['img'].astype(np.float32)
        image -= image.mean()
        image /= max(image.std(), image.size**-0.5)
        results['img'] = image
        return results

    def __repr__(self) -> str:
        """Show the class."""
        return f'{type(self).__name__}()'
