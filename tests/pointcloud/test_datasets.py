"""Point cloud data sets: embedded, on files made here in the formats of the real ones, and on real CAD shapes."""

import sys
import zlib

import numpy as np
import pytest
from mmengine.registry import DATASETS

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.pointcloud.datasets import DigitClouds, ModelNet40, PointCloudFolder, ShapeNetCore
from rescaps_plugin.pointcloud.files import CloudError

h5py = pytest.importorskip('h5py')
NAMES = ('bed', 'chair', 'table')


def clouds(count, points=16, seed=0):
    return np.random.RandomState(seed).rand(count, points, 3).astype(np.float32)


def write(path, data, labels, keys=('data', 'label')):
    with h5py.File(path, 'w') as file:
        for key, value in zip(keys, (data, labels), strict=True):
            file[key] = value


@pytest.fixture
def modelnet(tmp_path):
    """Two training files and one test file, with lists as the official archive has them."""
    (tmp_path / 'shape_names.txt').write_text('\n'.join(NAMES) + '\n')
    write(tmp_path / 'ply_data_train0.h5', clouds(4), np.array([[0], [1], [2], [0]], np.uint8))
    write(tmp_path / 'ply_data_train1.h5', clouds(2, seed=1), np.array([[1], [1]], np.uint8))
    write(tmp_path / 'ply_data_test0.h5', clouds(3, seed=2), np.array([2, 1, 0]))
    (tmp_path / 'train_files.txt').write_text('data/x/ply_data_train1.h5\ndata/x/ply_data_train0.h5\n')
    (tmp_path / 'test_files.txt').write_text('data/x/ply_data_test0.h5')
    return tmp_path


def test_modelnet40(modelnet):
    train = DATASETS.build(dict(type='ModelNet40', data_root=str(modelnet)))
    assert train.metainfo['classes'] == NAMES
    assert [train[index]['gt_label'] for index in range(len(train))] == [1, 1, 0, 1, 2, 0]
    np.testing.assert_array_equal(train[2]['points'], clouds(4)[0])
    assert train[2]['source'] == f'{modelnet} (train): cloud 2'
    test = ModelNet40(str(modelnet), split='test')
    assert [test[index]['gt_label'] for index in range(3)] == [2, 1, 0]
    test[0]['points'][:] = 7
    np.testing.assert_array_equal(test[0]['points'], clouds(3, seed=2)[0])


def test_names_of_classes_are_lines(modelnet):
    (modelnet / 'shape_names.txt').write_text('night stand\r\n\n bed \ntv_stand')
    assert ModelNet40(str(modelnet)).metainfo['classes'] == ('night stand', 'bed', 'tv_stand')


