"""The two binary array formats of the digit and NORB data sets, read with every check that their headers allow.

IDX (MNIST and its relatives): big-endian; two zero bytes, a type byte (``0x08``: unsigned bytes), the number of
dimensions in one byte, each dimension in four, then the data. NORB: little-endian; a four-byte magic number that gives
the type, the number of dimensions, each dimension in four bytes with at least three stored, then the data. Either may
be gzipped.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Sequence

import numpy as np

from rescaps_plugin.engine.errors import UserError

IDX_UBYTE = 0x08
NORB_DTYPES = {0x1E3D4C55: np.dtype('u1'), 0x1E3D4C54: np.dtype('<i4')}


class DataError(UserError, ValueError):
    """A data set's file or argument that cannot be used; names it and says why."""


def find_file(folders: Sequence[str], name: str, content: str, source: str) -> str:
    """Find a file, plain or gzipped, in the first of several folders that has it.

    Args:
        folders: Folders to look in, in order.
        name: File name without ``.gz``. A plain file is preferred to a gzipped one beside it.
        content: What the file holds, for the error message.
        source: How to get the file, for the error message.

    Returns:
        Path of the file.

    Raises:
        FileNotFoundError: No folder has the file.
    """
    for folder in folders:
        for candidate in (os.path.join(folder, name), os.path.join(folder, f'{name}.gz')):
            if os.path.isfile(candidate):
                return candidate
    places = ' or '.join(os.path.abspath(folder) for folder in folders)
    raise FileNotFoundError(f'{name} (or {name}.gz), {content}, is not in {places}. {source}')


def read_idx(path: str) -> np.ndarray:
    """Read an IDX file of unsigned bytes.

    Args:
        path: File; gzipped where the name ends in ``.gz``. A plain file is memory-mapped, not read.

    Returns:
        uint8 array of the shape that the header gives, read-only.

    Raises:
        DataError: The file is not IDX of unsigned bytes, or its length is not what its header says.
    """
    data = _read_bytes(path)
    magic = _header(path, data, 0, 1, '>u4')[0]
    if magic >> 8 != IDX_UBYTE or magic & 0xFF == 0:
        raise DataError(f'{path}: expected an IDX file of unsigned bytes (magic 0x000008nn), found 0x{magic:08x}')
    ndim = magic & 0xFF
    shape = _header(path, data, 4, ndim, '>u4')
    return _array(path, data, 4 + 4 * ndim, np.dtype('u1'), shape)


def idx_header(shape: Sequence[int]) -> bytes:
    """Make the header of an IDX file of unsigned bytes; the array's bytes in C order follow it.

    Args:
        shape: Shape of the array.

    Returns:
        The header.
    """
    return np.array([IDX_UBYTE << 8 | len(shape), *shape], dtype='>u4').tobytes()


def read_norb(path: str) -> np.ndarray:
    """Read a NORB matrix of bytes or 32-bit integers.

    Args:
        path: File; gzipped where the name ends in ``.gz``. A plain file is memory-mapped, not read.

    Returns:
        uint8 or int32 array of the shape that the header gives, read-only.

    Raises:
        DataError: The file is no such matrix, or its length is not what its header says.
    """
    data = _read_bytes(path)
    magic, ndim = _header(path, data, 0, 2, '<u4')
    if magic not in NORB_DTYPES:
        known = ' or '.join(f'0x{value:08X}' for value in NORB_DTYPES)
        raise DataError(f'{path}: expected a NORB matrix of bytes or integers (magic {known}), found 0x{magic:08X}')
    stored = max(3, ndim)
    shape = _header(path, data, 8, stored, '<u4')[:ndim]
    return _array(path, data, 8 + 4 * stored, NORB_DTYPES[magic], shape)


def _read_bytes(path: str) -> np.ndarray:
    if not path.endswith('.gz'):
        # An empty file cannot be mapped.
        return np.memmap(path, np.uint8, mode='r') if os.path.getsize(path) else np.empty(0, np.uint8)
    try:
        with gzip.open(path) as file:
            return np.frombuffer(file.read(), np.uint8)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f'{path}: truncated or damaged gzip file ({error}); get it again') from error


def _header(path: str, data: np.ndarray, offset: int, count: int, dtype: str) -> list[int]:
    end = offset + 4 * count
    if len(data) < end:
        raise DataError(f'{path}: expected a header of at least {end} bytes, found {len(data)} bytes in all')
    return data[offset:end].view(dtype).tolist()


def _array(path: str, data: np.ndarray, offset: int, dtype: np.dtype, shape: list[int]) -> np.ndarray:
    expected = offset + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise DataError(
            f'{path}: expected {expected} bytes for the {dtype.name} array {shape} that its header announces, found '
            f'{len(data)}; the file is truncated or damaged, get it again'
        )
    return data[offset:].view(dtype).reshape(shape)
