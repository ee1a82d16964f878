"""Every config of configs/rescaps builds, fits its data, and equals the timm model of the same name."""

from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs' / 'rescaps'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))
CHANNELS_AND_SIZE = {
    'affnist': (1, 40),
    'cifar10': (3, 32),
    'cifar100': (3, 32),
    'digits': (1, 16),
    'fashion': (1, 28),
    'image': (3, 64),
    'imagenet': (3, 224),
    'kicad': (1, 32),
    'mnist': (1, 28),
    'smallnorb': (1, 32),
}


@pytest.mark.parametrize('name', NAMES)
def test_config_fits_its_images_and_classes(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    channels, size = CHANNELS_AND_SIZE[name.split('_')[0]]
    # Only shapes are tested, and networks of two blocks for 100 classes are large.
    with torch.device('meta'):
        model = MODELS.build(cfg.model).eval()
        scores = model(torch.zeros(1, channels, size, size), mode='tensor')
    assert scores.shape == (1, cfg.data_preprocessor.num_classes)
    assert len(cfg.data_preprocessor.get('mean', [0] * channels)) == channels


@pytest.mark.parametrize('name', NAMES)
def test_schedule_spans_the_training(name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert cfg.param_scheduler.type == 'CycleLR' and 'end' not in cfg.param_scheduler
    assert cfg.param_scheduler.rise == 0.3


@pytest.mark.parametrize(
    ('config', 'model'),
    [(f'{name}{variant}', f'rescaps_{timm_name}{variant}')
     for name, timm_name in [(n, n) for n in ('mnist', 'affnist', 'smallnorb')] + [('cifar10', 'cifar')]
     for variant in ('', '_2b', '_3l', '_2b_3l')]
    + [('imagenet', 'rescaps_imagenet')],
)  # fmt: skip
def test_config_is_the_timm_model(config, model):
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        ours = MODELS.build(cfg.model)
        expected = timm.create_model(model).state_dict()
    shapes = {
        name.removeprefix('backbone.').replace('head.caps.', 'head.'): value.shape
        for name, value in ours.state_dict().items()
    }
    assert shapes == {name: value.shape for name, value in expected.items()}
