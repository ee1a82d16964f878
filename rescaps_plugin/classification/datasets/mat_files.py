"""Read flat numeric structs from MATLAB 5 files, safe for untrusted files unlike :func:`scipy.io.loadmat`.

SciPy's reader recurses into cells and structs without a limit, so that nested ones cause a segmentation fault, and
decompresses without a limit. A file has a header of 128 bytes followed by elements: a tag with a type and a number of
bytes, and the data, padded to a multiple of eight bytes. Source: MathWorks, *MAT-File Format*.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from rescaps_plugin.classification.datasets.array_files import DataError

HEADER = 128
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}
# Array classes: struct, and the range of numeric classes, from double to uint64.
STRUCT = 2
NUMERIC = range(6, 16)
COMPLEX = 0x800
# Twice the decompressed size of affNIST's largest file.
MAX_UNPACKED = 2**30


def read_mat_struct(path: str, name: str, fields: tuple[str, ...]) -> list[np.ndarray]:
    """Read numeric arrays from the fields of a struct.

    Args:
        path: MATLAB file of version 5 to 7.2, of at most :data:`MAX_UNPACKED` bytes.
        name: Name of the struct, a 1x1 struct array.
        fields: Names of the fields to read.

    Returns:
        The arrays, read-only, in their stored type.

    Raises:
        DataError: The file is truncated, damaged or of another format, has no such struct or field, decompresses to
            more than the limit, or a field is not an array of real numbers.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read(MAX_UNPACKED + 1)
        if len(content) > MAX_UNPACKED:
            raise ValueError(f'the file is larger than {MAX_UNPACKED} bytes')
        order = {b'IM': '<', b'MI': '>'}.get(content[126:HEADER])
        if order is None:
            raise ValueError('it has no header of such a file')
        return _find_fields(content, order, name, fields)
    except (ValueError, IndexError, StopIteration, zlib.error) as error:
        raise DataError(
            f'{path}: expected a MATLAB file with a struct {name} of {" and ".join(fields)}, found a truncated, '
            f'damaged or different file ({error})'
        ) from error


def _find_fields(content: bytes, order: str, name: str, fields: tuple[str, ...]) -> list[np.ndarray]:
    for kind, data in _elements(memoryview(content)[HEADER:], order):
        if kind == COMPRESSED:
            ((kind, data),) = _elements(memoryview(_unpack(data)), order)
        if kind != MATRIX:
            continue
        parts = _elements(data, order)
        array_class, shape, found = _array_header(parts, order)
        if found != name:
            continue
        if array_class != STRUCT or np.prod(shape) != 1:
            raise ValueError(f'{name} is an array {shape} of class {array_class}')
        (length,), names = _numbers(next(parts), order), bytes(next(parts)[1])
        if not 1 <= length <= 64:
            raise ValueError(f'names of fields have {length} bytes')
        names = [names[start : start + length].split(b'\0')[0] for start in range(0, len(names), length)]
        values = dict(zip(names, (data for _, data in parts), strict=True))
        lacking = [field for field in fields if field.encode() not in values]
        if lacking:
            raise ValueError(f'{name} has no field {lacking[0]}')
        return [_array(values[field.encode()], order, field) for field in fields]
    raise ValueError(f'it has no variable {name}')


def _unpack(data: memoryview) -> bytes:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(data, MAX_UNPACKED)
    if not unpacker.eof:
        raise ValueError(f'a packed variable is truncated or larger than {MAX_UNPACKED} bytes')
    return content


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Iterate over the type and content of each element."""
    place = 0
    while place < len(data):
        kind, size = np.frombuffer(data[place : place + 8], f'{order}u4').tolist()
        start, end = place + 8, place + 8 + size
        if kind >> 16:  # up to four bytes, in the tag itself
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = place + 4, place + 4 + min(size, 4)
            place += 8
        else:
            # Compressed elements are not padded.
            place = end if kind == COMPRESSED else end + -size % 8
        if end > len(data):
            raise ValueError(f'an element of {size} bytes goes beyond the end')
        yield kind, data[start:end]


def _numbers(element: tuple[int, memoryview], order: str) -> list:
    kind, data = element
    if kind not in NUMBERS:
        raise ValueError(f'expected numbers, found an element of type {kind}')
    return np.frombuffer(data, order + NUMBERS[kind]).tolist()


def _array_header(parts: Iterator[tuple[int, memoryview]], order: str) -> tuple[int, list[int], str]:
    """Read class, shape and name of an array, its first elements."""
    flags, shape, name = _numbers(next(parts), order)[0], _numbers(next(parts), order), bytes(next(parts)[1])
    if flags & COMPLEX:
        raise ValueError('an array is of complex numbers')
    return flags & 0xFF, shape, name.decode()


def _array(data: memoryview, order: str, field: str) -> np.ndarray:
    parts = _elements(data, order)
    array_class, shape, _ = _array_header(parts, order)
    if array_class not in NUMERIC:
        raise ValueError(f'{field} is not an array of numbers, but of class {array_class}')
    kind, values = next(parts)
    if kind not in NUMBERS:
        raise ValueError(f'{field} is stored as type {kind}')
    return np.frombuffer(values, order + NUMBERS[kind]).reshape(shape, order='F')
