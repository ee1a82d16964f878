"""Every data set config loads batches from synthetic files in the real formats, and from the real files."""

import pickle
import struct
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.datasets import CIFAR10
from mmpretrain.models import ClsDataPreprocessor

import rescaps_plugin.classification  # noqa: F401

NORB_STEMS = ('smallnorb-5x46789x9x18x6x2x96x96-training', 'smallnorb-5x01235x9x18x6x2x96x96-testing')


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack(f'>BBBB{array.ndim}I', 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def bars(*shape):
    """Images with ink that place_affine can place."""
    images = np.zeros(shape, np.uint8)
    images[..., 8:20, 10:14] = 200
    return images


def stand_in_mnist(folder):
    for prefix, count in (('train', 60000), ('t10k', 10000)):
        write_idx(folder / f'{prefix}-images-idx3-ubyte', bars(count, 28, 28))
        write_idx(folder / f'{prefix}-labels-idx1-ubyte', (np.arange(count) % 10).astype(np.uint8))


def stand_in_affnist(folder):
    write_idx(folder / 'affnist-test-images-idx4-ubyte', bars(32, 128, 40, 40))
    write_idx(folder / 'affnist-test-labels-idx1-ubyte', (np.arange(128) % 10).astype(np.uint8))


def stand_in_smallnorb(folder):
    count = 200
    labels, pairs = (
        np.arange(count, dtype='<i4') % 5,
        np.random.RandomState(0).randint(0, 256, (count, 2, 96, 96), np.uint8),
    )
    info = np.zeros((count, 4), '<i4')
    for stem in NORB_STEMS:
        for kind, magic, dims, array in (
            ('dat', 0x1E3D4C55, (4, count, 2, 96, 96), pairs),
            ('cat', 0x1E3D4C54, (1, count, 1, 1), labels),
            ('info', 0x1E3D4C54, (2, count, 4, 1), info),
        ):
            header = struct.pack(f'<{1 + len(dims)}I', magic, *dims)
            (folder / f'{stem}-{kind}.mat').write_bytes(header + array.tobytes())


def stand_in_cifar(folder):
    batch = dict(data=np.zeros((128, 3072), np.uint8), labels=[0] * 128)
    for name in (*(f'data_batch_{number}' for number in range(1, 6)), 'test_batch'):
        path = folder / 'cifar-10-batches-py' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(batch))
    for name in ('train', 'test'):
        path = folder / 'cifar-100-python' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(dict(data=np.zeros((128, 3072), np.uint8), fine_labels=[99] * 128)))


def stand_in_folders(folder):
    for split in ('train', 'test'):
        for name in CIFAR10.METAINFO['classes']:
            images = folder / split / name
            images.mkdir(parents=True)
            for image in range(16):
                cv2.imwrite(str(images / f'{image}.jpg'), np.full((32, 32, 3), 10 * image, np.uint8))


def stand_in_hundred_folders(folder):
    for split in ('train', 'test'):
        for label in range(100):
            images = folder / split / f'{label:02d}'
            images.mkdir(parents=True)
            for image in range(5):
                cv2.imwrite(str(images / f'{image}.png'), np.full((32, 32, 3), 2 * label, np.uint8))


def stand_in_imagenet(folder):
    (folder / 'meta').mkdir()
    for split in ('train', 'val'):
        (folder / split).mkdir()
        lines = []
        for number in range(128):
            name = f'{number}.jpg'
            cv2.imwrite(str(folder / split / name), np.full((60, 80, 3), number, np.uint8))
            lines.append(f'{name} {number * 7}')
        (folder / 'meta' / f'{split}.txt').write_text('\n'.join(lines))


CONFIGS = {
    'digits': (None, 10, (1, 16, 16)),
    'mnist': (stand_in_mnist, 10, (1, 28, 28)),
    'fashion_mnist': (stand_in_mnist, 10, (1, 28, 28)),
    'affnist': (stand_in_affnist, 10, (1, 40, 40)),
    'smallnorb': (stand_in_smallnorb, 5, (1, 32, 32)),
    'kicad_norb': (stand_in_smallnorb, 5, (1, 32, 32)),
    'cifar10': (stand_in_cifar, 10, (3, 32, 32)),
    'cifar100': (stand_in_cifar, 100, (3, 32, 32)),
    'cifar10_folder': (stand_in_folders, 10, (3, 32, 32)),
    'cifar10_jpeg': (stand_in_folders, 10, (3, 32, 32)),
    'cifar100_folder': (stand_in_hundred_folders, 100, (3, 32, 32)),
    'imagenet': (stand_in_imagenet, 1000, (3, 224, 224)),
}


def load_config(repository, name):
    return Config.fromfile(str(repository / 'configs' / '_base_' / 'datasets' / f'{name}.py'))


