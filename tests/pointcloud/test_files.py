"""Clouds and meshes from files: contents, and errors of broken files."""

import numpy as np
import pytest

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.pointcloud.files import CloudError, read_points

trimesh = pytest.importorskip('trimesh')

TRIANGLE = '3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n'


def read(path, num_points=None, seed=0):
    return read_points(path, num_points, np.random.RandomState(seed))


@pytest.mark.parametrize('header', ['OFF\n', 'OFF', 'OFF '])
def test_meshes_are_sampled_on_their_faces(tmp_path, header):
    path = tmp_path / 'a.off'
    path.write_text(header + TRIANGLE)
    points = read(path, 500)
    assert points.shape == (500, 3) and points.dtype == np.float64
    x, y, z = points.T
    assert (z == 0).all() and (x >= 0).all() and (y >= 0).all() and (x + y <= 1 + 1e-6).all()
    assert points.mean(axis=0) == pytest.approx([1 / 3, 1 / 3, 0], abs=0.05)
    np.testing.assert_array_equal(read(path, 500), points)
    assert not np.array_equal(read(path, 500, seed=1), points)


def test_large_faces_get_more_points(tmp_path):
    path = tmp_path / 'a.off'
    path.write_text('OFF\n6 3 0\n0 0 0\n3 0 0\n0 3 0\n5 0 0\n6 0 0\n5 1 0\n3 0 1 2\n3 3 4 5\n3 0 0 1\n')
    right = (read(path, 4000)[:, 0] > 4).mean()
    assert right == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize('suffix', ['.obj', '.ply', '.stl'])
def test_mesh_formats(tmp_path, suffix):
    path = tmp_path / f'box{suffix}'
    trimesh.creation.box((2, 2, 2)).export(path)
    points = read(path, 300)
    np.testing.assert_allclose(np.abs(points).max(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize('suffix', ['.npy', '.obj', '.ply', '.xyz'])
def test_clouds_are_read_unchanged(tmp_path, suffix):
    cloud = np.random.RandomState(0).rand(7, 3)
    path = tmp_path / f'cloud{suffix}'
    if suffix == '.npy':
        np.save(path, cloud)
    elif suffix == '.xyz':
        np.savetxt(path, np.hstack([cloud, np.ones((7, 3))]))
    elif suffix == '.obj':
        path.write_text(''.join(f'v {x} {y} {z}\n' for x, y, z in cloud))
    else:
        trimesh.PointCloud(cloud).export(path)
    np.testing.assert_allclose(read(path), cloud, atol=1e-6)
    some = read(path, 4)
    assert some.shape == (4, 3)
    assert {tuple(point) for point in some} < {tuple(point) for point in read(path)}


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('a.off', 'OFF\n0 0 0\n', 'no vertices'),
        ('a.obj', '', 'no vertices'),
        ('a.off', 'OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n', 'faces: the mesh has none, only 3 vertices'),
        ('a.off', 'OFF\n3 1 0\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n', 'faces: none of the 1 has an area'),
        (
            'a.off',
            'OFF\n3 1 0\n0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n',
            r'vertices: 1 .* NaN.*first at \[0, 2\]',
        ),
        ('a.off', 'OFF\n5 1 0\n0 0 0\n1 0 0\n', 'not a valid .off file'),
        ('a.off', 'OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n', 'faces: vertex 9 of 3 vertices, counted from 0'),
        ('a.off', 'hello', 'not a valid .off file'),
        ('a.ply', 'hello', 'not a valid .ply file'),
        ('a.npy', 'hello', 'not a valid .npy file'),
        ('a.xyz', '0 0 0\n1 1\n', 'not a valid .xyz file'),
        ('a.xyz', '0 0 0\n1 1 1\n', r'vertices: 4 points requested \(num_points\), found 2'),
        ('a.dae', '0 0 0\n', 'must be one of .asc'),
        ('a.txt', 'some notes\n', 'not a valid .txt file: expected numbers, or names of columns with x, y and z'),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(CloudError, match=f'{name}: .*{message}'):
        read(path, 4)


def test_arrays_of_other_shapes_and_missing_files(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((5, 2)))
    with pytest.raises(CloudError, match=r'a.npy: .*points must be \[n, 3\], found \[5, 2\]'):
        read(tmp_path / 'a.npy')
    with pytest.raises(FileNotFoundError, match=r'b\.off does not exist'):
        read(tmp_path / 'b.off', 4)
    (tmp_path / 'c.off').write_text('OFF\n' + TRIANGLE)
    with pytest.raises(CloudError, match='c.off: a mesh has no points of its own'):
        read(tmp_path / 'c.off')


def test_missing_trimesh_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'trimesh', None)
    (tmp_path / 'a.off').write_text('OFF\n' + TRIANGLE)
    with pytest.raises(UserError, match=r"trimesh is not installed: pip install '\.\[pointcloud\]'"):
        read(tmp_path / 'a.off', 4)
