"""Cut-outs of salient objects: opacity at the resolution of the image, foreground colours, and plain backgrounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from rescaps_plugin.cli.extras import import_extra

# Grey levels up to and from which a map is certain: 20% and 80%.
BACKGROUND, FOREGROUND = 51, 204
# Distance that the edge of a map may be off, as a fraction of the image's longer side: 2 pixels of a 256x256 network.
REACH = 1 / 128
# Longest side of the image that the edge is solved on, in pixels; larger images get its result by interpolation.
SOLVED_SIDE = 512
# Weight of the map against the matting Laplacian, per pixel and times the squared reach in pixels. Gradients of the
# opacity, and with them the Laplacian, shrink with the resolution; so the result does not depend on it.
MAP_WEIGHT = 0.03
# Regularisation of local linear models of the opacity, in squared units of colours from 0 to 1.
EPSILON = 1e-4
# Opacity of the pixels from whose mean colour pymatting starts the estimation of the foreground.
OPAQUE = 0.9


def cutout(
    image: np.ndarray, saliency: np.ndarray, alpha: np.ndarray | None = None, refine: bool = False
) -> np.ndarray:
    """Cut the salient object out, with the map as alpha channel, multiplied by the image's own alpha if it has one.

    Args:
        image: uint8 image ``[height, width, 3]``, RGB or BGR.
        saliency: uint8 map ``[height, width]``.
        alpha: uint8 alpha channel ``[height, width]`` of the image.
        refine: Whether to move the edge of the map to that of the image by :func:`refine_edge`, and to replace colours
            at the edge by :func:`estimate_foreground`. Defaults to False: the map and the colours are kept.

    Returns:
        uint8 image ``[height, width, 4]``, with the channel order of ``image``.

    Raises:
        UserError: ``refine`` is set, and pymatting is not installed.
    """
    if refine:
        saliency = refine_edge(image, saliency)
        image = estimate_foreground(image, saliency)
    opacity = saliency if alpha is None else np.rint(saliency * (alpha / 255)).astype(np.uint8)
    return np.dstack([image, opacity])


def blend(image: np.ndarray, colour: Sequence[int]) -> np.ndarray:
    """Put a cut-out on a plain background.

    Args:
        image: uint8 cut-out ``[height, width, 4]``.
        colour: Three levels from 0 to 255, in the channel order of the cut-out.

    Returns:
        uint8 image ``[height, width, 3]``.
    """
    opacity = image[..., 3:] / np.float32(255)
    return np.rint(image[..., :3] * opacity + np.float32(colour) * (1 - opacity)).astype(np.uint8)


def refine_edge(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Estimate the opacity of an object from its saliency map, by closed-form matting with the map as a prior.

    The opacity is 0 or 255 where the map is certain: at most ``BACKGROUND`` or at least ``FOREGROUND``
    everywhere within ``REACH``. In between it minimises ``a' L a + w |a - s|^2`` with the matting Laplacian ``L``
    (Levin et al., *A Closed-Form Solution to Natural Image Matting*, 2008) and the saliency ``s``, on an image of at
    most ``SOLVED_SIDE`` pixels. Larger images get the result by local linear models of their colours (He and Sun,
    *Fast Guided Filter*, 2015).

    Args:
        image: uint8 image ``[height, width, 3]``, RGB or BGR.
        saliency: uint8 map ``[height, width]``.

    Returns:
        uint8 opacity ``[height, width]``.

    Raises:
        UserError: pymatting is not installed.
    """
    result = np.zeros_like(saliency)
    box = _find_object(saliency > BACKGROUND)
    reach = REACH * max(saliency.shape)
    image, saliency = image[box], saliency[box]
    if not saliency.size:
        return result
    scale = min(1, SOLVED_SIDE / max(saliency.shape))
    size = [max(1, round(scale * side)) for side in saliency.shape[::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) / np.float32(255)
    opacity = _solve(small, cv2.resize(saliency, size, interpolation=cv2.INTER_AREA), max(1, round(scale * reach)))
    if scale < 1:
        opacity = _upsample(opacity, small, image)
    result[box] = np.rint(255 * np.clip(opacity, 0, 1))
    return result


def estimate_foreground(image: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Remove the background from the colours of an object's edge, by pymatting's multi-level estimation.

    Args:
        image: uint8 image ``[height, width, 3]``, RGB or BGR.
        opacity: uint8 opacity ``[height, width]``.

    Returns:
        uint8 image ``[height, width, 3]``. Colours of opaque pixels are kept; all are if there is nothing to estimate
        from, or nothing to estimate.

    Raises:
        UserError: pymatting is not installed.
    """
    box = _find_object(opacity > 0)
    opacity = opacity[box]
    if opacity.min(initial=255) == 255 or opacity.max() <= 255 * OPAQUE:
        return image
    matting = import_extra('pymatting', 'cutout')
    colours = matting.estimate_foreground_ml(image[box] / np.float32(255), opacity / np.float32(255))
    result = image.copy()
    result[box] = np.where(opacity[..., None] == 255, image[box], np.rint(255 * colours))
    return result


def _find_object(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a bool mask's pixels, with a margin for the background; empty without a pixel."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    if not width:
        return slice(0), slice(0)
    margin = math.ceil(4 * REACH * max(mask.shape))
    return slice(max(0, y - margin), y + height + margin), slice(max(0, x - margin), x + width + margin)


def _solve(image: np.ndarray, saliency: np.ndarray, reach: int) -> np.ndarray:
    """Solve the opacity of :func:`refine_edge`, float64 ``[height, width]``, for colours in [0, 1]."""
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    opaque = cv2.erode(saliency, window) >= FOREGROUND
    certain = opaque | (cv2.dilate(saliency, window) <= BACKGROUND)
    opacity = np.where(certain, opaque, saliency / 255)
    if certain.all():
        return opacity
    matting = import_extra('pymatting', 'cutout')
    laplacian = matting.cf_laplacian(image.astype(np.float64), epsilon=EPSILON, is_known=certain)
    # The uncertain rows of (L + w) a = w s, with the certain pixels moved to the right.
    known = certain.ravel()
    rows = laplacian[~known]
    matrix = rows[:, ~known].tocsc()
    weight = MAP_WEIGHT / reach**2
    matrix.setdiag(matrix.diagonal() + weight)
    target = weight * opacity[~certain] - rows[:, known] @ opacity[certain]
    opacity[~certain] = matting.cg(matrix, target, x0=opacity[~certain], M=matting.ichol(matrix), rtol=1e-4)
    return opacity


def _upsample(opacity: np.ndarray, small: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Bring the opacity of a small image to a larger one, float32: it is linear in the colours of 3x3 pixels."""

    def mean(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (3, 3))

    opacity = opacity.astype(np.float32)
    colour_mean, opacity_mean = mean(small), mean(opacity)
    products = mean((small[..., :, None] * small[..., None, :]).reshape(*opacity.shape, 9)).reshape(*small.shape, 3)
    covariance = products - colour_mean[..., :, None] * colour_mean[..., None, :]
    shared = mean(small * opacity[..., None]) - colour_mean * opacity_mean[..., None]
    slope = np.linalg.solve(covariance + EPSILON * np.eye(3, dtype=np.float32), shared[..., None])[..., 0]
    offset = mean(opacity_mean - (slope * colour_mean).sum(axis=2))
    size = image.shape[1::-1]
    result = cv2.resize(offset, size)
    # Channel by channel, for images of many megapixels.
    for channel, factor in enumerate(cv2.split(mean(slope))):
        result += cv2.resize(factor, size) * (image[..., channel] / np.float32(255))
    return result
