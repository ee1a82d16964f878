"""Readers of mesh and cloud formats: trimesh's writers, format variants, and malicious files."""

import io
import json
import os
import re
import struct
import zipfile

import numpy as np
import pytest

from rescaps_plugin.pointcloud import formats
from rescaps_plugin.pointcloud.files import SUFFIXES, CloudError, is_cloud, read_points
from rescaps_plugin.pointcloud.formats import READERS

trimesh = pytest.importorskip('trimesh')

CORNERS = '0 0 0\n1 0 0\n0 1 0\n0 0 1\n'
POINTS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = '3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n'
TETRAHEDRON = f'4 4 6\n{CORNERS}{FACES}'
TRIANGLES = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]
PLY = 'ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\n'
PLY_FACES = 'element face {}\nproperty list uchar int vertex_indices\nend_header\n'


def load(suffix, content):
    return READERS[suffix](content.encode() if isinstance(content, str) else content)


def sphere():
    mesh = trimesh.creation.icosphere(1)
    mesh.apply_transform(trimesh.transformations.euler_matrix(0.3, 0.4, 0.5))
    return mesh


def export(geometry, kind, **options):
    content = geometry.export(file_type=kind, **options)
    return content.encode() if isinstance(content, str) else content


WRITTEN = {
    'off': ('.off', export(sphere(), 'off')),
    'ply': ('.ply', export(sphere(), 'ply')),
    'ply with normals': ('.ply', export(sphere(), 'ply', vertex_normal=True)),
    'ply, text': ('.ply', export(sphere(), 'ply', encoding='ascii')),
    'obj': ('.obj', export(sphere(), 'obj')),
    'stl': ('.stl', export(sphere(), 'stl')),
    'stl, text': ('.stl', export(sphere(), 'stl_ascii')),
    'glb': ('.glb', export(sphere(), 'glb')),
}


def in_order(triangles):
    return np.array(sorted(triangles.reshape(-1, 9).round(5).tolist()))


@pytest.mark.parametrize('case', WRITTEN)
def test_meshes_that_trimesh_writes(case):
    vertices, faces = load(*WRITTEN[case])
    assert vertices.dtype == np.float64 and faces.shape == (80, 3)
    np.testing.assert_allclose(in_order(vertices[faces]), in_order(sphere().triangles), atol=2e-5)


# OBJ has no counts.
@pytest.mark.parametrize('case', [case for case in WRITTEN if case != 'obj'])
def test_meshes_that_end_early_are_refused(case, tmp_path):
    suffix, content = WRITTEN[case]
    content = content.rstrip() if suffix in ('.off', '.ply') else content
    path = tmp_path / f'a{suffix}'
    # Only truncation within the last number cannot be detected.
    for end in np.random.RandomState(0).choice(len(content) - 4, 60, replace=False):
        path.write_bytes(content[:end])
        with pytest.raises(CloudError, match=re.escape(str(path))):
            read_points(path, 8, np.random.RandomState(0))


@pytest.mark.parametrize(
    'content',
    [
        'OFF4 4 6\n' + CORNERS + FACES,
        'off\n' + TETRAHEDRON,
        'OFF 4 4\n' + CORNERS + FACES,
        TETRAHEDRON,
        '# made by hand\n\nOFF # an object\n# counts\n4 4 6 # v f e\n\n' + CORNERS.replace('1\n', '1 # up\n\n') + FACES,
        'OFF\r\n' + TETRAHEDRON.replace('\n', '\r\n'),
        'OFF\r' + TETRAHEDRON.replace('\n', '\r').rstrip(),
        'OFF\n' + TETRAHEDRON.replace('3 0 1 2', '3 0 1 2 255 0 0').replace('3 0 1 3', '3 0 1 3 0.5 0.5 0.5 1'),
        'COFF\n4 4 6\n' + CORNERS.replace('\n', ' 255 0 0 255\n') + FACES,
        'NOFF\n4 4 6\n' + CORNERS.replace('\n', ' 0 0 1\n') + FACES,
        'STCNOFF\n4 4 6\n' + CORNERS.replace('\n', ' 0 0 1 1 1 1 1 0.5 0.5\n') + FACES,
        '\ufeffOFF\n' + TETRAHEDRON.replace(' ', '\t'),
    ],
)
def test_off_variants(content):
    vertices, faces = load('.off', content)
    np.testing.assert_array_equal(vertices, POINTS)
    assert faces.tolist() == TRIANGLES


