"""Validate images in memory, and convert them to what a loading transform returns for files of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from rescaps_plugin.data.images import ImageError

# An image: a path or URL of a file, or in memory.
ImageInput = str | os.PathLike | Image.Image | np.ndarray | Tensor


def load_image(image: Image.Image | np.ndarray | Tensor, source: str, load: Callable[[dict], dict]) -> dict[str, Any]:
    """Convert an image in memory to the results of a loading transform, as for a PNG file of the image.

    Args:
        image: As in :func:`to_pixels`.
        source: Name of the image, for ``img_path`` and error messages.
        load: MMCV's ``LoadImageFromFile`` or ``LoadCheckedImageFromFile``; its options apply.

    Returns:
        ``img``, ``img_shape``, ``ori_shape`` and ``img_path``; and ``alpha``, uint8 ``[height, width]`` or None.

    Raises:
        ImageError: As in :func:`to_pixels`.
    """
    color_type = getattr(load, 'color_type', 'color')
    pixels = to_pixels(image, source, oriented=color_type in ('color', 'grayscale'))
    alpha = pixels[..., 3] if pixels.ndim == 3 and pixels.shape[2] == 4 else None
    if color_type != 'unchanged':
        pixels = _convert(pixels, color_type.startswith('grayscale'))
    elif pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if alpha is None else cv2.COLOR_RGBA2BGRA)
    if getattr(load, 'to_float32', False):
        pixels = pixels.astype(np.float32)
    size = pixels.shape[:2]
    return dict(img=pixels, img_shape=size, ori_shape=size, img_path=source, alpha=alpha)


def _convert(pixels: np.ndarray, to_grey: bool) -> np.ndarray:
    """Convert pixels of :func:`to_pixels` to grey ``[height, width]``, or to BGR ``[height, width, 3]``."""
    if pixels.ndim == 2:
        return pixels if to_grey else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    bgr = np.ascontiguousarray(pixels[..., 2::-1])
    if not to_grey:
        return bgr
    # OpenCV's decoder of PNG files and cvtColor differ by a grey level in half of the colours.
    content = cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1]
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def to_pixels(image: Image.Image | np.ndarray | Tensor, source: str, oriented: bool = True) -> np.ndarray:
    """Convert an image to 8-bit pixels.

    Args:
        image: An image of Pillow, of any mode but ``'F'``; an array, uint8, ``[height, width]`` or
            ``[height, width, 1 | 3 | 4]``; or a tensor ``[1 | 3 | 4, height, width]``, uint8, or floating point in
            [0, 1], which is rounded to 8 bits. Channels are grey, RGB or RGBA. Grey levels of 16 bits are reduced to
            their upper 8 bits, as :func:`~rescaps_plugin.data.images.read_image` does.
        source: Name of the image, for error messages.
        oriented: Whether to apply the EXIF orientation of an image of Pillow. Defaults to True.

    Returns:
        uint8 grey ``[height, width]``, RGB ``[height, width, 3]`` or RGBA ``[height, width, 4]``.

    Raises:
        ImageError: The image is of another type, dtype or shape, is empty, has values outside its range, is of Pillow's
            mode ``'I'`` with levels that may be of 8 bits, or cannot be decoded.
    """
    if isinstance(image, Image.Image):
        pixels = _from_pillow(image, source, oriented)
    elif isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or not _has_image_shape(image.shape):
            raise ImageError(
                f'{source}: an array must be uint8 [height, width] or [height, width, 3 or 4] (RGB or RGBA), got '
                f'{image.dtype} {list(image.shape)}'
            )
        pixels = image
    elif isinstance(image, Tensor):
        pixels = _from_tensor(image, source)
    else:
        raise ImageError(
            f'{source}: an image must be a path, a PIL.Image, an array or a tensor, got {type(image).__name__}'
        )
    return np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def _has_image_shape(shape: tuple[int, ...]) -> bool:
    return 0 not in shape and (len(shape) == 2 or len(shape) == 3 and shape[2] in (1, 3, 4))


def _from_tensor(image: Tensor, source: str) -> np.ndarray:
    given = f'{image.dtype} {list(image.shape)}'.removeprefix('torch.')
    if image.ndim != 3 or not _has_image_shape((*image.shape[1:], image.shape[0])):
        raise ImageError(f'{source}: a tensor must be [1, 3 or 4, height, width] (grey, RGB or RGBA), got {given}')
    image = image.detach().cpu()
    if image.is_floating_point():
        low, high = image.min().item(), image.max().item()
        if not (low >= 0 and high <= 1):  # also true for NaN
            raise ImageError(f'{source}: a floating point tensor must be from 0 to 1, got {low:.4g} to {high:.4g}')
        image = (255 * image.double()).round().to(torch.uint8)
    elif image.dtype != torch.uint8:
        raise ImageError(f'{source}: a tensor must be uint8, or floating point from 0 to 1, got {given}')
    return image.permute(1, 2, 0).numpy()


def _from_pillow(image: Image.Image, source: str, oriented: bool) -> np.ndarray:
    if image.mode == 'F' or 0 in image.size:
        raise ImageError(
            f'{source}: a PIL.Image must have pixels, of any mode but F, got mode {image.mode}, {image.width} x '
            f'{image.height} pixels'
        )
    try:
        # Decodes an image that Pillow has only opened.
        image = ImageOps.exif_transpose(image) if oriented else image
        pixels = np.asarray(image)
    except Exception as error:  # damage can fail a decoder in any way
        raise ImageError(f'{source}: the PIL.Image cannot be decoded ({type(error).__name__}: {error})') from error
    if image.mode.startswith('I'):
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ImageError(
                f'{source}: a PIL.Image of mode {image.mode} must have levels from 0 to 65535, got {pixels.min()} to '
                f'{pixels.max()}'
            )
        if image.mode == 'I' and 0 < pixels.max() <= 255:
            raise ImageError(
                f'{source}: a PIL.Image of mode I has levels of 16 bits, and this has none above {pixels.max()}: pass '
                'mode L for levels of 8 bits, or mode I;16'
            )
        return (pixels >> 8).astype(np.uint8)
    if image.has_transparency_data:
        return np.asarray(image.convert('RGBA'))
    return np.asarray(image.convert('L' if image.mode in ('1', 'L') else 'RGB'))
