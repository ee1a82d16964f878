"""Fuzz tests of all binary parsers: damaged bytes raise an error that names the file, or return a valid result.

| parser | valid result |
| --- | --- |
| IDX | unsigned bytes, as many as the header and the file have |
| NORB | unsigned bytes or 32-bit integers, as many as the header and the file have |
| affNIST's .mat | images 40x40, as many as labels |
| OFF, PLY, OBJ, STL, GLB, NPY, NPZ, PCD, CSV | the requested number of finite points |
| HDF5 | clouds of finite points, as many as labels, all with known classes |
"""

import io
import math
from functools import partial

import h5py
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from rescaps_plugin.classification.datasets.affnist import read_affnist_mat
from rescaps_plugin.classification.datasets.array_files import idx_header, read_idx, read_norb
from rescaps_plugin.pointcloud.datasets import ModelNet40
from rescaps_plugin.pointcloud.files import CloudError, read_points

EXAMPLES = settings(max_examples=60)
CLASSES = 3
POINTS = 16


@st.composite
def damaged(draw, whole):
    """Overwrite some bytes of a file, truncate or extend it, repeat a part of it, or draw arbitrary bytes."""
    kind = draw(st.sampled_from(['overwrite', 'cut', 'lengthen', 'repeat', 'foreign']))
    if kind == 'foreign':
        return draw(st.binary(max_size=200))
    if kind == 'lengthen':
        return whole + draw(st.binary(min_size=1, max_size=64))
    place = draw(st.integers(0, len(whole) - 1))
    if kind == 'cut':
        return whole[:place]
    if kind == 'repeat':
        return whole[:place] + whole[draw(st.integers(0, place)) :]
    content = bytearray(whole)
    # Damage in headers has the largest effect.
    header = st.integers(0, min(63, len(whole) - 1))
    for position in draw(st.lists(st.one_of(header, st.just(place)), min_size=1)):
        content[position] = draw(st.integers(0, 255))
    return bytes(content)


def idx_file():
    return idx_header((2, 5, 3)) + bytes(range(30))


def norb_file():
    return np.array([0x1E3D4C54, 2, 4, 3, 1], '<u4').tobytes() + np.arange(12, dtype='<i4').tobytes()


def affnist_file():
    buffer = io.BytesIO()
    record = dict(image=np.arange(1600 * 2, dtype=np.uint8).reshape(1600, 2), label_int=np.array([[3, 7]], np.uint8))
    savemat(buffer, {'affNISTdata': record})
    return buffer.getvalue()


def mesh_file(suffix):
    content = trimesh.creation.box().export(file_type=suffix)
    return content.encode() if isinstance(content, str) else content


CLOUD = np.linspace(-1, 1, 3 * 24, dtype=np.float32).reshape(24, 3)


def npy_file():
    buffer = io.BytesIO()
    np.save(buffer, CLOUD)
    return buffer.getvalue()


def npz_file():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, points=CLOUD)
    return buffer.getvalue()


def pcd_file():
    header = 'FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 24\nHEIGHT 1\nPOINTS 24\nDATA binary\n'
    return header.encode() + CLOUD.tobytes()


def csv_file():
    return ('x,y,z\n' + ''.join(f'{x},{y},{z}\n' for x, y, z in CLOUD)).encode()


def text_ply_file():
    return trimesh.creation.box().export(file_type='ply', encoding='ascii')


SHAPES = {
    **{suffix: partial(mesh_file, suffix) for suffix in ('off', 'ply', 'obj', 'stl', 'glb')},
    'text.ply': text_ply_file,
    'text.stl': partial(mesh_file, 'stl_ascii'),
    **{'npy': npy_file, 'npz': npz_file, 'pcd': pcd_file, 'csv': csv_file},
}


def hdf5_file():
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        file['data'] = np.linspace(-1, 1, 4 * 20 * 3, dtype=np.float32).reshape(4, 20, 3)
        file['label'] = np.array([[0], [1], [2], [1]], np.uint8)
    return buffer.getvalue()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('fuzz')


def check_array(read, dtypes, path, content):
    path.write_bytes(content)
    try:
        array = read(str(path))
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert array.dtype in dtypes
    header = len(content) - array.nbytes
    assert header in (8 + 4 * max(3, array.ndim), 4 + 4 * array.ndim)
    assert array.nbytes == math.prod(array.shape) * array.itemsize


@EXAMPLES
@given(content=damaged(idx_file()))
def test_idx(folder, content):
    check_array(read_idx, ('u1',), folder / 'images-idx3-ubyte', content)


@EXAMPLES
@given(content=damaged(norb_file()))
def test_norb(folder, content):
    check_array(read_norb, ('u1', '<i4'), folder / 'smallnorb-dat.mat', content)


@EXAMPLES
@given(content=damaged(affnist_file()))
def test_affnist(folder, content):
    path = folder / '1.mat'
    path.write_bytes(content)
    try:
        images, labels = read_affnist_mat(str(path))
    except ValueError as error:
        assert str(path) in str(error)
        return
    assert images.shape == (len(labels), 40, 40)
    assert images.dtype == np.uint8


@pytest.mark.parametrize('suffix', SHAPES)
@EXAMPLES
@given(data=st.data())
def test_clouds_and_meshes(folder, suffix, data):
    path = folder / f'shape.{suffix}'
    path.write_bytes(data.draw(damaged(SHAPES[suffix]())))
    try:
        points = read_points(path, POINTS, np.random.RandomState(0))
    except CloudError as error:
        assert str(path) in str(error)
        return
    assert points.shape == (POINTS, 3)
    assert points.dtype == np.float64
    assert np.isfinite(points).all()


@EXAMPLES
@given(content=damaged(hdf5_file()))
def test_hdf5(folder, content):
    (folder / 'shape_names.txt').write_text('a\nb\nc\n')
    path = folder / 'ply_data_train0.h5'
    path.write_bytes(content)
    try:
        dataset = ModelNet40(str(folder), 'train', num_points=POINTS, pipeline=[])
    except CloudError as error:
        assert str(path) in str(error) or str(folder) in str(error)
        return
    assert len(dataset) == len(dataset.clouds)
    assert dataset.clouds.shape[1:] == (20, 3)
    assert all(0 <= dataset.get_data_info(index)['gt_label'] < CLASSES for index in range(len(dataset)))


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('idx3-ubyte', idx_header((2**31, 2**31, 2**31)) + b'\0', 'truncated or damaged'),
        ('dat.mat', np.array([0x1E3D4C55, 3, 2**31, 2**31, 2**31], '<u4').tobytes() + b'\0', 'truncated or damaged'),
        ('a.off', b'OFF 99999999999 1 0\n0 0 0\n', 'not a valid .off file'),
        ('b.off', b'OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n', 'face'),
        ('c.off', b'OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n', 'face'),
        ('d.ply', b'ply\nformat binary_little_endian 1.0\nelement vertex 1152921504606846976\nproperty float x\n'
         b'property float y\nproperty float z\nend_header\n', 'not a valid .ply file'),
    ],
)  # fmt: skip
def test_headers_that_claim_too_much(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    read = {'idx3-ubyte': read_idx, 'dat.mat': read_norb}.get(
        name, lambda p: read_points(p, 8, np.random.RandomState())
    )
    with pytest.raises(ValueError, match=message) as error:
        read(str(path))
    assert str(path) in str(error.value)