def test_polygons_become_fans():
    square = '0 0 0\n1 0 0\n1 1 0\n0 1 0\n'
    expected = [[0, 1, 2], [0, 2, 3], [1, 2, 3]]
    assert load('.off', f'OFF\n4 3 0\n{square}4 0 1 2 3\n2 0 1\n3 1 2 3\n')[1].tolist() == expected
    assert (
        load('.obj', 'v ' + square.replace('\n', '\nv ')[:-2] + 'f 1/1 2/1 3/1 4/1\nf 2 3 4\n')[1].tolist() == expected
    )
    for kind, body in (
        ('ascii', f'{square}4 0 1 2 3\n3 1 2 3\n'.encode()),
        ('binary_big_endian', np.array(square.split(), '>f4').tobytes()
         + b'\4' + np.array([0, 1, 2, 3], '>i4').tobytes() + b'\3' + np.array([1, 2, 3], '>i4').tobytes()),
    ):  # fmt: skip
        header = (PLY.format(4) + PLY_FACES.format(2)).replace('ascii', kind)
        assert load('.ply', header.encode() + body)[1].tolist() == expected


def test_ply_with_other_elements_and_types():
    """Lists of different lengths, elements before and after, CRLF, comments."""
    header = (
        'ply\nformat binary_little_endian 1.0\ncomment a camera first\nelement camera 1\nproperty double focus\n'
        'element vertex 4\nproperty double x\nproperty double y\nproperty double z\nproperty uchar red\n'
        'element face 2\nproperty uchar flags\nproperty list int ushort vertex_index\nproperty list uchar float uv\n'
        'element edge 1\nproperty int a\nproperty int b\nend_header\n'
    )
    vertices = np.zeros(4, [('p', '<f8', 3), ('red', 'u1')])
    vertices['p'] = POINTS + 1e6 + 0.001
    faces = b'\7' + struct.pack('<i3H', 3, 0, 1, 2) + b'\0' + b'\7' + struct.pack('<i4H', 4, 0, 1, 2, 3) + b'\1\0\0\0\0'
    content = header.encode() + struct.pack('<d', 1) + vertices.tobytes() + faces + struct.pack('<ii', 0, 1)
    found, triangles = load('.ply', content)
    np.testing.assert_array_equal(found, vertices['p'])
    assert triangles.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    with pytest.raises(ValueError, match='ends early, in the element edge'):
        load('.ply', content[:-1])
    text = (PLY.format(4) + PLY_FACES.format(4) + CORNERS + FACES).replace('\n', '\r\n')
    assert load('.ply', text)[1].tolist() == TRIANGLES


def test_obj_indices_count_back_from_the_face():
    """As in files of several objects; also normals, groups, and a continued line."""
    first = 'o a\n' + ''.join(f'v {line}\n' for line in CORNERS.splitlines()) + 'vn 0 0 1\nf -4//1 -3//1 \\\n-2//1\n'
    vertices, faces = load('.obj', f'mtllib none.mtl\n{first}usemtl red\n{first}')
    assert len(vertices) == 8 and faces.tolist() == [[0, 1, 2], [4, 5, 6]]


def pcd(data, body, points=3, **changes):
    fields = dict(FIELDS='intensity x y z', SIZE='1 4 4 8', TYPE='U F F F', COUNT='1 1 1 1', POINTS=points, DATA=data)
    lines = [f'{key} {value}' for key, value in {**fields, **changes}.items()]
    return '\n'.join(['# .PCD v0.7', 'VERSION 0.7', *lines, '']).encode() + body


def test_pcd():
    rows = np.zeros(3, [('i', 'u1'), ('x', '<f4'), ('y', '<f4'), ('z', '<f8')])
    rows['x'], rows['y'], rows['z'] = [1, np.nan, 4], [2, np.nan, 5], [3, np.nan, 6]
    expected = [[1, 2, 3], [4, 5, 6]]
    assert load('.pcd', pcd('binary', rows.tobytes()))[0].tolist() == expected
    assert load('.pcd', pcd('ascii', b'9 1 2 3\n9 nan nan nan\n9 4 5 6\n'))[0].tolist() == expected
    with pytest.raises(ValueError, match='binary_compressed.*convert it'):
        load('.pcd', pcd('binary_compressed', b'12345678'))


def glb(tree, data=b''):
    text = json.dumps(tree).encode()
    text += b' ' * (-len(text) % 4)
    parts = struct.pack('<I4s', len(text), b'JSON') + text + struct.pack('<I4s', len(data), b'BIN\0') + data
    return struct.pack('<4sII', b'glTF', 2, 12 + len(parts)) + parts