def test_points_are_drawn_by_seed_and_index(modelnet):
    def draw(**arguments):
        dataset = ModelNet40(str(modelnet), num_points=8, **arguments)
        return [dataset[index]['points'] for index in (2, 3)]

    first, again, other = draw(), draw(), draw(seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    whole = clouds(4)[0]
    rows = [np.flatnonzero((whole == point).all(axis=1)).tolist() for point in first[0]]
    assert len({row for (row,) in rows}) == 8
    second = [np.flatnonzero((clouds(4)[1] == point).all(axis=1)).tolist() for point in first[1]]
    assert rows != second

    dataset = ModelNet40(str(modelnet), num_points=8, seed=None)
    assert not np.array_equal(dataset[2]['points'], dataset[2]['points'])
    # Only a part of the data set draws the same points for the same clouds.
    part = ModelNet40(str(modelnet), num_points=8, indices=[3])
    np.testing.assert_array_equal(part[0]['points'], first[1])


def test_shapenet_core(tmp_path):
    write(tmp_path / 'train0.h5', clouds(2), np.array([[0], [54]]))
    write(tmp_path / 'train1.h5', clouds(1, seed=1), np.array([[3]]))
    write(tmp_path / 'val0.h5', clouds(1, seed=2), np.array([[17]]))
    train, val = ShapeNetCore(str(tmp_path)), ShapeNetCore(str(tmp_path), split='val')
    labels = [train[index]['gt_label'] for index in range(len(train))]
    assert [train.metainfo['classes'][label] for label in labels] == ['airplane', 'washer', 'bathtub']
    assert len(val) == 1 and val.metainfo['classes'][val[0]['gt_label']] == 'chair'
    # A list of files makes another split, such as AtlasNet's.
    (tmp_path / 'train_files.txt').write_text('val0.h5\ntrain1.h5\n')
    assert [sample['gt_label'] for sample in ShapeNetCore(str(tmp_path))] == [17, 3]


@pytest.mark.parametrize(
    ('data', 'labels', 'keys', 'message'),
    [
        (clouds(2), [[0], [1]], ('points', 'label'), r"expected the keys data and label, found \['label', 'points'\]"),
        (clouds(2), [[0], [3]], ('data', 'label'), r'label: labels must be 0 to 2, found \[3\]'),
        (clouds(2), [[0], [-1]], ('data', 'label'), r'label: labels must be 0 to 2, found \[-1\]'),
        (clouds(2), [[0]], ('data', 'label'), r'label must be integers \[2, 1\] or \[2\], found int64 \[1, 1\]'),
        (clouds(2), [0.0, 1.0], ('data', 'label'), 'label must be integers .* found float64'),
        (clouds(2)[:, :, :2], [0, 1], ('data', 'label'), r'data must be floats .* found float32 \[2, 16, 2\]'),
        (clouds(2).astype(int), [0, 1], ('data', 'label'), r'data must be floats .* found int64'),
        (clouds(2, 6), [0, 1], ('data', 'label'), r'data: 8 points requested \(num_points\), its clouds have 6'),
        (np.where(clouds(2) > 0.95, np.nan, clouds(2)), [0, 1], ('data', 'label'), 'data: .* coordinates are NaN'),
    ],
)
def test_wrong_files_are_named_with_the_field(modelnet, data, labels, keys, message):
    write(modelnet / 'ply_data_test0.h5', data, np.array(labels), keys)
    with pytest.raises(CloudError, match=f'ply_data_test0.h5: {message}'):
        ModelNet40(str(modelnet), split='test', num_points=8)


def attacked(path, make):
    """Write a test file of which ``make`` adds the data; labels are whole."""
    with h5py.File(path, 'w') as file:
        file['label'] = np.zeros((2, 1), np.uint8)
        make(file)


def packed_chunk(file):
    """A chunk of 384 bytes by its shape, that unpacks to 200 MB."""
    data = file.create_dataset('data', (2, 16, 3), np.float32, chunks=(2, 16, 3), compression='gzip')
    data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(2 * 10**8)))


def virtual(file):
    layout = h5py.VirtualLayout((2, 16, 3), np.float32)
    layout[:] = h5py.VirtualSource('other.h5', 'data', (2, 16, 3))
    file.create_virtual_dataset('data', layout)


def of_types(dtype):
    return lambda file: file.create_dataset('data', data=clouds(2).astype(dtype))


HDF5_ATTACKS = {
    'external link': (lambda file: file.update(data=h5py.ExternalLink('other.h5', '/data')), 'it is a link or a group'),
    'soft link': (
        lambda file: (file.update(x=h5py.ExternalLink('other.h5', '/')), file.update(data=h5py.SoftLink('/x/data'))),
        'it is a link or a group',
    ),
    'group': (lambda file: file.create_group('data'), 'it is a link or a group'),
    'external storage': (
        lambda file: file.create_dataset('data', (2, 16, 3), np.float32, external=[('secret', 0, 384)]),
        'it lies in other files',
    ),
    'virtual': (virtual, 'it lies in other files'),
    'sparse': (
        lambda file: file.create_dataset('data', (2 * 10**6, 2048, 3), np.float32, chunks=(1, 2048, 3)),
        'would take 49152000000 bytes of memory, of which 0 are stored',
    ),
    'packed zeros': (
        lambda file: file.create_dataset('data', data=np.zeros((2, 4 * 10**6, 3), np.float32), compression='gzip'),
        'would take 96000000 bytes of memory',
    ),
    'large chunk': (
        lambda file: file.create_dataset(
            'data', (2, 16, 3), np.float32, chunks=(2, 2**25, 3), maxshape=(None, None, None)
        ),
        'has chunks of 805306368 bytes',
    ),
    'packed chunk': (packed_chunk, 'has a chunk of .* bytes that unpacks to more than 384'),
    'nothing': (lambda file: file.create_dataset('data', data=h5py.Empty('f4')), r'found float32 \[\]'),
    'texts': (of_types('S4'), 'data must be floats'),
    'complex numbers': (of_types('c8'), 'data must be floats .* found complex64'),
    'objects': (lambda file: file.create_dataset('data', (2, 16, 3), h5py.string_dtype()), 'data must be floats'),
}


