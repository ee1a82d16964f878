"""Pictures of network inputs, as every tool that draws shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor


def to_picture(image: Tensor | np.ndarray, bgr: bool) -> np.ndarray:
    """Turn a network's input into a picture that matplotlib and Pillow show in its colours.

    Bytes are shown as they are. Other values have no range of their own: their least is black and their largest white.

    Args:
        image: Tensor ``[channels, height, width]`` as a pipeline packs it, or array ``[height, width, channels]`` or
            ``[height, width]`` as a pipeline's transforms have it. Of other channels than three, the first is shown.
        bgr: Whether blue is the first of three channels.

    Returns:
        uint8 picture ``[height, width, 3]``, RGB.
    """
    pixels = image.permute(1, 2, 0).cpu().numpy() if isinstance(image, Tensor) else np.atleast_3d(image)
    if pixels.shape[2] != 3:
        pixels = pixels[..., :1].repeat(3, axis=2)
    elif bgr:
        pixels = pixels[..., ::-1]
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        pixels = np.rint((pixels.astype(np.float64) - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
    return np.ascontiguousarray(pixels)


def leaves_bgr(pipeline: Sequence[Mapping], to_rgb: bool) -> bool:
    """Return whether a pipeline leaves images with BGR.

    Files are loaded with BGR, and ``NumpyToPIL`` and ``PILToNumpy`` may exchange red and blue. Arrays that a
    data set has in memory are in the order that the data preprocessor expects.

    Args:
        pipeline: Configs of its transforms.
        to_rgb: Whether the data preprocessor exchanges red and blue.

    Returns:
        Whether the first of three channels is blue.
    """
    if not any(step['type'] == 'LoadImageFromFile' for step in pipeline):
        return to_rgb
    swaps = sum(bool(step.get('to_rgb') or step.get('to_bgr')) for step in pipeline)
    return swaps % 2 == 0
