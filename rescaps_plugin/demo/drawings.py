"""Convert drawings to images as the classifiers of digits know them."""

import cv2
import numpy as np

from rescaps_plugin.cli.errors import UserError

DIGITS = 'Digits (scikit-learn)'
# By data set: side of its images in pixels, and longest side of the ink in them.
INK_SIZES = {'MNIST': (28, 20), 'affNIST, made of MNIST': (40, 20), DIGITS: (8, 8)}


def place_ink(ink: np.ndarray, data: str) -> np.ndarray:
    """Scale the ink of a digit to the size in a data set, and centre it by its centre of mass, as MNIST does.

    Args:
        ink: uint8 ``[height, width]``, 0 for paper.
        data: One of :data:`INK_SIZES`.

    Returns:
        uint8 image ``[side, side]``.

    Raises:
        UserError: There is no ink.
    """
    side, longest = INK_SIZES[data]
    left, top, width, height = cv2.boundingRect(ink)
    if not width:
        raise UserError('Nothing is drawn: draw a digit first.')
    ink = ink[top : top + height, left : left + width]
    factor = longest / max(ink.shape)
    size = [max(1, round(factor * length)) for length in (width, height)]
    ink = cv2.resize(ink, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    moments = cv2.moments(ink)
    # The scaled ink may be too faint for a single grey level.
    mass = max(moments['m00'], 1.0)
    corner = [
        int(np.clip(round((side - 1) / 2 - moments[axis] / mass), 0, side - length))
        for axis, length in zip(('m01', 'm10'), ink.shape, strict=True)
    ]
    image = np.zeros((side, side), np.uint8)
    image[corner[0] : corner[0] + ink.shape[0], corner[1] : corner[1] + ink.shape[1]] = ink
    return image