@pytest.mark.parametrize('case', HDF5_ATTACKS)
def test_hdf5_reads_its_own_file_and_what_is_stored(modelnet, case):
    resource = pytest.importorskip('resource')
    write(modelnet / 'other.h5', clouds(2), np.array([0, 1]))
    (modelnet / 'secret').write_bytes(clouds(2).tobytes())
    make, message = HDF5_ATTACKS[case]
    attacked(modelnet / 'ply_data_test0.h5', make)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CloudError, match=f'ply_data_test0.h5: .*{message}'):
        ModelNet40(str(modelnet), split='test')
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_packed_hdf5_is_read(modelnet):
    with h5py.File(modelnet / 'ply_data_test0.h5', 'w') as file:
        options = dict(chunks=(2, 16, 3), compression='gzip', shuffle=True, fletcher32=True)
        file.create_dataset('data', data=clouds(3, seed=2), **options)
        file.create_dataset('label', data=np.zeros((3, 1), np.uint8), compression='gzip')
    np.testing.assert_array_equal(ModelNet40(str(modelnet), split='test').clouds, clouds(3, seed=2))


def test_names_that_are_not_utf8(modelnet):
    (modelnet / 'test_files.txt').write_bytes(b'\xff.h5\n')
    with pytest.raises(CloudError, match='test_files.txt: expected lines of UTF-8'):
        ModelNet40(str(modelnet), split='test')
    (modelnet / 'shape_names.txt').write_bytes(b'bed\n\xff\n')
    with pytest.raises(CloudError, match='shape_names.txt: expected lines of UTF-8'):
        ModelNet40(str(modelnet))


def test_files_of_macos_are_no_data(tmp_path):
    write(tmp_path / 'train0.h5', clouds(2), np.array([[0], [54]]))
    (tmp_path / '._train0.h5').write_bytes(b'\0\5\x16\7')
    assert len(ShapeNetCore(str(tmp_path))) == 2


def test_clouds_far_from_the_origin_keep_their_shape(modelnet):
    """UTM coordinates in metres, which float32 rounds to half a metre."""
    there = np.array([500_000.0, 4_500_000.0, 100.0])
    write(modelnet / 'ply_data_test0.h5', clouds(3).astype(np.float64) + there, np.array([2, 1, 0]))
    pipeline = [dict(type='NormalizePoints'), dict(type='PackPoints')]
    far = ModelNet40(str(modelnet), split='test', pipeline=pipeline)[1]
    write(modelnet / 'ply_data_test0.h5', clouds(3), np.array([2, 1, 0]))
    near = ModelNet40(str(modelnet), split='test', pipeline=pipeline)[1]
    np.testing.assert_allclose(far['inputs'], near['inputs'], atol=1e-6)
    np.testing.assert_allclose(far['data_samples'].centre, near['data_samples'].centre + there, rtol=0, atol=1e-6)
    write(modelnet / 'ply_data_test0.h5', clouds(3).astype(np.float64) + there, np.array([2, 1, 0]))
    with pytest.raises(CloudError, match='rounding to float32 would move points by 0.* put NormalizePoints first'):
        ModelNet40(str(modelnet), split='test', pipeline=pipeline[1:])[0]


