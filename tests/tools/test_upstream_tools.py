"""Our configs with mmpretrain's own tools and API."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import MODELS
from PIL import Image

from rescaps_plugin.cli.config import load_config

TOOLS = Path(find_spec('mmpretrain').submodule_search_locations[0], '.mim', 'tools')


@pytest.fixture(scope='module')
def digits(repository, tmp_path_factory):
    """A checkpoint of an untrained network with random statistics, and its config."""
    path = repository / 'configs' / 'rescaps' / 'digits.py'
    cfg = load_config(str(path))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.train()
    for _ in range(10):
        model(torch.randn(32, 1, 16, 16), mode='tensor')
    checkpoint = tmp_path_factory.mktemp('digits') / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), checkpoint)
    return path, checkpoint


@pytest.fixture
def run(repository, tmp_path):
    def run(tool, *arguments):
        result = subprocess.run(
            [sys.executable, TOOLS / tool, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1'},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout + result.stderr

    return run


def accuracy(work_dir):
    (path,) = (path for path in work_dir.glob('*/*.json') if 'vis_data' not in str(path))
    return json.loads(path.read_text())['accuracy/top1']


@pytest.mark.slow
def test_reparameterized_checkpoint_tests_the_same(digits, run, tmp_path):
    config, checkpoint = digits
    run('model_converters/reparameterize_model.py', config, checkpoint, tmp_path / 'deploy.pth')
    deployed = torch.load(tmp_path / 'deploy.pth', weights_only=True)['state_dict']
    assert 'backbone.blocks.0.routing1.pose_conv.weight' in deployed
    assert not any(name.startswith('backbone') and 'norm' in name for name in deployed)
    run('test.py', config, checkpoint, '--work-dir', tmp_path / 'training')
    deploy = ('--cfg-options', 'model.backbone.deploy=True')
    run('test.py', config, tmp_path / 'deploy.pth', '--work-dir', tmp_path / 'deploy', *deploy)
    assert accuracy(tmp_path / 'training') == accuracy(tmp_path / 'deploy')


@pytest.mark.slow
def test_train_and_count_flops(digits, run, tmp_path):
    config, _ = digits
    small = ('train_dataloader.dataset.indices=64', 'val_dataloader.dataset.indices=32', 'train_cfg.max_epochs=1')
    run('train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options', *small)
    assert torch.load(tmp_path / 'work' / 'epoch_1.pth', weights_only=True)['meta']['epoch'] == 1
    output = run('analysis_tools/get_flops.py', config.with_name('cifar10_small.py'), '--shape', 32)
    assert 'Params: 1.739M' in output


def test_inferencer_classifies_files(repository, tmp_path):
    cfg = load_config(str(repository / 'configs' / 'rescaps' / 'cifar10_small.py'))
    cfg.model.backbone.capsule_types = (2, 2, 2, 2)
    cfg.model.head.in_channels = 34
    classes = ['cat', 'dog', *'abcdefgh']
    inferencer = ImageClassificationInferencer(cfg, pretrained=False, device='cpu', classes=classes)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    (result,) = inferencer(str(tmp_path / 'image.png'))
    assert result['pred_class'] in classes
    scores = torch.as_tensor(result['pred_scores'])
    assert result['pred_label'] == scores.argmax() and ((scores > 0) & (scores < 1)).all()
    inputs = torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None]  # files are read as BGR
    with torch.no_grad():
        data = inferencer.model.data_preprocessor(dict(inputs=inputs))
        torch.testing.assert_close(inferencer.model(**data, mode='tensor')[0], scores)


def test_inferencer_of_a_config_whose_data_set_is_of_files(repository, tmp_path):
    cfg = load_config(str(repository / 'configs' / 'rescaps' / 'image_folder.py'))
    inferencer = ImageClassificationInferencer(cfg, pretrained=False, device='cpu', classes=['cat', 'dog'])
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    (result,) = inferencer(str(tmp_path / 'image.png'))
    assert result['pred_class'] in ('cat', 'dog')


def test_inferencer_classifies_files_for_a_network_of_one_channel(digits, tmp_path):
    config, checkpoint = digits
    inferencer = ImageClassificationInferencer(str(config), pretrained=str(checkpoint), device='cpu')
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    Image.fromarray(pixels).convert('RGB').save(tmp_path / 'colour.png')
    grey, colour, array = inferencer([str(tmp_path / 'image.png'), str(tmp_path / 'colour.png'), pixels])
    sample = inferencer.pipeline(dict(img=pixels, img_shape=(8, 8), ori_shape=(8, 8)))
    assert sample['inputs'].shape == (1, 16, 16)
    with torch.no_grad():
        data = inferencer.model.data_preprocessor(dict(inputs=sample['inputs'][None]))
        scores = inferencer.model(**data, mode='tensor')[0]
    for result in (grey, colour, array):
        torch.testing.assert_close(torch.as_tensor(result['pred_scores']), scores)
