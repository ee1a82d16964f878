"""Validate and read image files; errors name the file and the reason.

Decoders trust their input. OpenCV, including the current release, silently fills up truncated files, allocates up to
3 GB as declared by a header or the length of a PNG chunk, and returns None or raises an error without the file name for
unreadable files; Pillow clips 16-bit grey levels to 255 and passes PostScript to Ghostscript.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import sys
from functools import lru_cache
from pathlib import Path
from typing import TextIO

import numpy as np
from mmengine import fileio
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from rescaps_plugin.cli.errors import UserError

# Supported formats, whatever the file name. EPS is excluded, as Pillow would run Ghostscript.
FORMATS = ('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
# Suffixes of these formats.
IMAGE_SUFFIXES = (
    '.avif', '.bmp', '.gif', '.jp2', '.jpeg', '.jpg', '.pgm', '.png', '.pnm', '.ppm', '.tif', '.tiff', '.webp',
)  # fmt: skip
JPEG_END = b'\xff\xd9'
PNG_START = b'\x89PNG\r\n\x1a\n'
# Path by which the functions below read standard input.
STANDARD_INPUT = Path('/dev/stdin')
# More than the decoded size of the largest image within Pillow's limit, with 16-bit colours.
MAX_FILE_BYTES = 2**30


class ImageError(UserError, ValueError):
    """An image file that cannot be used; names the file and the reason."""


def check_image(content: bytes, source: str | Path) -> tuple[str, str]:
    """Check that a file is an undamaged image within Pillow's limit against decompression bombs.

    The size is read from the header, before pixels are allocated. The limit is twice ``PIL.Image.MAX_IMAGE_PIXELS``
    (179 million pixels), which callers can raise. For animations, the first frame is checked.

    Args:
        content: Bytes of the file.
        source: Name of the file, for the error message.

    Returns:
        Pillow's names of the format, such as ``'PNG'``, and of the pixel mode, such as ``'RGB'`` or ``'I;16'``.

    Raises:
        ImageError: The image cannot be used.
    """
    if not content:
        raise ImageError(f'{source}: the file is empty')
    if content.startswith(PNG_START):
        _check_png_chunks(content, source)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            # Decoding twice doubles the loading time; a JPEG with an end marker is not decoded here.
            if image.format != 'JPEG' or not content.endswith(JPEG_END):
                image.load()
            return image.format, image.mode
    except UnidentifiedImageError as error:
        raise ImageError(f'{source}: not an image in a supported format: {", ".join(FORMATS)}') from error
    except Image.DecompressionBombError as error:
        raise ImageError(f'{source}: too large to decode: {error}') from error
    except Exception as error:  # damage can fail a decoder in any way
        raise ImageError(f'{source}: truncated or damaged image file ({type(error).__name__}: {error})') from error


def _check_png_chunks(content: bytes, source: str | Path) -> None:
    """Check that no PNG chunk is longer than the file; OpenCV would allocate up to 2 GB for it."""
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
        path: Path, URL of one of MMEngine's file backends, or :data:`STANDARD_INPUT`.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        The bytes.

    Raises:
        ImageError: The file is larger than :data:`MAX_FILE_BYTES`, or is a pipe or a device.
        OSError: The file is missing or cannot be read.
    """
    if Path(path) == STANDARD_INPUT:
        return _read_stream(sys.stdin)
    backend = fileio.get_file_backend(str(path), backend_args=backend_args)
    if isinstance(backend, fileio.LocalBackend):
        _check_local_file(path)
    return backend.get(str(path))


@lru_cache(maxsize=1)
def _read_stream(stream: TextIO | None) -> bytes:
    """Read standard input. Its bytes are kept: a stream cannot be read again for the alpha channel."""
    if stream is None:
        raise ImageError(f'{STANDARD_INPUT}: standard input is closed')
    content = stream.buffer.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f'{STANDARD_INPUT}: image files are limited to {MAX_FILE_BYTES} bytes')
    return content


def _check_local_file(path: str | Path) -> None:
    """Check the file size, and that the path is not a pipe or device, which may never end."""
    status = os.stat(path)
    if status.st_size > MAX_FILE_BYTES:
        raise ImageError(f'{path}: image files are limited to {MAX_FILE_BYTES} bytes, found {status.st_size}')
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise ImageError(f'{path}: not a file, but a pipe or a device')


