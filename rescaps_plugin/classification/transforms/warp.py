"""Affine transforms of a whole image about its centre: rotation, shear, scaling and translation."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from rescaps_plugin.classification.transforms.affine import affine_matrix


def warp_affine(
    image: np.ndarray,
    rotation: float = 0.0,
    shear: float = 0.0,
    scale: Sequence[float] = (1.0, 1.0),
    translation: Sequence[float] = (0.0, 0.0),
    fill: float = 0.0,
) -> np.ndarray:
    """Transform an image about its centre, on a canvas of its own size.

    Args:
        image: ``[height, width]`` or ``[height, width, channels]`` of at most 4 channels, uint8 or float32.
        rotation: Angle in degrees, counter-clockwise.
        shear: Columns by which a row is moved per row.
        scale: Factors of height and width.
        translation: Rows and columns by which it is moved, down and to the right, in pixels.
        fill: Value of pixels outside the image.

    Returns:
        The image, interpolated linearly, of the same shape and type.
    """
    linear = affine_matrix(rotation, shear, scale)
    centre = (np.array(image.shape[:2]) - 1) / 2
    inverse = np.linalg.inv(linear)
    offset = centre - inverse @ (centre + translation)
    # OpenCV counts columns first, and wants the map from the result to the source.
    matrix = np.column_stack([inverse[::-1, ::-1], offset[::-1]])
    height, width = image.shape[:2]
    warped = cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill,) * 4,
    )
    return warped.reshape(image.shape)


@TRANSFORMS.register_module()
class AffineWarp(BaseTransform):
    """Transform an image about its centre by parameters drawn uniformly from their ranges, the same every time.

    The parameters depend on ``seed`` and the sample's number alone, so that all models see the same images.

    Required Keys:

    - img
    - sample_idx

    Modified Keys:

    - img

    Args:
        rotation: Smallest and largest angle, in degrees, counter-clockwise.
        shear: Smallest and largest shear, in columns per row.
        scale: Smallest and largest factor, drawn for height and width on their own.
        translation: Largest shift either way, as a part of the height and of the width.
        fill: Value of pixels outside the image.
        seed: Seed of the parameters.
    """

    def __init__(
        self,
        rotation: tuple[float, float] = (0.0, 0.0),
        shear: tuple[float, float] = (0.0, 0.0),
        scale: tuple[float, float] = (1.0, 1.0),
        translation: float = 0.0,
        fill: float = 0.0,
        seed: int = 0,
    ):
        self.rotation = rotation
        self.shear = shear
        self.scale = scale
        self.translation = translation
        self.fill = fill
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Transform ``img``, ``[height, width]`` or ``[height, width, channels]``, uint8 or float32.

        Args:
            results: Result dict from the transform before.

        Returns:
            The result dict with ``img`` of the same shape and type.
        """
        image = results['img']
        rng = np.random.default_rng([self.seed, results['sample_idx']])
        results['img'] = warp_affine(
            image,
            rotation=rng.uniform(*self.rotation),
            shear=rng.uniform(*self.shear),
            scale=rng.uniform(*self.scale, size=2),
            translation=rng.uniform(-self.translation, self.translation, size=2) * image.shape[:2],
            fill=self.fill,
        )
        return results

    def __repr__(self) -> str:
        """Show the arguments."""
        return (
            f'{type(self).__name__}(rotation={self.rotation}, shear={self.shear}, scale={self.scale}, '
            f'translation={self.translation}, fill={self.fill}, seed={self.seed})'
        )
