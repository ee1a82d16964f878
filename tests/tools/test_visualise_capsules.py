"""``tools/visualise_capsules.py`` on Digits, with briefly trained networks."""

import json

import numpy as np
import pytest
import torch
from mmpretrain import get_model
from mmpretrain.registry import DATASETS
from PIL import Image

from rescaps_plugin.cli.config import load_config
from tests.tools.digits import train_epoch

PICTURES = ('activations.png', 'equivariance.png', 'part_whole.png')


@pytest.fixture(scope='module')
def rescaps(repository, tmp_path_factory):
    """Config and checkpoint of a ResCaps."""
    config = str(repository / 'configs/rescaps/digits.py')
    checkpoint = tmp_path_factory.mktemp('rescaps') / 'model.pth'
    torch.save({'state_dict': train_epoch(config).state_dict()}, checkpoint)
    return config, str(checkpoint)


@pytest.fixture
def untrained(repository, tmp_path):
    """Write a checkpoint of a config's untrained network."""

    def write(name):
        config = str(repository / 'configs' / f'{name}.py')
        torch.manual_seed(0)
        checkpoint = tmp_path / 'untrained.pth'
        torch.save({'state_dict': get_model(load_config(config)).state_dict()}, checkpoint)
        return config, str(checkpoint)

    return write


@pytest.fixture
def visualise(load_tool, tmp_path, monkeypatch):
    """Call the tool in this process and return its results."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        load_tool('visualise_capsules').main(['--device', 'cpu', '--out-dir', 'out', *map(str, arguments)])
        return json.loads((tmp_path / 'out/capsules.json').read_text())

    return call


def colours(path):
    """Return the number of different colours of a picture."""
    return len(np.unique(np.asarray(Image.open(path).convert('RGB')).reshape(-1, 3), axis=0))


def test_command_line(run_tool, rescaps, tmp_path):
    result = run_tool('visualise_capsules', *rescaps, '--images', 2, '--curve-images', 24)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / 'work_dirs/digits/capsules'
    assert f'to {folder.relative_to(tmp_path)}' in result.stdout
    for name in PICTURES:
        assert colours(folder / name) > 100, name
    numbers = json.loads((folder / 'capsules.json').read_text())
    assert numbers['images'] == 24
    for found in numbers['equivariance'].values():
        middle = len(found['transforms']) // 2
        assert found['transforms'][middle] == 0
        layers = found['layers']
        assert list(layers) == [*(f'blocks.{block}.routing2' for block in range(4)), 'head.caps.routing']
        for layer in layers.values():
            assert layer['activation'][middle] == layer['pose'][middle] == 0
            assert layer['residual'][middle] < 1e-4
            # Larger rotations and shifts change more: compare the ends with the neighbours of the centre.
            assert min(layer['pose'][0], layer['pose'][-1]) > max(layer['pose'][middle - 1], layer['pose'][middle + 1])
    parts = numbers['part_whole']
    assert list(parts['kernel norms']) == list(parts['lost without the part'])
    for matrices in parts.values():
        for name, matrix in matrices.items():
            assert np.shape(matrix) == ((10, 10) if name.startswith('head') else (4, 4))
            np.testing.assert_allclose(np.sum(matrix, axis=1), 1, atol=1e-5)


def test_files_instead_of_the_test_set(visualise, rescaps, tmp_path):
    digits = DATASETS.build(dict(type='Digits', split='test', pipeline=[]))
    indices = [index * len(digits) // 3 for index in range(3)]
    (tmp_path / 'files').mkdir()
    for number, index in enumerate(indices):
        Image.fromarray(digits[index]['img']).save(tmp_path / f'files/{number}.png')
    of_files = visualise(*rescaps, 'files', '--curve-images', 3)
    of_set = visualise(*rescaps, '--curve-images', 3)
    assert of_files['part_whole'] == of_set['part_whole']
    assert of_files['equivariance'] == of_set['equivariance']
    filled = visualise(*rescaps, '--curve-images', 3, '--fill', 255)
    assert filled['part_whole'] == of_set['part_whole'] and filled['equivariance'] != of_set['equivariance']
    one = visualise(*rescaps, 'files/0.png')
    layer = one['equivariance']['rotation, degrees']['layers']['blocks.0.routing2']
    assert layer['residual'] is None and layer['pose'][0] > 0
    examples = [found['equivariance']['rotation, degrees']['example'] for found in (one, of_files)]
    assert examples[0]['capsule'] == examples[1]['capsule']
    np.testing.assert_allclose(examples[0]['pose'], examples[1]['pose'], atol=1e-4)


@pytest.mark.parametrize('to_rgb', [True, False])
def test_a_red_picture_is_red(visualise, untrained, tmp_path, to_rgb):
    """Files are loaded as BGR, whatever the network's channel order."""
    Image.new('RGB', (32, 32), (220, 20, 40)).save(tmp_path / 'red.png')
    config, checkpoint = untrained('rescaps/cifar10_small')
    own = tmp_path / 'own.py'
    own.write_text(
        f'_base_ = {config!r}\n'
        "load = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]\n"
        "test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=load))\n"
        f'data_preprocessor = dict(to_rgb={to_rgb})\n'
    )
    visualise(own, checkpoint, 'red.png', '--curve-images', 1)
    picture = np.asarray(Image.open(tmp_path / 'out/activations.png').convert('RGB')).astype(int)
    assert (abs(picture - (220, 20, 40)).max(axis=2) < 3).sum() > 1000
    assert (abs(picture - (40, 20, 220)).max(axis=2) < 3).sum() == 0


@pytest.mark.parametrize(
    ('name', 'layers'),
    [
        ('capsnet/capsnet_digits', {'head.routing': (10, 8)}),
        ('em_caps/em_caps_digits', {'layers.0.routing': (4, 4), 'head.routing': (10, 4)}),
        ('srcaps/srcaps_digits', {'head.routing': (10, 4)}),
    ],
)
def test_other_routings(visualise, untrained, name, layers, tmp_path):
    numbers = visualise(*untrained(name), '--images', 1, '--curve-images', 6)
    assert list(numbers['part_whole']) == ['lost without the part']  # only residual pose routing has kernels
    found = numbers['part_whole']['lost without the part']
    assert {layer: np.shape(found[layer]) for layer in layers} == layers
    assert all(colours(tmp_path / 'out' / picture) > 50 for picture in PICTURES)


@pytest.mark.parametrize(
    ('name', 'arguments', 'message'),
    [
        ('rescaps/digits_ones', ['--out-dir', 'broken.png'], '--out-dir cannot be written: broken.png'),
        ('resnet_cifar/resnet18_digits', [], 'resnet18_digits.py: the model has no capsule layers'),
        ('rescaps/digits_ones', ['nowhere.png'], 'INPUT nowhere.png does not exist'),
        ('rescaps/digits_ones', ['broken.png'], 'broken.png: not an image'),
    ],
)
def test_mistakes(visualise, untrained, tmp_path, name, arguments, message):
    (tmp_path / 'broken.png').write_text('no image')
    with pytest.raises(SystemExit) as stop:
        visualise(*untrained(name), *arguments)
    assert message in str(stop.value.code)