def read_image(
    path: str | Path,
    color_type: str = 'color',
    channel_order: str = 'bgr',
    backend: str = 'cv2',
    backend_args: dict | None = None,
) -> np.ndarray:
    """Validate an image file by :func:`check_image` and decode it as MMCV's loaders.

    The EXIF orientation is applied, unless ``color_type`` ignores it. 16-bit values are scaled to 8 bits. CMYK and
    palette images are converted to RGB, and an alpha channel is dropped. For animations, the first frame is read.

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
    # Imported here, so that check_image does not need MMCV.
    from mmcv import imfrombytes

    content = read_file(path, backend_args)
    kind, mode = check_image(content, path)
    if kind == 'AVIF':  # not supported by all OpenCV builds
        backend = 'pillow'
    if mode.startswith('I'):  # more than 8 bits, which MMCV's other decoders clip
        backend = 'cv2'
    try:
        if kind in ('TIFF', 'GIF', 'PPM'):
            content = _as_png(content)
        image = imfrombytes(content, color_type, channel_order, backend)
    except Exception as error:  # errors of Pillow, of OpenCV, or of MMCV when OpenCV returns None
        raise ImageError(f'{path}: {backend} cannot decode it, pixels of mode {mode} ({error})') from error
    if image is None:
        raise ImageError(f'{path}: {backend} cannot decode it, pixels of mode {mode}')
    return image


def _as_png(content: bytes) -> bytes:
    """Return images that OpenCV reads with other levels as a PNG, which it reads as Pillow does.

    It multiplies the colours of a TIFF or GIF with an alpha channel, which is dropped, by the opacity, and does not
    scale the levels of a PNM whose maximum is neither 255 nor 65535.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.format != 'PPM' and not image.has_transparency_data:
            return content
        if image.has_transparency_data:
            picture = image.convert('RGBA').convert('RGB')
        else:
            picture = image.convert('I;16') if image.mode == 'I' else image
        png = io.BytesIO()
        picture.save(png, 'PNG', compress_level=0)
        return png.getvalue()


def read_size(path: str | Path, backend_args: dict | None = None, oriented: bool = True) -> tuple[int, int]:
    """Read the size of an image from its header, without decoding pixels. Local files are not read completely.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.
        oriented: Whether to apply the EXIF orientation, as :func:`read_image` by default.

    Returns:
        Width and height, in pixels.

    Raises:
        ImageError: The file is not an image, its header is damaged, or as in :func:`read_file`.
        OSError: The file is missing or cannot be read.
    """
    backend = fileio.get_file_backend(str(path), backend_args=backend_args)
    local = isinstance(backend, fileio.LocalBackend)
    if local:
        _check_local_file(path)
    with open(path, 'rb') if local else io.BytesIO(read_file(path, backend_args)) as file:
        try:
            with Image.open(file, formats=FORMATS) as image:
                # Pillow already applies the orientation of a TIFF. getexif() would decode a whole PNG without 'exif'.
                turns = oriented and image.format != 'TIFF' and 'exif' in image.info
                turned = turns and image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return image.size[::-1] if turned else image.size
        except UnidentifiedImageError as error:
            if file.seek(0, io.SEEK_END) == 0:
                raise ImageError(f'{path}: the file is empty') from error
            raise ImageError(f'{path}: not an image in a supported format: {", ".join(FORMATS)}') from error
        except Exception as error:  # damage can fail a decoder in any way
            raise ImageError(f'{path}: damaged header ({type(error).__name__}: {error})') from error


def read_alpha(path: str | Path, backend_args: dict | None = None) -> np.ndarray | None:
    """Read the alpha channel of an image that :func:`read_image` has validated, with the EXIF orientation applied.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        uint8 alpha channel ``[height, width]``, or None if the image has none.
    """
    with Image.open(io.BytesIO(read_file(path, backend_args)), formats=FORMATS) as image:
        if not image.has_transparency_data:
            return None
        return np.asarray(ImageOps.exif_transpose(image.convert('RGBA')).getchannel('A'))
