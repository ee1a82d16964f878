"""Digits, MNIST, affNIST and smallNORB: file layouts, and errors of wrong files."""

import gzip
import hashlib
import struct
import threading
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torchvision
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS
from scipy.io import savemat
from torch.utils.data import DataLoader

from rescaps_plugin.classification.datasets import (
    IDXMNIST,
    AffNIST,
    ArrayDataset,
    Digits,
    IDXFashionMNIST,
    SmallNORB,
    mat_files,
)
from rescaps_plugin.classification.datasets.array_files import DataError

PACK = [dict(type='PackInputs')]
TRAIN, TEST = 'smallnorb-5x46789x9x18x6x2x96x96-training', 'smallnorb-5x01235x9x18x6x2x96x96-testing'


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.suffix == '.gz' else data)
    return path


def idx_bytes(array):
    return struct.pack(f'>BBBB{array.ndim}I', 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def norb_bytes(array):
    magic = {'uint8': 0x1E3D4C55, 'int32': 0x1E3D4C54}[array.dtype.name]
    dims = [*array.shape, 1, 1][: max(3, array.ndim)]
    return struct.pack(f'<II{len(dims)}I', magic, array.ndim, *dims) + array.tobytes()


# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ['Digits', 'IDXMNIST', 'IDXFashionMNIST', 'AffNIST', 'SmallNORB'])
def test_registered(name):
    assert issubclass(DATASETS.get(name), ArrayDataset)


class Counted(ArrayDataset):
    METAINFO = {'classes': ('even', 'odd')}
    labels = np.arange(10) % 2

    def load_arrays(self):
        return np.arange(10 * 6, dtype=np.uint8).reshape(10, 2, 3), self.labels


def test_array_dataset_samples_are_copies():
    dataset = Counted()
    dataset.get_data_info(3)['img'][:] = 0
    np.testing.assert_array_equal(dataset.get_data_info(3)['img'], np.arange(18, 24).reshape(2, 3))
    assert dataset[3]['gt_label'] == 1 and dataset[3]['sample_idx'] == 3
    assert set(dataset[3]) == {'img', 'gt_label', 'sample_idx'}


def test_array_dataset_subsets():
    assert len(Counted(indices=4)) == 4
    dataset = Counted(indices=[7, 2])
    assert [int(dataset[i]['img'][0, 0]) for i in range(2)] == [42, 12]
    assert dataset.get_gt_labels().tolist() == [1, 0]
    assert int(Counted().get_subset([9])[0]['img'][0, 0]) == 54


def test_array_dataset_checks(monkeypatch):
    with pytest.raises(ValueError, match=r"split must be one of \('train', 'test'\), not 'val'"):
        Counted(split='val')
    monkeypatch.setattr(Counted, 'labels', np.arange(10))
    with pytest.raises(ValueError, match=r'labels must be 0 to 1, found \[2, 3, 4, 5, 6, 7, 8, 9\]'):
        Counted()
    monkeypatch.setattr(Counted, 'labels', np.arange(9) % 2)
    with pytest.raises(ValueError, match='10 images and 9 labels'):
        Counted()


# ---------------------------------------------------------------------------------------------------------------------


def test_digits_split_is_fixed():
    digits = {split: Digits(split=split) for split in ('train', 'test')}
    labels = {split: dataset.get_gt_labels() for split, dataset in digits.items()}
    assert np.bincount(labels['train']).tolist() == [142, 146, 142, 146, 145, 145, 145, 143, 139, 144]
    assert np.bincount(labels['test']).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    digest = {
        split: hashlib.sha256(dataset.images.tobytes() + bytes(labels[split].tolist())).hexdigest()[:16]
        for split, dataset in digits.items()
    }
    assert digest == {'train': 'b540a7c2a2f8f86f', 'test': '29a4289bdc0eb78d'}


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    original = load_digits().images
    images = np.concatenate([Digits(split=split).images for split in ('train', 'test')])
    assert images.dtype == np.uint8 and images.shape == original.shape
    grey = np.rint(original * 255 / 16).reshape(len(original), -1)
    assert sorted(map(tuple, images.reshape(len(images), -1))) == sorted(map(tuple, grey.astype(np.uint8)))


# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def mnist_arrays():
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, (10000, 28, 28), np.uint8), rng.randint(0, 10, 10000).astype(np.uint8)