def test_damaged_and_missing_files(modelnet):
    path = modelnet / 'ply_data_test0.h5'
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CloudError, match='ply_data_test0.h5: truncated or not an HDF5 file'):
        ModelNet40(str(modelnet), split='test')
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r'ply_data_test0\.h5, listed in test_files\.txt.*https'):
        ModelNet40(str(modelnet), split='test')
    (modelnet / 'test_files.txt').unlink()
    with pytest.raises(FileNotFoundError, match=r'\*test\*\.h5 \(HDF5 of data.*https'):
        ModelNet40(str(modelnet), split='test')
    (modelnet / 'shape_names.txt').unlink()
    with pytest.raises(FileNotFoundError, match='shape_names.txt, the classes one a line'):
        ModelNet40(str(modelnet))


def test_files_of_different_sizes(modelnet):
    write(modelnet / 'ply_data_train1.h5', clouds(2, 20), np.array([0, 1]))
    with pytest.raises(CloudError, match=r'data: files of train have clouds of \[16, 20\] points'):
        ModelNet40(str(modelnet))


@pytest.mark.parametrize(('argument', 'value'), [('split', 'val'), ('num_points', 0), ('num_points', '8')])
def test_invalid_arguments(modelnet, argument, value):
    with pytest.raises(ValueError, match=f'ModelNet40: {argument} must be .*{value}'):
        ModelNet40(str(modelnet), **{argument: value})


def test_digit_clouds_are_the_digits():
    """The points per pixel follow the ink, and no point is outside the solid."""
    dataset = DigitClouds(split='test', num_points=20000)
    assert len(dataset) == 360 and len(DigitClouds(num_points=1)) == 1437
    x, y, z = dataset[5]['points'].T
    image = dataset.images[5]
    density, _, _ = np.histogram2d(-y, x, bins=8, range=[[-4, 4], [-4, 4]])
    np.testing.assert_allclose(density / density.sum(), image / image.sum(), atol=0.005)
    thickness = image[np.floor(4 - y).astype(int), np.floor(x + 4).astype(int)] / 16
    # At the border of a pixel, rounding to float32 can put a point on the wrong side.
    assert (np.abs(z) <= thickness + 1e-6).mean() > 0.999
    assert abs(z.mean()) < 0.02 and np.abs(z).max() > 0.95


def test_digit_clouds_are_reproducible():
    first, second = (DigitClouds(split='test', num_points=64) for _ in range(2))
    np.testing.assert_array_equal(first[7]['points'], second[7]['points'])
    assert not np.array_equal(first[7]['points'], DigitClouds(split='test', num_points=64, seed=1)[7]['points'])
    labels = np.array([first.get_data_info(index)['gt_label'] for index in range(360)])
    assert np.bincount(labels).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]


def test_folder_of_meshes(tmp_path):
    for name, text in (('bed', 'OFF'), ('chair', 'OFF\n')):
        folder = tmp_path / name / 'train'
        folder.mkdir(parents=True)
        (folder / 'b.off').write_text(text + '3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n')
        (folder / 'notes.txt').write_text('not a mesh')
    np.save(tmp_path / 'chair' / 'train' / 'a.npy', clouds(1, 40)[0])
    dataset = PointCloudFolder(str(tmp_path), num_points=32)
    assert dataset.metainfo['classes'] == ('bed', 'chair')
    assert [sample['gt_label'] for sample in dataset] == [0, 1, 1]
    assert all(sample['points'].shape == (32, 3) for sample in dataset)
    assert dataset[1]['source'] == str(tmp_path / 'chair' / 'train' / 'a.npy')
    np.testing.assert_array_equal(dataset[0]['points'], PointCloudFolder(str(tmp_path), num_points=32)[0]['points'])
    assert not np.array_equal(dataset[0]['points'], dataset[2]['points'])
    with pytest.raises(FileNotFoundError, match='holds no <class>/test/*'):
        PointCloudFolder(str(tmp_path), split='test')
    with pytest.raises(FileNotFoundError, match='nowhere holds no'):
        PointCloudFolder(str(tmp_path / 'nowhere'))


