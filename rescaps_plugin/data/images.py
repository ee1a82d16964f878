"""Validate and read image files.

Files that are truncated, damaged, or above the size limit are refused by name. The decoders do not check this: OpenCV
fills the missing part of a truncated file without a warning, allocates up to 3 GB if a header or the length of a PNG's
chunk says so, and returns None or raises an error without the file's name for one it cannot read; Pillow clips 16-bit
greys to 255 and passes PostScript to Ghostscript.
"""

from __future__ import annotations

import io
import os
import stat
import struct
from pathlib import Path

import numpy as np
from mmengine import fileio
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from rescaps_plugin.cli.errors import UserError

# Formats that are opened, whatever the file's name. Not EPS, for which Pillow runs Ghostscript.
FORMATS = ('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
# Their suffixes.
IMAGE_SUFFIXES = (
    '.avif', '.bmp', '.gif', '.jp2', '.jpeg', '.jpg', '.pgm', '.png', '.pnm', '.ppm', '.tif', '.tiff', '.webp',
)  # fmt: skip
JPEG_END = b'\xff\xd9'
PNG_START = b'\x89PNG\r\n\x1a\n'
# More than the largest image within Pillow's limit takes unpacked, with 16-bit colours.
MAX_FILE_BYTES = 2**30


class ImageError(UserError, ValueError):
    """An image file that cannot be used; names the file and says why."""


def check_image(content: bytes, source: str | Path) -> tuple[str, str]:
    """Check that a file is an undamaged image within Pillow's limit against decompression bombs.

    The size is read from the header, before any pixel is allocated. The limit is twice ``PIL.Image.MAX_IMAGE_PIXELS``
    (179 million pixels), which a program that needs more may raise. Of an animation, the first picture counts.

    Args:
        content: Bytes of the file.
        source: The file's name, for the error message.

    Returns:
        Pillow's format of the file, such as ``'PNG'``, and mode of the pixels, such as ``'RGB'`` or ``'I;16'``.

    Raises:
        ImageError: The image cannot be used.
    """
    if not content:
        raise ImageError(f'{source}: the file is empty')
    if content.startswith(PNG_START):
        _check_png_chunks(content, source)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            # Decoding twice doubles the time of loading; a JPEG that ends as it should can do without.
            if image.format != 'JPEG' or not content.endswith(JPEG_END):
                image.load()
            return image.format, image.mode
    except UnidentifiedImageError as error:
        raise ImageError(f'{source}: not an image, or none of {", ".join(FORMATS)}') from error
    except Image.DecompressionBombError as error:
        raise ImageError(f'{source}: refused before unpacking: {error}') from error
    except Exception as error:  # damage can fail a decoder in any way
        raise ImageError(f'{source}: truncated or damaged image file ({type(error).__name__}: {error})') from error


def _check_png_chunks(content: bytes, source: str | Path) -> None:
    """Refuse a PNG with a chunk that is longer than the file, for which OpenCV would allocate up to 2 GB."""
    place, kind = len(PNG_START), b''
    while kind != b'IEND':
        if place + 12 > len(content):
            raise ImageError(f'{source}: truncated or damaged image file (it ends without an IEND chunk)')
        length, kind = struct.unpack_from('>I4s', content, place)
        place += 12 + length
        if place > len(content):
            raise ImageError(
                f'{source}: truncated or damaged image file (a chunk of {length} bytes goes beyond its end)'
            )


def read_file(path: str | Path, backend_args: dict | None = None) -> bytes:
    """Read the bytes of an image file.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        The bytes.

    Raises:
        ImageError: The file is larger than :data:`MAX_FILE_BYTES`, or is a pipe or a device.
        OSError: The file is missing or cannot be read.
    """
    backend = fileio.get_file_backend(str(path), backend_args=backend_args)
    if isinstance(backend, fileio.LocalBackend):
        _check_local_file(path)
    return backend.get(str(path))


def _check_local_file(path: str | Path) -> None:
    """Refuse files that are too large, and pipes and devices, which may never end."""
    status = os.stat(path)
    if status.st_size > MAX_FILE_BYTES:
        raise ImageError(f'{path}: an image file may have {MAX_FILE_BYTES} bytes, it has {status.st_size}')
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ImageError(f'{path}: not a file, but a pipe or a device')


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

    content = read_file(path, backend_args)
    kind, mode = check_image(content, path)
    if kind == 'AVIF':  # which not every OpenCV reads
        backend = 'pillow'
    if mode.startswith('I'):  # more than 8 bits, which MMCV's other decoders clip
        backend = 'cv2'
    try:
        image = imfrombytes(content, color_type, channel_order, backend)
    except Exception as error:  # OpenCV's own errors, and those of MMCV where OpenCV returns None
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
        ImageError: The file is no image, its header is damaged, or as of :func:`read_file`.
        OSError: The file is missing or cannot be read.
    """
    backend = fileio.get_file_backend(str(path), backend_args=backend_args)
    local = isinstance(backend, fileio.LocalBackend)
    if local:
        _check_local_file(path)
    with open(path, 'rb') if local else io.BytesIO(read_file(path, backend_args)) as file:
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
    with Image.open(io.BytesIO(read_file(path, backend_args)), formats=FORMATS) as image:
        if not image.has_transparency_data:
            return None
        return np.asarray(ImageOps.exif_transpose(image.convert('RGBA')).getchannel('A'))