@pytest.mark.parametrize('suffix', ['', '.gz'])
@pytest.mark.parametrize(
    'cls, folder', [(IDXMNIST, ''), (IDXMNIST, 'MNIST/raw'), (IDXFashionMNIST, 'FashionMNIST/raw')]
)
def test_mnist_layouts(tmp_path, mnist_arrays, cls, folder, suffix):
    images, labels = mnist_arrays
    write(tmp_path / folder / f't10k-images-idx3-ubyte{suffix}', idx_bytes(images))
    write(tmp_path / folder / f't10k-labels-idx1-ubyte{suffix}', idx_bytes(labels))
    dataset = cls(str(tmp_path), split='test', download=False, pipeline=PACK)
    np.testing.assert_array_equal(dataset.images, images)
    np.testing.assert_array_equal(dataset.get_gt_labels(), labels)
    sample = dataset[9999]
    np.testing.assert_array_equal(sample['inputs'].numpy(), images[9999:])
    assert sample['data_samples'].gt_label.tolist() == [labels[9999]]


def test_mnist_missing(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        IDXMNIST(str(tmp_path), download=False)
    for part in ('train-images-idx3-ubyte', 'IDX file of MNIST', str(tmp_path / 'MNIST' / 'raw'), 'https://'):
        assert part in str(error.value)


def test_mnist_wrong_file(tmp_path, mnist_arrays):
    images, labels = mnist_arrays
    write(tmp_path / 'train-labels-idx1-ubyte', idx_bytes(labels))
    path = write(tmp_path / 'train-images-idx3-ubyte', idx_bytes(images))
    # Test images in place of the training images would silently be a smaller data set.
    with pytest.raises(ValueError, match=rf'{path}: expected .*\(60000, 28, 28\), found \(10000, 28, 28\)'):
        IDXMNIST(str(tmp_path), download=False)
    write(tmp_path / 't10k-labels-idx1-ubyte', idx_bytes(labels))
    write(tmp_path / 't10k-images-idx3-ubyte', idx_bytes(images)[:-1])
    with pytest.raises(ValueError, match='t10k-images-idx3-ubyte: .*truncated'):
        IDXMNIST(str(tmp_path), split='test', download=False)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder and the address of a local server for it."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    folder = tmp_path / 'mirror'
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(('127.0.0.1', 0), partial(Handler, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f'http://127.0.0.1:{server.server_port}/'
        server.shutdown()
        thread.join()


@pytest.mark.parametrize('cls, original', [(IDXMNIST, 'MNIST'), (IDXFashionMNIST, 'FashionMNIST')])
def test_mnist_download(tmp_path, monkeypatch, mnist_arrays, mirror, cls, original):
    images, labels = mnist_arrays
    contents = {
        'train-images-idx3-ubyte.gz': np.zeros((60000, 28, 28), np.uint8),
        'train-labels-idx1-ubyte.gz': np.zeros(60000, np.uint8),
        't10k-images-idx3-ubyte.gz': images,
        't10k-labels-idx1-ubyte.gz': labels,
    }
    folder, address = mirror
    paths = [write(folder / name, idx_bytes(array)) for name, array in contents.items()]
    source = getattr(torchvision.datasets, original)
    monkeypatch.setattr(source, 'mirrors', [address])
    md5 = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in paths]
    monkeypatch.setattr(source, 'resources', md5)
    root = tmp_path / 'root'
    np.testing.assert_array_equal(cls(str(root), split='test').images, images)
    # All files exist now: nothing is downloaded.
    monkeypatch.setattr(source, 'mirrors', [])
    assert len(cls(str(root), split='train')) == 60000


def test_mnist_download_fails(tmp_path, monkeypatch, mirror):
    _, address = mirror
    monkeypatch.setattr(torchvision.datasets.MNIST, 'mirrors', [address])
    with pytest.raises(FileNotFoundError, match=f'train-images-idx3-ubyte.*Get it from {address}'):
        IDXMNIST(str(tmp_path / 'root'))


def test_real_mnist(repository):
    root = repository / 'data' / 'mnist'
    if not root.exists():
        pytest.skip(f'{root} is absent')
    train = IDXMNIST(str(root), download=False)
    test = IDXMNIST(str(root), split='test', download=False)
    assert (len(train), len(test)) == (60000, 10000)
    assert test.get_gt_labels()[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert train.images.mean() == pytest.approx(33.318, abs=1e-3)


# ---------------------------------------------------------------------------------------------------------------------


def affnist_arrays(per_digit=32, digits=6):
    rng = np.random.RandomState(0)
    return rng.randint(0, 256, (per_digit, digits, 40, 40), np.uint8), rng.randint(0, 10, digits).astype(np.uint8)


def save_affnist(path, images, labels):
    """Write a file in affNIST's format: a struct with an image per column, and other fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = dict(
        affine_matrix=np.zeros((6, len(labels))),
        image=np.stack([image.ravel() for image in images], axis=1),
        label_one_of_n=np.eye(10, dtype=np.uint8)[labels].T,
        label_int=labels[None].astype(np.uint8),
    )
    savemat(path, {'affNISTdata': record}, do_compression=True)
    return path


@pytest.mark.parametrize('suffix', ['', '.gz'])
def test_affnist_idx(tmp_path, suffix):
    images, labels = affnist_arrays()
    write(tmp_path / f'affnist-test-images-idx4-ubyte{suffix}', idx_bytes(images))
    write(tmp_path / f'affnist-test-labels-idx1-ubyte{suffix}', idx_bytes(labels))
    dataset = AffNIST(str(tmp_path))
    assert len(dataset) == 32 * 6
    np.testing.assert_array_equal(dataset[6 * 5 + 2]['img'], images[5, 2])
    np.testing.assert_array_equal(dataset.get_gt_labels(), np.tile(labels, 32))
    assert len(AffNIST(str(tmp_path), per_digit=3)) == 18


def test_affnist_idx_of_too_few_transforms(tmp_path):
    images, labels = affnist_arrays(per_digit=4)
    write(tmp_path / 'affnist-test-images-idx4-ubyte', idx_bytes(images))
    write(tmp_path / 'affnist-test-labels-idx1-ubyte', idx_bytes(labels))
    assert len(AffNIST(str(tmp_path), per_digit=4)) == 24
    with pytest.raises(ValueError, match='4 transforms of each digit and per_digit=32.*--per-digit 32'):
        AffNIST(str(tmp_path))
    with pytest.raises(ValueError, match='per_digit must be from 1 to 32, not 0'):
        AffNIST(str(tmp_path), per_digit=0)


def test_affnist_batches(tmp_path):
    images, labels = affnist_arrays()
    for number in range(32):
        save_affnist(tmp_path / 'test_batches' / f'{number + 1}.mat', images[number], labels)
    dataset = AffNIST(str(tmp_path))
    np.testing.assert_array_equal(dataset.images, images.reshape(-1, 40, 40))
    np.testing.assert_array_equal(dataset.get_gt_labels(), np.tile(labels, 32))
    np.testing.assert_array_equal(AffNIST(str(tmp_path), per_digit=11).images, images[:11].reshape(-1, 40, 40))
    (tmp_path / 'test_batches' / '12.mat').unlink()
    assert len(AffNIST(str(tmp_path), per_digit=11)) == 66
    with pytest.raises(FileNotFoundError, match='12.mat'):
        AffNIST(str(tmp_path))


def test_affnist_whole(tmp_path):
    images, labels = affnist_arrays()
    save_affnist(tmp_path / 'test.mat', images.reshape(-1, 40, 40), np.tile(labels, 32))
    dataset = AffNIST(str(tmp_path))
    np.testing.assert_array_equal(dataset.images, images.reshape(-1, 40, 40))
    np.testing.assert_array_equal(dataset.get_gt_labels(), np.tile(labels, 32))
    with pytest.raises(ValueError, match='per_digit must be 32, not 1'):
        AffNIST(str(tmp_path), per_digit=1)
    # affNIST's untransformed version has a file with the same name.
    save_affnist(tmp_path / 'test.mat', images[0], labels)
    with pytest.raises(ValueError, match='expected 32 images of each digit, found 6 images in all'):
        AffNIST(str(tmp_path))


def test_affnist_missing(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        AffNIST(str(tmp_path))
    for part in ('affnist-test-images-idx4-ubyte', str(tmp_path), 'tools/prepare_affnist.py', 'test.mat', 'https://'):
        assert part in str(error.value)
    with pytest.raises(ValueError, match=r"split must be one of \('test',\), not 'train'"):
        AffNIST(str(tmp_path), split='train')


@pytest.mark.parametrize('keep', [0, 0.01, 0.3, 0.9, 0.999])
def test_affnist_truncated_mat(tmp_path, keep):
    images, labels = affnist_arrays()
    path = save_affnist(tmp_path / 'test.mat', images.reshape(-1, 40, 40), np.tile(labels, 32))
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match='test.mat: expected a MATLAB file with a struct affNISTdata'):
        AffNIST(str(tmp_path))


def test_affnist_other_mat(tmp_path):
    savemat(tmp_path / 'test.mat', {'image': np.zeros((1600, 3), np.uint8)})
    with pytest.raises(ValueError, match='affNISTdata'):
        AffNIST(str(tmp_path))
    record = dict(image=np.zeros((1600, 3), np.uint8), label_int=np.zeros((1, 4), np.uint8))
    savemat(tmp_path / 'test.mat', {'affNISTdata': record})
    with pytest.raises(ValueError, match=r'\[1600, 4\] for its 4 labels, found uint8 \(1600, 3\)'):
        AffNIST(str(tmp_path))


@pytest.mark.parametrize(
    ('labels', 'message'),
    [
        (np.array([[0, 1j, 2]]), 'an array is of complex numbers'),
        (np.array(['0', '1', '2']), 'label_int is not an array of numbers'),
        (np.array([[0, np.nan, 2]]), 'label_int must hold digits 0 to 9, found nan'),
        (np.array([[0, 258, 2]]), 'label_int must hold digits 0 to 9, found 258'),
        (np.array([['0', 1, 2]], object), 'label_int is not an array of numbers'),
        (dict(a=1), 'label_int is not an array of numbers'),
    ],
)
def test_affnist_labels_that_are_not_numbers(tmp_path, labels, message):
    record = dict(image=np.zeros((1600, 3), np.uint8), label_int=labels)
    savemat(tmp_path / 'test.mat', {'affNISTdata': record})
    with pytest.raises(DataError, match=f'test.mat: .*{message}'):
        AffNIST(str(tmp_path))


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('dtype', ['u1', 'i4', 'f8'])
def test_affnist_labels_of_any_type(tmp_path, dtype, order):
    images, labels = affnist_arrays()
    record = dict(image=images.reshape(-1, 1600).T, label_int=np.tile(labels, 32)[None].astype(order + dtype))
    savemat(tmp_path / 'test.mat', {'affNISTdata': record})
    np.testing.assert_array_equal(AffNIST(str(tmp_path)).get_gt_labels(), np.tile(labels, 32))


def mat_element(kind, data):
    return struct.pack('<II', kind, len(data)) + data + bytes(-len(data) % 8)


def mat_file(*elements):
    return b'MATLAB 5.0 MAT-file'.ljust(124) + struct.pack('<H', 0x100) + b'IM' + b''.join(elements)


def test_nested_cells_do_not_crash(tmp_path):
    """SciPy's reader has a segmentation fault on this file."""
    shape = mat_element(6, struct.pack('<II', 1, 0)) + mat_element(5, struct.pack('<ii', 1, 1))
    size, tags = 0, []
    for name in [mat_element(1, b'')] * 150_000 + [mat_element(1, b'affNISTdata')]:
        head = shape + name
        tags.append(struct.pack('<II', 14, len(head) + size) + head)
        size += 8 + len(head)
    (tmp_path / 'test.mat').write_bytes(mat_file(*reversed(tags)))
    with pytest.raises(DataError, match=r'affNISTdata is an array \[1, 1\] of class 1'):
        AffNIST(str(tmp_path))


def test_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mat_files, 'MAX_UNPACKED', 10**6)
    packed = zlib.compress(mat_element(14, bytes(10**7)))
    (tmp_path / 'test.mat').write_bytes(mat_file(struct.pack('<II', 15, len(packed)) + packed))
    with pytest.raises(DataError, match='a packed variable is truncated or larger than 1000000 bytes'):
        AffNIST(str(tmp_path))


@pytest.mark.parametrize('workers', [1, 2])
def test_affnist_does_not_depend_on_workers(tmp_path, workers):
    images, labels = affnist_arrays()
    write(tmp_path / 'affnist-test-images-idx4-ubyte', idx_bytes(images))
    write(tmp_path / 'affnist-test-labels-idx1-ubyte', idx_bytes(labels))
    dataset = AffNIST(str(tmp_path), pipeline=PACK)
    batches = DataLoader(dataset, batch_size=7, num_workers=workers, collate_fn=default_collate)
    found = np.concatenate([batch['inputs'].numpy()[:, 0] for batch in batches])
    np.testing.assert_array_equal(found, images.reshape(-1, 40, 40))


# ---------------------------------------------------------------------------------------------------------------------


def norb_arrays(side=8):
    """One instance of each category under every viewpoint; pixels encode the index of the pair."""
    grid = np.stack(np.meshgrid(range(5), [4], range(9), range(0, 36, 2), [0], indexing='ij'), -1).reshape(-1, 5)
    grid = np.random.RandomState(0).permutation(grid).astype('<i4')
    pairs = np.random.RandomState(1).randint(0, 256, (len(grid), 2, side, side), np.uint8)
    pairs[:, :, 0, 0], pairs[:, :, 0, 1] = (part[:, None] for part in divmod(np.arange(len(grid)), 256))
    return dict(dat=pairs, cat=np.ascontiguousarray(grid[:, 0]), info=np.ascontiguousarray(grid[:, 1:]))


def write_norb(folder, arrays, stem=TRAIN, suffix='.mat.gz'):
    for kind, array in arrays.items():
        write(folder / f'{stem}-{kind}{suffix}', norb_bytes(array))


def pair_numbers(dataset):
    images = (dataset[i]['img'].reshape(64, -1)[:, 0] for i in range(len(dataset)))
    return {int(image[0]) * 256 + int(image[1]) for image in images}


@pytest.mark.parametrize('suffix', ['.mat', '.mat.gz'])
@pytest.mark.parametrize('split, stem', [('train', TRAIN), ('test', TEST)])
def test_smallnorb_stereo(tmp_path, suffix, split, stem):
    arrays = norb_arrays()
    write_norb(tmp_path, arrays, stem, suffix)
    pairs, labels = arrays['dat'], arrays['cat']

    views = SmallNORB(str(tmp_path), split=split, stereo='views')
    assert len(views) == 2 * len(pairs)
    np.testing.assert_array_equal(views[7]['img'], pairs[3, 1])
    np.testing.assert_array_equal(views.get_gt_labels(), labels.repeat(2))

    channels = SmallNORB(str(tmp_path), split=split, stereo='channels', pipeline=PACK)
    assert len(channels) == len(pairs)
    np.testing.assert_array_equal(channels[3]['inputs'].numpy(), pairs[3])
    assert channels[3]['inputs'].is_contiguous()

    left = SmallNORB(str(tmp_path), split=split, stereo='left')
    np.testing.assert_array_equal(left[3]['img'], pairs[3, 0])
    np.testing.assert_array_equal(left.get_gt_labels(), labels)


@pytest.mark.parametrize('stereo', ['views', 'channels', 'left'])
@pytest.mark.parametrize(
    'argument, column, familiar', [('azimuth', 2, {30, 32, 34, 0, 2, 4}), ('elevation', 1, {0, 1, 2})]
)
def test_smallnorb_viewpoints_are_disjoint_and_complete(tmp_path, stereo, argument, column, familiar):
    arrays = norb_arrays()
    write_norb(tmp_path, arrays)
    values = arrays['info'][:, column]
    found = {}
    for choice in ('familiar', 'novel', 'all'):
        dataset = SmallNORB(str(tmp_path), stereo=stereo, **{argument: choice})
        found[choice] = pair_numbers(dataset)
        assert len(dataset) == len(found[choice]) * (2 if stereo == 'views' else 1)
        np.testing.assert_array_equal(dataset.info, arrays['info'].repeat(2 if stereo == 'views' else 1, axis=0))
        assert dataset.get_gt_labels().sum() * len(found[choice]) == len(dataset) * sum(
            arrays['cat'][number] for number in found[choice]
        )
    assert {int(values[number]) for number in found['familiar']} == familiar
    assert found['familiar'] | found['novel'] == found['all'] == set(range(len(values)))
    assert not found['familiar'] & found['novel']
    assert len(found['familiar']) * 3 == len(values)


def test_smallnorb_both_viewpoints(tmp_path):
    write_norb(tmp_path, norb_arrays())
    dataset = SmallNORB(str(tmp_path), stereo='left', azimuth='familiar', elevation='novel')
    assert len(dataset) == 5 * 6 * 6


@pytest.mark.parametrize('argument', ['stereo', 'azimuth', 'elevation'])
def test_smallnorb_unknown_argument(tmp_path, argument):
    with pytest.raises(ValueError, match=f"{argument} must be one of .*, not 'both'"):
        SmallNORB(str(tmp_path), **{argument: 'both'})


def test_smallnorb_missing(tmp_path):
    arrays = norb_arrays()
    del arrays['info']
    write_norb(tmp_path, arrays)
    with pytest.raises(FileNotFoundError) as error:
        SmallNORB(str(tmp_path))
    for part in (f'{TRAIN}-info.mat', str(tmp_path), 'int32 [n, 4]', 'https://'):
        assert part in str(error.value)


def test_smallnorb_wrong_files(tmp_path):
    arrays = norb_arrays()

    def load(**changed):
        write_norb(tmp_path, arrays | changed)
        return SmallNORB(str(tmp_path))

    with pytest.raises(ValueError, match=r'810, 809 and 810'):
        load(cat=arrays['cat'][:-1])
    with pytest.raises(ValueError, match=r'-dat.mat.gz: expected uint8 \[n, 2, height, width\].*found int32 \[810\]'):
        load(dat=arrays['cat'])
    with pytest.raises(ValueError, match=r'-dat.mat.gz: .*found uint8 \[810, 1, 8, 8\]'):
        load(dat=arrays['dat'][:, :1].copy())
    with pytest.raises(ValueError, match=r'-info.mat.gz: expected int32 \[n, 4\].*found int32 \[810, 3\]'):
        load(info=arrays['info'][:, :3].copy())
    with pytest.raises(ValueError, match=r'column 2 of the info file.*found \[38\]'):
        load(info=np.where(arrays['info'] == 34, 38, arrays['info']).astype(np.int32))
    with pytest.raises(ValueError, match=r'labels must be 0 to 4, found \[5\]'):
        load(cat=arrays['cat'] + 1)
    write(tmp_path / f'{TRAIN}-cat.mat', norb_bytes(arrays['cat'])[:-3])
    with pytest.raises(ValueError, match='-cat.mat: .*truncated'):
        load()


def test_real_kicad_norb(repository):
    root = repository / 'data' / 'kicad-norb'
    if not root.exists():
        pytest.skip(f'{root} is absent')
    train = SmallNORB(str(root), stereo='channels', azimuth='familiar')
    test = SmallNORB(str(root), split='test', stereo='views', elevation='novel')
    assert len(train) == 8100 // 3 and len(test) == 2 * 8100 * 2 // 3
    assert train[0]['img'].shape == (96, 96, 2) and test[0]['img'].shape == (96, 96)
    assert np.bincount(train.get_gt_labels()).tolist() == [540] * 5
    # The images of a pair show one object from two close viewpoints.
    left, right = np.moveaxis(train[0]['img'], -1, 0).reshape(2, -1)
    assert not np.array_equal(left, right)
    assert np.corrcoef(left, right)[0, 1] > 0.5


def test_missing_files_of_data_in_the_format_of_smallnorb(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'norb-v1.0-small/$'):
        SmallNORB(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r'\. Rendered here\.$'):
        SmallNORB(str(tmp_path), source='Rendered here.')
