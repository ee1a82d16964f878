"""``tools/prepare_affnist.py`` on test files in MNIST's format with synthetic digits."""

import hashlib
import struct

import numpy as np
import pytest

from rescaps_plugin.classification.datasets import IDXMNIST, AffNIST
from rescaps_plugin.classification.datasets.array_files import idx_header
from rescaps_plugin.classification.prepare_affnist_command import transform_digits


@pytest.fixture(scope='module')
def mnist(tmp_path_factory):
    """Synthetic digits: bars of random length, thickness and position."""
    folder = tmp_path_factory.mktemp('mnist')
    rng = np.random.RandomState(0)
    images = np.zeros((10000, 28, 28), np.uint8)
    for image, (top, left, height, width) in zip(images, rng.randint(4, 12, (10000, 4)), strict=True):
        image[top : top + height, left : left + width] = 255
    labels = rng.randint(0, 10, 10000).astype(np.uint8)
    for name, array in (('images-idx3', images), ('labels-idx1', labels)):
        (folder / f't10k-{name}-ubyte').write_bytes(idx_header(array.shape) + array.tobytes())
    return folder


@pytest.fixture(scope='module')
def few_digits(mnist):
    digits = IDXMNIST(str(mnist), split='test', lazy_init=True)
    images, labels = digits.load_arrays()
    return images[:200], labels[:200]


@pytest.fixture
def prepare(load_tool, monkeypatch, few_digits):
    """Run the tool on the first 200 digits only."""
    monkeypatch.setattr(IDXMNIST, 'load_arrays', lambda self: few_digits)
    return load_tool('prepare_affnist').main


def test_command(run_tool, mnist, tmp_path):
    finished = run_tool('prepare_affnist', mnist, 'made', '--per-digit', 1)
    assert finished.returncode == 0, finished.stderr
    assert '10000 images and 10000 labels are in made' in finished.stdout
    assert sorted(path.name for path in (tmp_path / 'made').iterdir()) == [
        'affnist-test-images-idx4-ubyte',
        'affnist-test-labels-idx1-ubyte',
    ]
    dataset = AffNIST(str(tmp_path / 'made'), per_digit=1)
    original = IDXMNIST(str(mnist), split='test')
    np.testing.assert_array_equal(dataset.get_gt_labels(), original.get_gt_labels())
    # Only scaling, by up to 1.2 in each direction, changes the ink.
    ratio = dataset.images.sum(axis=(1, 2)) / original.images.sum(axis=(1, 2), dtype=int)
    assert 0.6 < ratio.min() < 0.75 and 1.3 < ratio.max() < 1.5
    assert ratio.mean() == pytest.approx(1, abs=0.01)


def test_images_depend_on_seed_digit_and_number_alone(prepare, tmp_path, few_digits):
    made = {}
    for name, options in dict(few=('--per-digit', '2'), more=('--per-digit', '5'), other=('--seed', '1')).items():
        prepare(['mnist', str(tmp_path / name), *options])
        made[name] = AffNIST(str(tmp_path / name), per_digit=5 if name == 'more' else 2)
    few, more, other = (made[name].images for name in ('few', 'more', 'other'))
    assert len(few) == 400 and len(more) == 1000
    np.testing.assert_array_equal(few, more[:400])
    np.testing.assert_array_equal(made['few'].get_gt_labels(), np.tile(few_digits[1], 2))
    assert (few != other).any(axis=(1, 2)).mean() > 0.99
    np.testing.assert_array_equal(list(transform_digits(few_digits[0][:30], 0, 1)), few[200:230])
    # The data set is the same on every machine and with every version of the libraries.
    assert hashlib.sha256(few.tobytes()).hexdigest()[:16] == 'dda966b757d70cde'


def test_whole_set(prepare, tmp_path):
    prepare(['mnist', str(tmp_path)])
    assert len(AffNIST(str(tmp_path))) == 32 * 200
    header = (tmp_path / 'affnist-test-images-idx4-ubyte').read_bytes()[:20]
    assert struct.unpack('>5I', header) == (0x804, 32, 200, 40, 40)


def test_interrupted_run_leaves_no_set(prepare, tmp_path, monkeypatch, few_digits):
    def fail(self):
        images, labels = few_digits
        return np.concatenate([images, np.full((1, 28, 28), 255, np.uint8)]), labels  # too large for the canvas

    monkeypatch.setattr(IDXMNIST, 'load_arrays', fail)
    with pytest.raises(ValueError, match='does not fit'):
        prepare(['mnist', str(tmp_path)])
    with pytest.raises(FileNotFoundError):
        AffNIST(str(tmp_path))


def test_folder_that_cannot_be_written_is_told_before_digits_are_read(prepare, tmp_path, monkeypatch):
    monkeypatch.setattr(IDXMNIST, 'load_arrays', None)
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match='OUT cannot be written'):
        prepare(['mnist', str(tmp_path / 'file')])


@pytest.mark.parametrize('number', ['0', '33'])
def test_per_digit_border(prepare, capsys, number):
    with pytest.raises(SystemExit, match='2'):
        prepare(['mnist', 'made', '--per-digit', number])
    assert '--per-digit' in capsys.readouterr().err
