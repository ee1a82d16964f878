"""Readers of IDX and NORB files, on bytes written from the format descriptions."""

import gzip
import re
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rescaps_plugin.classification.datasets import array_files
from rescaps_plugin.classification.datasets.array_files import DataError, find_file, idx_header, read_idx, read_norb

MAGICS = {'uint8': 0x1E3D4C55, 'int32': 0x1E3D4C54}


def idx_bytes(array):
    return struct.pack(f'>BBBB{array.ndim}I', 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def norb_bytes(array):
    dims = [*array.shape, 1, 1, 1][: max(3, array.ndim)]
    return struct.pack(f'<II{len(dims)}I', MAGICS[array.dtype.name], array.ndim, *dims) + array.tobytes()


shapes = hnp.array_shapes(min_dims=1, max_dims=5, max_side=4)
idx_arrays = hnp.arrays(np.uint8, shapes)
norb_arrays = st.sampled_from([np.uint8, np.dtype('<i4')]).flatmap(lambda dtype: hnp.arrays(dtype, shapes))
files = st.one_of(
    idx_arrays.map(lambda array: (read_idx, idx_bytes(array))),
    norb_arrays.map(lambda array: (read_norb, norb_bytes(array))),
)


@pytest.fixture(scope='module')
def path_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp('array_files')

    def write(data, zipped):
        path = folder / ('array.gz' if zipped else 'array')
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        return str(path)

    return write


@given(idx_arrays, st.booleans())
def test_idx_round_trip(path_of, array, zipped):
    data = idx_bytes(array)
    found = read_idx(path_of(gzip.compress(data) if zipped else data, zipped))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


@given(norb_arrays, st.booleans())
def test_norb_round_trip(path_of, array, zipped):
    data = norb_bytes(array)
    found = read_norb(path_of(gzip.compress(data) if zipped else data, zipped))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@given(shapes)
def test_idx_header(shape):
    assert idx_header(shape) == struct.pack(f'>I{len(shape)}I', 0x800 + len(shape), *shape)


@given(files, st.booleans(), st.data())
def test_truncated_anywhere(path_of, file, zipped, data):
    read, content = file
    content = gzip.compress(content, mtime=0) if zipped else content
    path = path_of(content[: data.draw(st.integers(0, len(content) - 1))], zipped)
    with pytest.raises(ValueError, match=re.escape(path)):
        read(path)


@given(files, st.booleans(), st.binary(min_size=1, max_size=9))
def test_longer_than_the_header_says(path_of, file, zipped, extra):
    read, content = file
    content += extra
    path = path_of(gzip.compress(content) if zipped else content, zipped)
    with pytest.raises(ValueError, match='found'):
        read(path)


def test_length_in_the_message(path_of):
    path = path_of(idx_bytes(np.zeros((10, 3, 2), np.uint8))[:-7], False)
    with pytest.raises(ValueError, match=r'expected 76 bytes for the uint8 array \[10, 3, 2\].* found 69'):
        read_idx(path)


@pytest.mark.parametrize(
    'read, data, found',
    [
        (read_idx, struct.pack('>BBBBI', 0, 0, 0x0D, 1, 0), '0x00000d01'),  # floats
        (read_idx, struct.pack('>BBBBI', 0, 0, 0x08, 0, 0), '0x00000800'),  # no dimension
        (read_idx, norb_bytes(np.zeros(3, np.uint8)), '0x554c3d1e'),
        (read_norb, idx_bytes(np.zeros((3, 2), np.uint8)), '0x02080000'),
        (read_norb, struct.pack('<II3I', 0x1E3D4C51, 1, 1, 1, 1) + b'0000', '0x1E3D4C51'),  # floats
    ],
)
def test_another_format(path_of, read, data, found):
    with pytest.raises(ValueError, match=f'expected an? (IDX|NORB).*found {found}'):
        read(path_of(data, False))


def test_damaged_gzip(path_of):
    data = bytearray(gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8))))
    data[-6] ^= 1  # a byte of the checksum
    with pytest.raises(ValueError, match='damaged gzip'):
        read_idx(path_of(bytes(data), True))
    with pytest.raises(ValueError, match='damaged gzip'):
        read_idx(path_of(idx_bytes(np.arange(200, dtype=np.uint8)), True))


@pytest.mark.parametrize('read, make', [(read_idx, idx_bytes), (read_norb, norb_bytes)])
def test_gzip_bomb_is_not_decompressed(path_of, read, make):
    """Data after the array that the header declares are not decompressed."""
    resource = pytest.importorskip('resource')
    packer, zeros = zlib.compressobj(1, zlib.DEFLATED, 31), bytes(2**24)
    content = packer.compress(make(np.zeros((10, 3), np.uint8)))
    content += b''.join(packer.compress(zeros) for _ in range(16)) + packer.flush()
    path = path_of(content, True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r'for the uint8 array \[10, 3\].* found more than'):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes; there are 256 MB


def test_header_beyond_the_size_limit(path_of, monkeypatch):
    data = np.zeros((100, 50), np.uint8)
    monkeypatch.setattr(array_files, 'MAX_UNPACKED', 5000)
    with pytest.raises(DataError, match=r'its header declares 5012 bytes; of a gzipped file up to 5000'):
        read_idx(path_of(gzip.compress(idx_bytes(data)), True))
    assert read_idx(path_of(idx_bytes(data), False)).shape == data.shape


@pytest.mark.parametrize('zipped', [False, True])
@pytest.mark.parametrize(
    'read, data, found',
    [
        (read_idx, struct.pack('>BBBB255I', 0, 0, 8, 255, *[1] * 255) + b'1', '255'),
        (read_norb, struct.pack('<II', 0x1E3D4C55, 2**32 - 1) + bytes(500), str(2**32 - 1)),
    ],
)
def test_too_many_dimensions(path_of, read, data, found, zipped):
    with pytest.raises(DataError, match=f'at most 64 dimensions, found {found}'):
        read(path_of(gzip.compress(data) if zipped else data, zipped))


def test_empty_array_with_impossible_dimensions(path_of):
    data = struct.pack('>BBBB5I', 0, 0, 8, 5, 0, *[2**32 - 1] * 4)
    with pytest.raises(DataError, match='declares an impossible array'):
        read_idx(path_of(data, False))


def test_find_file(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    second.mkdir()
    (second / 'digits.gz').touch()
    assert find_file((str(first), str(second)), 'digits', 'ten digits', 'Write them.') == str(second / 'digits.gz')
    (second / 'digits').touch()
    assert find_file((str(first), str(second)), 'digits', 'ten digits', 'Write them.') == str(second / 'digits')
    with pytest.raises(FileNotFoundError) as error:
        find_file((str(first), str(second)), 'letters', 'all letters', 'Write them.')
    for part in ('letters (or letters.gz)', 'all letters', str(first), str(second), 'Write them.'):
        assert part in str(error.value)
