"""Point cloud data sets: embedded, on files made here in the formats of the real ones, and on real CAD shapes."""

import sys

import numpy as np
import pytest
from mmengine.registry import DATASETS

from rescaps_plugin.engine.errors import UserError
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
        (clouds(2, 6), [0, 1], ('data', 'label'), r'data: 8 points were asked for \(num_points\), its clouds have 6'),
        (np.where(clouds(2) > 0.95, np.nan, clouds(2)), [0, 1], ('data', 'label'), 'data: .* coordinates are NaN'),
    ],
)
def test_wrong_files_are_named_with_the_field(modelnet, data, labels, keys, message):
    write(modelnet / 'ply_data_test0.h5', data, np.array(labels), keys)
    with pytest.raises(CloudError, match=f'ply_data_test0.h5: {message}'):
        ModelNet40(str(modelnet), split='test', num_points=8)


def test_damaged_and_missing_files(modelnet):
    path = modelnet / 'ply_data_test0.h5'
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CloudError, match='ply_data_test0.h5: truncated or no HDF5 file'):
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
def test_impossible_arguments(modelnet, argument, value):
    with pytest.raises(ValueError, match=f'ModelNet40: {argument} must be .*{value}'):
        ModelNet40(str(modelnet), **{argument: value})


def test_digit_clouds_are_the_digits():
    """Counted per pixel, points are the ink; and no point is outside the body."""
    dataset = DigitClouds(split='test', num_points=20000)
    assert len(dataset) == 360 and len(DigitClouds(num_points=1)) == 1437
    x, y, z = dataset[5]['points'].T
    image = dataset.images[5]
    density, _, _ = np.histogram2d(-y, x, bins=8, range=[[-4, 4], [-4, 4]])
    np.testing.assert_allclose(density / density.sum(), image / image.sum(), atol=0.005)
    thickness = image[np.floor(4 - y).astype(int), np.floor(x + 4).astype(int)] / 16
    # Coordinates are rounded to float32, at the border of a pixel to the wrong side.
    assert (np.abs(z) <= thickness + 1e-6).mean() > 0.999
    assert abs(z.mean()) < 0.02 and np.abs(z).max() > 0.95


def test_digit_clouds_are_the_same_every_time():
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
        with pytest.raises(UserError, match=rf"{package} is not installed: pip install 'rescaps\[pointcloud\]'"):
            build()