def first_batches(config, phase, count=1):
    """Return the first batches of a loader, preprocessed."""
    preprocessor = ClsDataPreprocessor(**config.data_preprocessor)
    torch.manual_seed(0)
    np.random.seed(0)
    options = dict(config[f'{phase}_dataloader'])
    # Starting workers takes seconds and is not tested here.
    options.update(num_workers=0, persistent_workers=False)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(options)
        return [preprocessor(batch, training=phase == 'train') for batch in islice(loader, count)]


def check(config, num_classes, shape):
    for phase in ('train', 'val', 'test'):
        (batch,) = first_batches(config, phase)
        size = config[f'{phase}_dataloader'].batch_size
        assert batch['inputs'].shape == (size, *shape), phase
        assert batch['inputs'].dtype == torch.float32 and batch['inputs'].isfinite().all()
        labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
        assert labels.shape == (size,) and 0 <= labels.min() and labels.max() < num_classes
    assert config.data_preprocessor.num_classes == num_classes
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        for phase in ('val', 'test'):
            (metric,) = Evaluator(config[f'{phase}_evaluator']).metrics
            assert metric.topk == ((1,) if num_classes <= 10 else (1, 5))


def test_every_config_is_tested(repository):
    names = {path.stem for path in (repository / 'configs' / '_base_' / 'datasets').glob('*.py')}
    # Configs of other tasks are tested in tests/configs.
    classification = {name for name in names if load_config(repository, name).val_evaluator.type == 'Accuracy'}
    # image_folder.py is tested in tests/configs/test_image_folder.py.
    assert classification - {'image_folder'} == set(CONFIGS)


@pytest.mark.parametrize('name', CONFIGS)
def test_config_on_stand_ins(repository, tmp_path, monkeypatch, name):
    stand_in, num_classes, shape = CONFIGS[name]
    config = load_config(repository, name)
    if stand_in is not None:
        stand_in(tmp_path)
        if name == 'affnist':
            stand_in_mnist(tmp_path)
        for phase in ('train', 'val', 'test'):
            dataset = config[f'{phase}_dataloader'].dataset
            assert dataset.data_root.startswith('data/')
            dataset.data_root = str(tmp_path)
    # Synthetic files have other checksums than the real data.
    monkeypatch.setattr(CIFAR10, '_check_integrity', lambda self: True)
    check(config, num_classes, shape)


@pytest.mark.parametrize('name', CONFIGS)
def test_workers_and_persistence_agree(repository, name):
    config = load_config(repository, name)
    for phase in ('train', 'val', 'test'):
        loader = config[f'{phase}_dataloader']
        assert loader.batch_size == 128 or (name, phase) in {('cifar100_folder', 'val'), ('cifar100_folder', 'test')}
        assert loader.persistent_workers == (loader.num_workers > 0)
        assert loader.sampler == dict(type='DefaultSampler', shuffle=phase == 'train')


@pytest.mark.parametrize(
    'name, folder',
    [
        ('digits', '.'),
        ('mnist', 'mnist'),
        ('kicad_norb', 'kicad-norb'),
        ('cifar10_folder', 'cifar10'),
        ('cifar10_jpeg', 'cifar10-jpeg'),
    ],
)
def test_config_on_real_data(repository, monkeypatch, name, folder):
    root = repository / 'data' / folder
    if not root.exists() and name != 'digits':
        pytest.skip(f'{root} is absent')
    monkeypatch.chdir(repository)
    _, num_classes, shape = CONFIGS[name]
    config = load_config(repository, name)
    check(config, num_classes, shape)
    if 'mean' not in config.data_preprocessor:
        return
    # Mean and standard deviation are those of the training images before padding.
    config.train_dataloader.dataset.pipeline = config.test_pipeline
    inputs = torch.cat([batch['inputs'] for batch in first_batches(config, 'train', count=8)])
    torch.testing.assert_close(inputs.mean(dim=(0, 2, 3)), torch.zeros(shape[0]), atol=0.12, rtol=0)
    torch.testing.assert_close(inputs.std(dim=(0, 2, 3)), torch.ones(shape[0]), atol=0.12, rtol=0)


def test_folder_images_come_as_rgb(repository, tmp_path):
    for split in ('train', 'test'):
        for name in CIFAR10.METAINFO['classes']:
            (tmp_path / split / name).mkdir(parents=True)
            for image in range(13):
                red = np.full((32, 32, 3), (0, 0, 255), np.uint8)  # BGR
                cv2.imwrite(str(tmp_path / split / name / f'{image}.png'), red)
    config = load_config(repository, 'cifar10_folder')
    for phase in ('train', 'val', 'test'):
        config[f'{phase}_dataloader'].dataset.data_root = str(tmp_path)
        (batch,) = first_batches(config, phase)
        red, green, blue = batch['inputs'][:, :, 16, 16].mean(dim=0)
        assert red > 1 and green < -1 and blue < -1
