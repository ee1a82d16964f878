"""The border where image files come in: whole pictures of a bearable size pass, everything else is refused by name.

Decoders are left to trust what they are given. OpenCV, up to the release at hand, fills up what a truncated file lacks
and says nothing, allocates whatever a header claims up to 3 GB, and gives None or an error without a file's name for
what it cannot read; Pillow clips 16-bit greys to 255 and hands PostScript to Ghostscript.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from mmengine import fileio
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from rescaps_plugin.engine.errors import UserError

# What is opened, whatever a file's name says. No EPS, which Pillow would have Ghostscript run.
FORMATS = ('BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
JPEG_END = b'\xff\xd9'


class ImageError(UserError, ValueError):
    """An image file that cannot be used; names the file and says why."""


def check_image(content: bytes, source: str | Path) -> str:
    """Refuse what is no image, is damaged, or would unpack to more pixels than Pillow's limit against bombs.

    The size is read of the header, before any pixel is allocated. The limit is twice ``PIL.Image.MAX_IMAGE_PIXELS``
    (179 million pixels), which a program that needs more may raise. Of an animation, the first picture counts.

    Args:
        content: Bytes of the file.
        source: The file's name, for the error message.

    Returns:
        Pillow's mode of the pixels, such as ``'RGB'`` or ``'I;16'``.

    Raises:
        ImageError: The image cannot be used.
    """
    if not content:
        raise ImageError(f'{source}: the file is empty')
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            # Decoding twice doubles the time of loading; a JPEG that ends as it should can do without.
            if image.format != 'JPEG' or not content.endswith(JPEG_END):
                image.load()
            return image.mode
    except UnidentifiedImageError as error:
        raise ImageError(f'{source}: not an image, or none of {", ".join(FORMATS)}') from error
    except Image.DecompressionBombError as error:
        raise ImageError(f'{source}: refused before unpacking: {error}') from error
    except Exception as error:  # damage can fail a decoder in any way
        raise ImageError(f'{source}: truncated or damaged image file ({type(error).__name__}: {error})') from error


def read_image(
    path: str | Path,
    color_type: str = 'color',
    channel_order: str = 'bgr',
    backend: str = 'cv2',
    backend_args: dict | None = None,
) -> np.ndarray:
    """Read an image file after :func:`check_image`, as MMCV's loaders do.

    EXIF's orientation is applied, unless ``color_type`` says to ignore it. 16-bit values are scaled to 8 bits. CMYK and
    palettes become colours, and opacity is dropped. Of an animation, the first picture is read.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        color_type: ``'color'``, ``'grayscale'``, ``'color_ignore_orientation'`` or ``'grayscale_ignore_orientation'``.
        channel_order: ``'bgr'`` or ``'rgb'``, for ``'color'``.
        backend: Decoder: ``'cv2'``, ``'pillow'`` or ``'turbojpeg'``.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        uint8 image ``[height, width, 3]`` or ``[height, width]``.

    Raises:
        ImageError: The image cannot be used.
        OSError: The file is missing or cannot be read.
    """
    # Here, so that check_image does without MMCV.
    from mmcv import imfrombytes

    content = fileio.get(str(path), backend_args=backend_args)
    mode = check_image(content, path)
    if mode.startswith('I'):  # more than 8 bits, which MMCV's other decoders clip
        backend = 'cv2'
    try:
        image = imfrombytes(content, color_type, channel_order, backend)
    except Exception as error:  # OpenCV's own errors, and what MMCV runs into where it gives None
        raise ImageError(f'{path}: {backend} cannot decode it, pixels of mode {mode} ({error})') from error
    if image is None:
        raise ImageError(f'{path}: {backend} cannot decode it, pixels of mode {mode}')
    return image


def read_size(path: str | Path, backend_args: dict | None = None, oriented: bool = True) -> tuple[int, int]:
    """Read the size of an image from its header; pixels are not decoded, and of local files only the header is read.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.
        oriented: Whether EXIF's orientation is applied, as :func:`read_image` does by default.

    Returns:
        Width and height, in pixels.

    Raises:
        ImageError: The file is no image, or its header is damaged.
        OSError: The file is missing or cannot be read.
    """
    backend = fileio.get_file_backend(str(path), backend_args=backend_args)
    local = isinstance(backend, fileio.LocalBackend)
    with open(path, 'rb') if local else io.BytesIO(backend.get(str(path))) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                # Pillow itself turns the size of a TIFF. Without info, getexif() would decode the whole of a PNG.
                turns = oriented and image.format != 'TIFF' and 'exif' in image.info
                turned = turns and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return image.size[::-1] if turned else image.size
        except UnidentifiedImageError as error:
            if file.seek(0, io.SEEK_END) == 0:
                raise ImageError(f'{path}: the file is empty') from error
            raise ImageError(f'{path}: not an image, or none of {", ".join(FORMATS)}') from error
        except Exception as error:  # damage can fail a decoder in any way
            raise ImageError(f'{path}: damaged header ({type(error).__name__}: {error})') from error


def read_alpha(path: str | Path, backend_args: dict | None = None) -> np.ndarray | None:
    """Read the opacity of an image that :func:`read_image` has read, turned as its orientation says.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        uint8 opacity ``[height, width]``; None of an image that has none.
    """
    with Image.open(io.BytesIO(fileio.get(str(path), backend_args=backend_args)), formats=FORMATS) as image:
        if not image.has_transparency_data:
            return None
        return np.asarray(ImageOps.exif_transpose(image.convert('RGBA')).getchannel('A'))
