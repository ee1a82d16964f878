"""Every config of ICON and TSPOANet builds, trains on a batch and predicts maps at the original image size."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import rescaps_plugin.saliency  # noqa: F401
from rescaps_plugin.layers import EMRouting, ResidualPoseRouting

ROOT = Path(__file__).parents[2] / 'configs'
NAMES = sorted(f'{family}/{path.stem}' for family in ('icon', 'tspoanet') for path in (ROOT / family).glob('*.py'))
PAPER = [name for name in NAMES if name.endswith('_duts')]
SMALL = [name for name in NAMES if 'efficientnet-lite0' in name]


def load(name):
    cfg = Config.fromfile(ROOT / f'{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


def build(cfg):
    """Build the network, with one layer per stage of Swin-B, and without allocating weights."""
    if cfg.model.backbone.type == 'SwinTransformer':
        # Built on the CPU, as stochastic depth rates are read from a tensor.
        cfg.model.backbone.depths = [1, 1, 1, 1]
        return MODELS.build(cfg.model).to('meta')
    with torch.device('meta'):
        return MODELS.build(cfg.model)


def test_configs_of_the_paper_exist():
    icon = {f'icon/icon-{backbone}{routing}_duts' for backbone in 'vsr' for routing in ('', '-rpr')}
    assert set(PAPER) == icon | {f'tspoanet/tspoanet{routing}_duts' for routing in ('', '-em', '-rpr')}


@pytest.mark.parametrize('name', NAMES)
def test_routing_matches_the_name(name):
    model = build(load(name))
    em, rpr = (sum(isinstance(layer, kind) for layer in model.modules()) for kind in (EMRouting, ResidualPoseRouting))
    if '-rpr' in name:
        assert (em, rpr) == (0, 4)
    elif name == 'icon/icon_efficientnet-lite0_ecssd':
        assert (em, rpr) == (0, 0)
    else:
        layers = 1 if name.startswith('icon') else 5 if name == 'tspoanet/tspoanet_duts' else 3
        assert (em, rpr) == (layers, 0)


@pytest.mark.parametrize('name', NAMES)
def test_head_fits_its_backbone(name):
    cfg = load(name)
    # Not square, and with sizes that strides do not divide.
    maps = build(cfg).eval().extract_feat(torch.zeros(1, 3, 99, 130, device='meta'))
    assert [level.shape[1] for level in maps] == cfg.model.decode_head.in_channels
    strides = [round(99 / level.shape[2]) for level in maps]
    finest = 1 if name.endswith('_duts') else 2
    if name.startswith('icon'):
        finest = 2 if '-v' in name else 4
    assert strides[0] == finest


@pytest.mark.parametrize('name', NAMES)
def test_learning_rates_of_backbone_and_head(name):
    cfg = load(name)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    assert 'end' not in cfg.param_scheduler  # set by the training
    if name.endswith('_duts'):
        assert cfg.optim_wrapper.optimizer.lr == (2e-3 if '-s' in name else 0.05)
        assert cfg.train_dataloader.batch_size == (6 if '-s' in name else 8)
        assert cfg.model.data_preprocessor.test_size == (384 if '-s' in name else 352)


@pytest.mark.parametrize('name', SMALL)
def test_config_learns_and_predicts(name):
    cfg = load(name)
    cfg.model.data_preprocessor.update(train_sizes=[64], test_size=(48, 64))
    model = MODELS.build(cfg.model)
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, 50, 70), generator=generator, dtype=torch.uint8) for _ in range(2)]
    samples = [SegDataSample(metainfo=dict(ori_shape=(50, 70), img_shape=(50, 70))) for _ in images]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(2, (1, 50, 70), generator=generator))
    losses = model.train().train_step(
        dict(inputs=images, data_samples=[sample.clone() for sample in samples]),
        OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01)),
    )
    assert torch.isfinite(losses['loss'])
    for sample in model.eval().test_step(dict(inputs=images, data_samples=samples)):
        saliency = sample.seg_logits.data
        assert saliency.shape == (1, 50, 70)
        assert (saliency >= 0).all() and (saliency <= 1).all()
