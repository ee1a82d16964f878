"""Folders of images: complete ones are read, errors name missing or unexpected folders."""

import cv2
import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets import ImageFolder, ImageNetFolder
from rescaps_plugin.classification.datasets.array_files import DataError

SOURCE = 'Get it from https://example.org/images'
LETTERS = ('a', 'b', 'c')


def make(folder, *names, images=2):
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(images):
            cv2.imwrite(str(folder / name / f'{number}.png'), np.zeros((4, 4, 3), np.uint8))


def load(folder, classes=LETTERS, **arguments):
    metainfo = {} if classes is None else dict(classes=classes)
    return ImageFolder(data_root=str(folder), data_prefix='train', metainfo=metainfo, source=SOURCE, **arguments)


def test_folders_are_classes(tmp_path):
    make(tmp_path / 'train', *LETTERS)
    for classes in (LETTERS, None):
        dataset = load(tmp_path, classes)
        assert dataset.CLASSES == LETTERS
        assert dataset.get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]
        assert dataset[5]['img_path'].endswith('train/c/1.png')


def test_annotations_and_unlabelled_folders_are_mmpretrains(tmp_path):
    make(tmp_path / 'train', 'x', images=3)
    (tmp_path / 'train.txt').write_text('x/0.png 2\nx/2.png 0\n')
    assert load(tmp_path, ann_file='train.txt').get_gt_labels().tolist() == [2, 0]
    assert len(load(tmp_path, with_label=False)) == 3


def test_missing_files_are_reported_with_instructions(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load(tmp_path)
    expected = f'{tmp_path / "train"} is missing; expected a folder of images (.avif, .bmp, .gif, .jp2, .jpeg,'
    assert str(error.value).startswith(expected) and str(error.value).endswith(SOURCE)
    make(tmp_path / 'train', *LETTERS)
    with pytest.raises(FileNotFoundError, match=f'train.txt is missing; .* an image and its label. {SOURCE}'):
        load(tmp_path, ann_file='train.txt')


@pytest.mark.parametrize(
    ('names', 'classes', 'message'),
    [
        (('a', 'c'), LETTERS, 'named a, b, c; found a, c'),
        (('a', 'b', 'd'), LETTERS, 'named a, b, c; found a, b, d'),
        (LETTERS, ('c', 'b', 'a'), 'named c, b, a; found a, b, c'),
        ((), None, 'found none'),
    ],
)
def test_folders_that_would_shift_labels_are_refused(tmp_path, names, classes, message):
    (tmp_path / 'train').mkdir()
    make(tmp_path / 'train', *names)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, classes)


def test_empty_class_is_refused(tmp_path):
    make(tmp_path / 'train', 'a', 'c')
    make(tmp_path / 'train', 'b', images=0)
    with pytest.raises(ValueError, match='train: no images in b'):
        load(tmp_path)


@pytest.mark.parametrize('classes', [LETTERS, None])
def test_hidden_folders_and_those_of_operating_systems_are_ignored(tmp_path, classes):
    make(tmp_path / 'train', *LETTERS, '.thumbnails', '__MACOSX', '@eaDir')
    dataset = load(tmp_path, classes)
    assert dataset.CLASSES == LETTERS
    assert dataset.get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]


def test_circular_links_are_followed_once(tmp_path):
    """Two circular links would result in 2^40 paths."""
    make(tmp_path / 'train', *LETTERS)
    for name in ('one', 'two'):
        (tmp_path / 'train' / 'b' / name).symlink_to(tmp_path / 'train' / 'b', target_is_directory=True)
    assert load(tmp_path).get_gt_labels().tolist() == [0, 0, 1, 1, 2, 2]
    assert len(load(tmp_path, with_label=False)) == 6


def test_all_image_formats_are_found(tmp_path):
    from PIL import Image

    make(tmp_path / 'train', *LETTERS)
    for suffix in ('avif', 'webp', 'GIF'):
        Image.new('RGB', (4, 4)).save(tmp_path / 'train' / 'b' / f'more.{suffix}')
    assert load(tmp_path).get_gt_labels().tolist() == [0, 0, 1, 1, 1, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ('content', 'classes', 'message'),
    [
        (b'x/0.png\n', LETTERS, 'every line must be an image and the number of its class'),
        (b'x/0.png one\n', LETTERS, 'every line must be an image and the number of its class'),
        (b'x/\xff.png 1\n', LETTERS, 'every line must be .*, in UTF-8'),
        (b'x/0.png 3\nx/2.png -1\n', LETTERS, r'labels must be 0 to 2, found \[-1, 3\]'),
        (b'x/0.png 3\nx/2.png -1\n', None, r'labels must be 0 or more, found \[-1\]'),
    ],
)
def test_invalid_annotations(tmp_path, content, classes, message):
    make(tmp_path / 'train', 'x', images=3)
    (tmp_path / 'train.txt').write_bytes(content)
    with pytest.raises(DataError, match=f'train.txt: {message}'):
        load(tmp_path, classes, ann_file='train.txt')


def test_imagenet_keeps_its_names(tmp_path):
    make(tmp_path / 'train', *(f'n{number:08}' for number in range(1000)), images=1)
    dataset = DATASETS.build(dict(type='ImageNetFolder', data_root=str(tmp_path), split='train'))
    assert isinstance(dataset, ImageNetFolder)
    assert dataset.get_gt_labels().tolist() == list(range(1000))
    assert dataset.CLASSES[0] == 'tench, Tinca tinca'
    with pytest.raises(FileNotFoundError, match=r'val is missing; .*Get it from'):
        ImageNetFolder(data_root=str(tmp_path), split='val', source=SOURCE)