def glb_tree(count=4, **changes):
    return {
        'buffers': [{'byteLength': 48}],
        'bufferViews': [{'buffer': 0, 'byteLength': 48}],
        'accessors': [{'bufferView': 0, 'componentType': 5126, 'type': 'VEC3', 'count': count}],
        'meshes': [{'primitives': [{'attributes': {'POSITION': 0}, 'mode': 0}]}],
        'nodes': [{'mesh': 0}],
        'scenes': [{'nodes': [0]}],
        **changes,
    }


def test_glb_node_transforms_are_applied():
    scene = trimesh.Scene()
    place = trimesh.transformations.compose_matrix(scale=[1, 2, 3], angles=[0.1, 0.2, 0.3], translate=[5, 6, 7])
    scene.add_geometry(sphere(), transform=place)
    scene.add_geometry(trimesh.creation.box(), transform=trimesh.transformations.translation_matrix([1, 0, 0]))
    vertices, faces = load('.glb', export(scene, 'glb'))
    np.testing.assert_allclose(in_order(vertices[faces]), in_order(scene.to_mesh().triangles), atol=2e-5)

    data = POINTS.astype('<f4').tobytes()
    turned = {'mesh': 0, 'rotation': [0, 0, 2**-0.5, 2**-0.5], 'scale': [2, 2, 2], 'translation': [1, 0, 0]}
    points, faces = load('.glb', glb(glb_tree(nodes=[{'children': [1]}, turned]), data))
    assert faces is None
    np.testing.assert_allclose(points, [[1, 0, 0], [1, 2, 0], [-1, 0, 0], [1, 0, 2]], atol=1e-7)


@pytest.mark.parametrize('mode', [4, 5, 6])
def test_glb_strips_and_fans(mode):
    tree = glb_tree(meshes=[{'primitives': [{'attributes': {'POSITION': 0}, 'mode': mode, 'indices': 1}]}])
    tree['bufferViews'].append({'buffer': 0, 'byteOffset': 48, 'byteLength': 6})
    tree['accessors'].append({'bufferView': 1, 'componentType': 5121, 'type': 'SCALAR', 'count': 3 if mode == 4 else 4})
    data = POINTS.astype('<f4').tobytes() + bytes([0, 1, 2, 3])
    vertices, faces = load('.glb', glb(tree, data))
    expected = {4: [[0, 1, 2]], 5: [[0, 1, 2], [1, 2, 3]], 6: [[0, 1, 2], [0, 2, 3]]}[mode]
    np.testing.assert_array_equal(vertices[faces], POINTS[expected])