@pytest.fixture
def shapes(tmp_path):
    """Two classes with both splits."""
    for name in ('bed', 'chair'):
        for split in ('train', 'test'):
            folder = tmp_path / name / split
            folder.mkdir(parents=True)
            np.save(folder / 'a.npy', clouds(1, 40)[0])
    return tmp_path


@pytest.mark.parametrize('name', ['.cache/train', '__MACOSX/train', '@eaDir'])
def test_folders_of_operating_systems_are_ignored(shapes, name):
    (shapes / name).mkdir(parents=True)
    (shapes / 'bed' / 'train' / '._a.npy').write_bytes(b'\0\5\x16\7')
    dataset = PointCloudFolder(str(shapes), num_points=32)
    assert dataset.metainfo['classes'] == ('bed', 'chair')
    assert [sample['gt_label'] for sample in dataset] == [0, 1]


def test_unrelated_folders_are_refused_unless_classes_are_set(shapes):
    (shapes / 'built').mkdir()
    (shapes / 'processed' / 'raw').mkdir(parents=True)
    with pytest.raises(CloudError, match='built, processed cannot be classes, without a subfolder train or test'):
        PointCloudFolder(str(shapes))
    for classes, labels in ((('bed', 'chair'), [0, 1]), (('chair', 'bed'), [0, 1]), (('chair',), [0])):
        dataset = PointCloudFolder(str(shapes), num_points=32, metainfo=dict(classes=classes))
        assert [sample['gt_label'] for sample in dataset] == labels
        assert classes[0] in dataset[0]['source']


def test_classes_without_files_are_named(shapes):
    (shapes / 'bed' / 'test' / 'a.npy').unlink()
    assert len(PointCloudFolder(str(shapes))) == 2
    with pytest.raises(CloudError, match='no clouds or meshes in bed/test'):
        PointCloudFolder(str(shapes), split='test')
    with pytest.raises(CloudError, match='no clouds or meshes in table/train'):
        PointCloudFolder(str(shapes), metainfo=dict(classes=('bed', 'chair', 'table')))


def test_text_clouds_of_a_folder(shapes):
    for name in ('bed', 'chair'):
        (shapes / name / 'train' / 'b.txt').write_text('0.1,0.2,0.3,0,0,1\n0.4,0.5,0.6,0,0,1\n')
    dataset = PointCloudFolder(str(shapes), num_points=2)
    assert [sample['gt_label'] for sample in dataset] == [0, 0, 1, 1]
    np.testing.assert_allclose(sorted(dataset[1]['points'].tolist()), [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])


def test_real_kicad40(repository):
    root = repository / 'data' / 'kicad40'
    if not root.exists():
        pytest.skip(f'{root} is absent')
    test = ModelNet40(str(root), split='test', num_points=1024)
    assert len(test) == 471 and len(test.metainfo['classes']) == 40
    sample = test[100]
    assert sample['points'].shape == (1024, 3)
    assert np.linalg.norm(sample['points'], axis=1).max() <= 1 + 1e-5
    ids = (root / 'test_id.txt').read_text().split('\n')
    for index in (0, 100, 470):
        assert test.metainfo['classes'][test[index]['gt_label']] == ids[index].split('/')[0]


def test_missing_packages_name_the_extra(modelnet, monkeypatch):
    for package, build in (('h5py', lambda: ModelNet40(str(modelnet))), ('sklearn', DigitClouds)):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UserError, match=rf"{package} is not installed: pip install '\.\[pointcloud\]'"):
            build()


def test_missing_files_of_data_in_the_format_of_modelnet40(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'modelnet40_ply_hdf5_2048.zip$'):
        ModelNet40(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'\. Sampled here\.$'):
        ModelNet40(str(tmp_path), source='Sampled here.')
