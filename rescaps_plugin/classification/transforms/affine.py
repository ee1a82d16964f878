"""Random affine transforms of a digit that keep all of it on a larger canvas, as affNIST is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from scipy import ndimage


def affine_matrix(rotation: float = 0.0, shear: float = 0.0, scale: Sequence[float] = (1.0, 1.0)) -> np.ndarray:
    """Return the linear part of an affine transform, rotation after shear after scaling, in coordinates (row, column).

    Args:
        rotation: Angle in degrees, counter-clockwise.
        shear: Columns by which a row is moved per row.
        scale: Factors of height and width.

    Returns:
        Matrix ``[2, 2]``, ``R S D`` in ``y = R S D x``.
    """
    angle = np.deg2rad(rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, 0], [shear, 1]]) @ np.diag(scale)


def place_affine(
    image: np.ndarray,
    size: int,
    rotation: float = 0.0,
    shear: float = 0.0,
    scale: Sequence[float] = (1.0, 1.0),
    position: Sequence[float] = (0.5, 0.5),
) -> np.ndarray:
    """Transform a digit and put it on a black square canvas, all of its ink inside.

    The linear part is that of ``affine_matrix``. Pixels between the source's are interpolated linearly in double
    precision, so that every machine makes the same image.

    Args:
        image: uint8 digit ``[height, width]`` on black (0).
        size: Side of the canvas, in pixels.
        rotation: Angle in degrees, counter-clockwise.
        shear: Columns by which a row is moved per row.
        scale: Factors of height and width.
        position: Where the digit lies, down and across, among the places where all its ink is inside: 0 is the first,
            1 the last.

    Returns:
        uint8 canvas ``[size, size]``.

    Raises:
        ValueError: The transformed digit is larger than the canvas.
    """
    ink = np.stack(np.nonzero(image))
    if not ink.size:
        return np.zeros((size, size), np.uint8)
    linear = affine_matrix(rotation, shear, scale)
    # Linear interpolation spreads a pixel over the open square of side 2 around it, which the map turns into a
    # parallelogram of this half height and half width.
    reach = np.abs(linear).sum(axis=1)
    spread = linear @ ink
    first, last = spread.min(axis=1) - reach, spread.max(axis=1) + reach
    # Open intervals: ink from -1 to size touches pixels 0 to size - 1 only.
    room = size + 1 - (last - first)
    if room.min() < 0:
        height, width = last - first
        raise ValueError(f'the transformed digit, {height:.1f} x {width:.1f} pixels, does not fit on {size} x {size}')
    offset = -1 - first + room * position
    inverse = np.linalg.inv(linear)
    canvas = ndimage.affine_transform(
        image,
        inverse,
        offset=-inverse @ offset,
        output_shape=(size, size),
        output=np.float64,
        order=1,
        mode='grid-constant',
    )
    return np.rint(canvas).astype(np.uint8)


@TRANSFORMS.register_module()
class RandomAffinePlacement(BaseTransform):
    """Put a digit at a random place of a larger black canvas, rotated, sheared and scaled at random.

    Every parameter is uniform in its range; so is the place among those where no ink leaves the canvas. With the
    defaults it makes the training images of the affNIST experiment, from MNIST: a 40x40 canvas and rotations up to 30
    degrees.

    Required Keys:

    - img

    Modified Keys:

    - img
    - img_shape

    Args:
        size: Side of the canvas, in pixels.
        rotation: Largest angle either way, in degrees.
        shear: Largest shear either way, in columns per row.
        scale: Smallest and largest factor, drawn for height and width on their own.

    Raises:
        ValueError: ``img`` is not grey, or a transformed digit is larger than the canvas.
    """

    def __init__(
        self, size: int = 40, rotation: float = 30.0, shear: float = 0.0, scale: tuple[float, float] = (1.0, 1.0)
    ):
        self.size = size
        self.rotation = rotation
        self.shear = shear
        self.scale = scale

    def transform(self, results: dict) -> dict:
        """Transform ``img``, uint8 ``[height, width]``.

        Args:
            results: Result dict from the data set or the transform before.

        Returns:
            The result dict with ``img`` of ``[size, size]``.
        """
        image = results['img']
        if image.ndim != 2 or image.dtype != np.uint8:
            raise ValueError(
                f'RandomAffinePlacement: img must be uint8 [height, width], not {image.dtype} {list(image.shape)}'
            )
        results['img'] = place_affine(
            image,
            self.size,
            rotation=np.random.uniform(-self.rotation, self.rotation),
            shear=np.random.uniform(-self.shear, self.shear),
            scale=np.random.uniform(*self.scale, size=2),
            position=np.random.uniform(size=2),
        )
        results['img_shape'] = results['img'].shape
        return results

    def __repr__(self) -> str:
        """Show the arguments."""
        return (
            f'{type(self).__name__}(size={self.size}, rotation={self.rotation}, shear={self.shear}, scale={self.scale})'
        )
