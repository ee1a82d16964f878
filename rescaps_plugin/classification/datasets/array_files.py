"""Read the binary array formats IDX and NORB, and check files against their headers.

IDX (MNIST and its relatives): big-endian; two zero bytes, a type byte (``0x08``: unsigned bytes), the number of
dimensions in one byte, each dimension in four bytes, then the data. NORB: little-endian; a four-byte magic number that
encodes the type, the number of dimensions, each dimension in four bytes with at least three stored, then the data. Both
may be gzipped.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rescaps_plugin.cli.errors import UserError

IDX_UBYTE = 0x08
# NumPy's limit, which bounds the length of a header.
MAX_DIMENSIONS = 64
MAX_HEADER = 8 + 4 * MAX_DIMENSIONS
# Four times the largest known file, affNIST's test images. gzip can expand a file by a factor of a thousand.
MAX_UNPACKED = 2**31
NORB_DTYPES = {0x1E3D4C55: np.dtype('u1'), 0x1E3D4C54: np.dtype('<i4')}


class DataError(UserError, ValueError):
    """A file or argument of a data set that cannot be used; names it and the reason."""


def find_file(folders: Sequence[str], name: str, content: str, source: str) -> str:
    """Find a file, plain or gzipped, in the first of several folders that has it.

    Args:
        folders: Folders to search, in order.
        name: File name without ``.gz``. A plain file is preferred to a gzipped one in the same folder.
        content: Description of the contents, for the error message.
        source: Instructions to get the file, for the error message.

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
        path: The file; gzipped if the name ends in ``.gz``. A plain file is memory-mapped.

    Returns:
        uint8 array of the shape in the header, read-only.

    Raises:
        DataError: The file is not IDX of unsigned bytes, its length does not match its header, or its header exceeds
            the size limit of gzipped files.
    """
    return _read_array(path, _parse_idx)


def idx_header(shape: Sequence[int]) -> bytes:
    """Create the header of an IDX file of unsigned bytes, to be followed by the array in C order.

    Args:
        shape: Shape of the array.

    Returns:
        The header.
    """
    return np.array([IDX_UBYTE << 8 | len(shape), *shape], dtype='>u4').tobytes()


def read_norb(path: str) -> np.ndarray:
    """Read a NORB matrix of bytes or 32-bit integers.

    Args:
        path: The file; gzipped if the name ends in ``.gz``. A plain file is memory-mapped.

    Returns:
        uint8 or int32 array of the shape in the header, read-only.

    Raises:
        DataError: The file is not such a matrix, its length does not match its header, or its header exceeds the size
            limit of gzipped files.
    """
    return _read_array(path, _parse_norb)


@dataclass
class _Header:
    """Header of an array: offset of the data, type and shape."""

    offset: int
    dtype: np.dtype
    shape: list[int]

    @property
    def total(self) -> int:
        """Size of the file, in bytes."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def _parse_idx(path: str, data: np.ndarray) -> _Header:
    magic = _integers(path, data, 0, 1, '>u4')[0]
    if magic >> 8 != IDX_UBYTE or magic & 0xFF == 0:
        raise DataError(f'{path}: expected an IDX file of unsigned bytes (magic 0x000008nn), found 0x{magic:08x}')
    ndim = _check_ndim(path, magic & 0xFF)
    return _Header(4 + 4 * ndim, np.dtype('u1'), _integers(path, data, 4, ndim, '>u4'))


def _parse_norb(path: str, data: np.ndarray) -> _Header:
    magic, ndim = _integers(path, data, 0, 2, '<u4')
    if magic not in NORB_DTYPES:
        known = ' or '.join(f'0x{value:08X}' for value in NORB_DTYPES)
        raise DataError(f'{path}: expected a NORB matrix of bytes or integers (magic {known}), found 0x{magic:08X}')
    stored = max(3, _check_ndim(path, ndim))
    return _Header(8 + 4 * stored, NORB_DTYPES[magic], _integers(path, data, 8, stored, '<u4')[:ndim])


def _check_ndim(path: str, ndim: int) -> int:
    if ndim > MAX_DIMENSIONS:
        raise DataError(f'{path}: expected an array of at most {MAX_DIMENSIONS} dimensions, found {ndim}')
    return ndim


def _integers(path: str, data: np.ndarray, offset: int, count: int, dtype: str) -> list[int]:
    end = offset + 4 * count
    if len(data) < end:
        raise DataError(f'{path}: expected a header of at least {end} bytes, found {len(data)} bytes in all')
    return data[offset:end].view(dtype).tolist()


def _read_array(path: str, parse: Callable[[str, np.ndarray], _Header]) -> np.ndarray:
    if path.endswith('.gz'):
        header, data = _unpack(path, parse)
    else:
        # An empty file cannot be mapped.
        data = np.memmap(path, np.uint8, mode='r') if os.path.getsize(path) else np.empty(0, np.uint8)
        header = parse(path, data)
    if len(data) != header.total:
        found = f'more than {header.total}' if path.endswith('.gz') and len(data) > header.total else len(data)
        raise DataError(
            f'{path}: expected {header.total} bytes for the {header.dtype.name} array {header.shape} that its header '
            f'declares, found {found}; the file is truncated or damaged, get a new copy'
        )
    try:
        return data[header.offset :].view(header.dtype).reshape(header.shape)
    except ValueError as error:  # empty, but with dimensions beyond NumPy's limit
        raise DataError(f'{path}: its header declares an impossible array {header.shape} ({error})') from error


def _unpack(path: str, parse: Callable[[str, np.ndarray], _Header]) -> tuple[_Header, np.ndarray]:
    """Decompress the size declared by the header plus one byte, whatever the file decompresses to."""
    try:
        with gzip.open(path) as file:
            header = parse(path, np.frombuffer(file.read(MAX_HEADER), np.uint8))
            if header.total > MAX_UNPACKED:
                raise DataError(
                    f'{path}: its header declares {header.total} bytes; of a gzipped file up to {MAX_UNPACKED} are '
                    'read. Unpack a larger file, which is then memory-mapped'
                )
            file.seek(0)
            # The extra byte shows whether the file ends here, and makes gzip verify the checksum.
            data = file.read(header.total + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f'{path}: truncated or damaged gzip file ({error}); get a new copy') from error
    return header, np.frombuffer(data, np.uint8)
