"""Convert network inputs to pictures for plotting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from rescaps_plugin.data.pipelines import loads_image


def to_picture(image: Tensor | np.ndarray, bgr: bool) -> np.ndarray:
    """Convert a network's input to an RGB picture for matplotlib and Pillow.

    uint8 values are kept. Other types have no fixed range and are scaled so that the minimum is black and the maximum
    white.

    Args:
        image: Tensor ``[channels, height, width]`` packed by a pipeline, or array ``[height, width, channels]`` or
            ``[height, width]`` from a transform. If there are not three channels, the first is shown.
        bgr: Whether three channels are BGR.

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
    """Return whether a pipeline outputs BGR images.

    Files are loaded as BGR, and ``NumpyToPIL`` and ``PILToNumpy`` can swap red and blue. Arrays of data sets in memory
    have the channel order that the data preprocessor expects.

    Args:
        pipeline: Configs of the transforms.
        to_rgb: Whether the data preprocessor swaps red and blue.

    Returns:
        Whether three channels are BGR.
    """
    if not any(map(loads_image, pipeline)):
        return to_rgb
    swaps = sum(bool(step.get('to_rgb') or step.get('to_bgr')) for step in pipeline)
    return swaps % 2 == 0