XYZ = [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
TABLES = {
    'modelnet40 with normals': '0.1,0.2,0.3,0,0,1\n0.4,0.5,0.6,0,0,1\n',
    'commas and spaces': '0.1, 0.2, 0.3\n0.4, 0.5, 0.6\n',
    'semicolons': '0.1;0.2;0.3\r\n0.4;0.5;0.6\r\n',
    'decimal commas': '0,1;0,2;0,3\n0,4;0,5;0,6\n',
    'tabs': '0.1\t0.2\t0.3\n0.4\t0.5\t0.6',
    'a comma at the end': '0.1,0.2,0.3,\n0.4,0.5,0.6,\n',
    'header': 'x,y,z\n0.1,0.2,0.3\n0.4,0.5,0.6\n',
    'header of quoted names in another order': '"label","Z","Y","X"\n7,0.3,0.2,0.1\n7,0.6,0.5,0.4\n',
    'words beside': 'name;x;y;z\nleft;0.1;0.2;0.3\nright;0.4;0.5;0.6\n',
    'cloudcompare': '//X Y Z Intensity\n2\n0.1 0.2 0.3 9\n0.4 0.5 0.6 9\n',
    'comments': '# two points\n\n0.1 0.2 0.3\n# the second\n0.4 0.5 0.6\n',
    'words in a comment': '# Format: x y z intensity\n0.1 0.2 0.3 9\n0.4 0.5 0.6 9\n',
    'names in the second comment': '# a, b\n# i,x,y,z\n7,0.1,0.2,0.3\n8,0.4,0.5,0.6\n',
    'count': '2\n0.1 0.2 0.3 -900 10 20 30\n0.4 0.5 0.6 -900 10 20 30\n',
    'byte order mark': '\ufeff0.1 0.2 0.3\n0.4 0.5 0.6\n',
    'exponents and signs': '+1e-1 2E-1 .3\n4.0e-01 .5 6e-1\n',
}


@pytest.mark.parametrize('case', TABLES)
def test_tables(case, tmp_path):
    points, faces = load('.txt', TABLES[case])
    assert faces is None
    np.testing.assert_allclose(points, XYZ, rtol=1e-12)
    (tmp_path / 'a.txt').write_text(TABLES[case])
    assert is_cloud(tmp_path / 'a.txt')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('just some notes\nabout 3 clouds\n', 'numbers, or names of columns with x, y and z'),
        ('3\nwater\nO 0 0 0\nH 1 0 0\nH 0 1 0\n', 'declares 3 points, it has 4'),
        ('3\n0 0 0\n1 1 1\n', 'declares 3 points, it has 2'),
        ('0 0 0\n1 1\n', r'as many in each, found \[2, 3\]'),
        ('0 0\n1 1\n', r'three or more columns.*found \[2\]'),
        ('0 0 0\n1 1 one\n', "could not convert string 'one'"),
        ('0 0 0\n1 1 1j\n', 'could not convert string'),
        ('0,1 0,2 0,3\n0,4 0,5 0,6\n', 'could not convert string'),
        ('0 0 0\n1 1 1\0\n', 'bytes of zero'),
    ],
)
def test_invalid_tables(content, message):
    with pytest.raises(ValueError, match=message):
        load('.csv', content)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_arrays():
    cloud = np.arange(12).reshape(4, 3)
    for array in (cloud, np.hstack([cloud, cloud]), cloud.astype('>f2'), cloud.astype(np.float64)):
        np.testing.assert_array_equal(load('.npy', npy(array))[0], cloud)
        np.testing.assert_array_equal(load('.npz', npz(anything=array))[0], cloud)
        np.testing.assert_array_equal(load('.npz', npz(label=np.array(3), pos=array))[0], cloud)
    with pytest.raises(ValueError, match=r"one array, or one named points, .*found \['a', 'b'\]"):
        load('.npz', npz(a=cloud, b=cloud))


@pytest.mark.parametrize(
    ('array', 'message'),
    [
        (np.full((4, 3), 1j), 'real numbers, found complex128'),
        (np.full((4, 3), '1'), 'real numbers, found <U1'),
        (np.full((4, 3), True), 'real numbers, found bool'),
        (np.full((4, 3), 1, object), 'real numbers, found object'),
        (np.zeros((3, 1000)), r'found \[3, 1000\]; of up to 12 columns three are read'),
        (np.zeros(3), r'found \[3\]'),
        (np.array([[0, 0, np.nan]]), r'vertices: 1 coordinates are NaN or infinite, the first at \[0, 2\]'),
        (np.array([[0, np.inf, 0]]), 'vertices: 1 coordinates are NaN or infinite'),
        (np.array([[0, 0, 1e39]]), 'vertices: 1 coordinates are NaN or infinite'),
    ],
)
@pytest.mark.parametrize('suffix', ['.npy', '.npz'])
def test_invalid_arrays(tmp_path, suffix, array, message):
    path = tmp_path / f'a{suffix}'
    path.write_bytes(npy(array) if suffix == '.npy' else npz(points=array))
    with pytest.raises(CloudError, match=f'{path}: .*{message}'):
        read_points(path, None, np.random.RandomState(0))


def claiming_npy(shape):
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + '\n'
    return b'\x93NUMPY\1\0' + struct.pack('<H', len(header)) + header.encode()


def packed_npz(size):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive, archive.open('points.npy', 'w') as file:
        file.write(claiming_npy((size // 24, 3)))
        for _ in range(0, size, 2**24):
            file.write(bytes(2**24))
    return buffer.getvalue()


ATTACKS = {
    'off, a header of 10^10': ('.off', 'OFF\n9999999999 1 0\n0 0 0\n', 'a count from 0 to 16777216'),
    'off, negative': ('.off', 'OFF\n-4 4 0\n' + CORNERS + FACES, 'vertices: expected a count from 0'),
    'off, too long': ('.off', 'OFF\n' + TETRAHEDRON + '0 0 0\n', '8|it has 9'),
    'off, a face of 10^9': ('.off', 'OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n999999999 0 1 2\n', 'corners were declared'),
    'off, a negative face': ('.off', 'OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n-3 0 1 2\n', 'corners were declared'),
    'off, text': ('.off', 'OFF\nfour 4 6\n', 'counts of vertices and faces'),
    'off, binary': ('.off', b'OFF BINARY\n\0\0\0\4', 'bytes of zero'),
    'off, four dimensions': ('.off', '4OFF\n' + TETRAHEDRON, 'counts'),
    'ply, negative': ('.ply', PLY.format(-5) + 'end_header\n' + '1 2 3\n' * 40, 'count from 0 .* found -5'),
    'ply, 10^18': ('.ply', PLY.format(10**18) + 'end_header\n1 2 3\n', 'count from 0 to'),
    'ply, 10^7 of text': ('.ply', PLY.format(10**7) + 'end_header\n1 2 3\n', 'are 10000000 lines; it has 1'),
    'ply, 10^7 of nothing': (
        '.ply', (PLY.format(10**7) + 'end_header\n').replace('ascii', 'binary_little_endian'), 'ends early'),
    'ply, a list of 4 10^9': (
        '.ply',
        (PLY.format(0) + PLY_FACES.format(1)).replace('ascii', 'binary_little_endian').replace('uchar int', 'uint int')
        .encode() + b'\xff' * 8, 'ends early'),
    'ply, a list of -1': (
        '.ply',
        (PLY.format(0) + PLY_FACES.format(1)).replace('ascii', 'binary_little_endian').replace('uchar int', 'int int')
        .encode() + b'\xff' * 8, 'has no length'),
    'ply, rows of other lengths': ('.ply', PLY.format(2) + 'end_header\n1 2 3\n1 2\n', 'from 3 to 2 at row 2$'),
    'ply, longer rows': ('.ply', PLY.format(1) + 'end_header\n1 2 3 4\n', 'expected 3 numbers, found 4'),
    'ply, no z': ('.ply', PLY.format(1).replace('float z', 'float w') + 'end_header\n1 2 3\n', 'has no property z'),
    'ply, z is a list': (
        '.ply', PLY.format(1).replace('float z', 'list uchar int z') + 'end_header\n1 2 1 3\n', 'has no property z'),
    'ply, twice': ('.ply', PLY.format(1) + 'element vertex 1\nproperty int i\nend_header\n1 2 3\n7\n', 'different'),
    'ply, no end': ('.ply', PLY.format(1), 'no end'),
    'ply, strips': ('.ply', PLY.format(1) + 'element tristrips 0\nend_header\n1 2 3\n', 'strips'),
    'stl, 2^32 triangles': ('.stl', bytes(80) + b'\xff' * 4 + bytes(50), '214748364834 bytes; it has 134'),
    'stl, an open solid': ('.stl', 'solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n', 'facets of'),
    'obj, no such vertex': ('.obj', 'v 0 0 0\nf -1 -2 -3\n', 'no vertex -2'),
    'obj, vertex 0': ('.obj', 'v 0 0 0\nf 0 1 1\nv 0 0 1\n', 'no vertex 0'),
    'obj, two coordinates': ('.obj', 'v 0 0\n', 'a vertex needs three coordinates'),
    'obj, half a face': ('.obj', 'v 0 0 0\nf 1 1\n', 'a face needs three corners'),
    'pcd, too few': ('.pcd', pcd('binary', bytes(17), 3), '3 points of 17 bytes'),
    'pcd, 10^12': ('.pcd', pcd('binary', bytes(17), 10**12), 'count from 0'),
    'pcd, columns of 10^9': ('.pcd', pcd('binary', bytes(17), COUNT='1000000000 1 1 1'), 'COUNT must be positive'),
    'pcd, types': ('.pcd', pcd('binary', bytes(17), TYPE='X F F F'), 'TYPE and SIZE'),
    'pcd, no end': ('.pcd', 'FIELDS x y z\n' * 3, 'no line DATA'),
    'npy, 10^15': ('.npy', claiming_npy((10**14, 3)), 'declares 2400000000000000 bytes of points, it has 0'),
    'npy, negative': ('.npy', claiming_npy((-1, 3)), 'declares -24 bytes'),
    'npy, a pickle': ('.npy', b"cos\nsystem\n(S'touch /tmp/x'\ntR.", 'magic string is not correct'),
    'npz, a bomb': ('.npz', packed_npz(2**28), 'would unpack to'),
    'glb, 4 10^9 vertices': ('.glb', glb(glb_tree(2**32 - 1), bytes(48)), 'count from 0 to'),
    'glb, beyond its end': ('.glb', glb(glb_tree(5), bytes(48)), 'beyond the end of its buffer'),
    'glb, an offset below 0': (
        '.glb', glb(glb_tree(bufferViews=[{'buffer': 0, 'byteLength': 48, 'byteOffset': -48}]), bytes(48)), 'beyond'),
    'glb, a stride of 1': (
        '.glb', glb(glb_tree(36, bufferViews=[{'buffer': 0, 'byteLength': 48, 'byteStride': 1}]), bytes(48)), 'beyond'),
    'glb, other files': (
        '.glb', glb(glb_tree(buffers=[{'byteLength': 48, 'uri': '/etc/passwd'}]), bytes(48)), 'other files'),
    'glb, a circle of nodes': ('.glb', glb(glb_tree(nodes=[{'children': [1]}, {'children': [0]}]), bytes(48)), 'twice'),
    'glb, nodes that share': (
        '.glb', glb(glb_tree(nodes=[{'children': [i + 1] * 2} for i in range(60)] + [{}]), bytes(48)), 'twice'),
    'glb, one mesh used without end': (
        '.glb', glb(glb_tree(nodes=[{'mesh': 0}] * 100, scenes=[{'nodes': [*range(100)]}]), bytes(48)),
        'scene: expected a count'),
    'glb, deep json': ('.glb', glb('[' * 10**6).replace(b'"', b'['), 'recursion'),
    'glb, compressed': (
        '.glb', glb(glb_tree(meshes=[{'primitives': [
            {'attributes': {'POSITION': 0}, 'extensions': {'KHR_draco_mesh_compression': {}}}]}]), bytes(48)),
        'compressed geometry .KHR_draco'),
}  # fmt: skip


@pytest.mark.parametrize('case', ATTACKS)
def test_malicious_files_are_refused_by_name(case, tmp_path, monkeypatch):
    resource = pytest.importorskip('resource')
    suffix, content, message = ATTACKS[case]
    if case in ('glb, one mesh used without end', 'npz, a bomb'):
        monkeypatch.setattr(formats, 'MAX_ELEMENTS', 300)
    path = tmp_path / f'a{suffix}'
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CloudError, match=f'^{path}: .*({message})') as error:
        read_points(path, 8, np.random.RandomState(0))
    assert '\n' not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_external_files_are_not_opened(tmp_path, monkeypatch):
    """Materials, textures and buffers, here pipes without a writer."""
    for name in ('a.mtl', 'a.png', 'a.bin'):
        os.mkfifo(tmp_path / name)
    obj = f'mtllib {tmp_path}/a.mtl\nusemtl a\n' + ''.join(f'v {line}\n' for line in CORNERS.splitlines())
    (tmp_path / 'a.obj').write_text(obj + 'vt 0 0\nf 1/1 2/1 3/1\n')
    (tmp_path / 'a.ply').write_text(
        PLY.format(4).replace('element', 'comment TextureFile a.png\nelement', 1)
        + PLY_FACES.format(4)
        + CORNERS
        + FACES
    )
    texture = dict(images=[{'uri': 'a.png'}], textures=[{'source': 0}], materials=[{}])
    (tmp_path / 'a.glb').write_bytes(glb(glb_tree(**texture), POINTS.astype('<f4').tobytes()))
    for suffix in ('obj', 'ply', 'glb'):
        assert read_points(tmp_path / f'a.{suffix}', 4, np.random.RandomState(0)).shape == (4, 3)


def test_large_sparse_files(tmp_path):
    with (tmp_path / 'a.stl').open('wb') as file:
        file.truncate(2**40)
    with pytest.raises(
        CloudError, match=r'a\.stl: cloud and mesh files are limited to 2147483648 bytes, found 1099511'
    ):
        read_points(tmp_path / 'a.stl', 8, np.random.RandomState(0))


def test_is_cloud(tmp_path):
    for name, content, expected in (
        ('notes.txt', 'airplane\nbed\n', False),
        ('list.txt', 'train/bed_0001 1\n', False),
        ('empty.csv', '', False),
        ('._a.off', 'OFF', False),
        ('a.OFF', 'anything', True),
        ('a.CSV', 'x,y,z\n1,2,3\n', True),
        ('a.jpg', '', False),
    ):
        (tmp_path / name).write_text(content)
        assert is_cloud(tmp_path / name) is expected, name
    os.mkfifo(tmp_path / 'pipe.txt')
    assert not is_cloud(tmp_path / 'pipe.txt')
    assert {'.txt', '.csv', '.pts', '.npz', '.pcd', '.glb'} < set(SUFFIXES)
