"""Every config of configs/swap adds residual pose routing to the inherited model, which trains and predicts."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from PIL import Image
from torch import nn

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.layers import RPRConv2d
from rescaps_plugin.layers.fusion import fuse_layers

CONFIGS = Path(__file__).parents[2] / 'configs' / 'swap'
BASES = {path.stem: re.search(r"_base_ = '(.+)'", path.read_text()) for path in sorted(CONFIGS.glob('*.py'))}
NAMES = [name for name, base in BASES.items() if base]
SMALL_RESNET = {'model.backbone.base_channels': 16, 'model.backbone.init_cfg': None}
SMALL_FPN = {'model.neck.in_channels': [64, 128, 256, 512], 'model.neck.out_channels': 32}


def load(name, **options):
    if name.startswith('mmdet::') or name.endswith('_coco'):
        pytest.importorskip('mmdet')
    return load_config(name if '::' in name else str(CONFIGS / f'{name}.py'), options)


def layers(model):
    return [layer for layer in model.modules() if isinstance(layer, RPRConv2d) and layer.capsule_types]


def segmentor(**heads):
    """Options that shrink a segmentor with a ResNet-50, and replace SyncBN for CPUs."""
    options = {**SMALL_RESNET, 'model.pretrained': None}
    for part, changes in dict(backbone={}, **heads).items():
        options[f'model.{part}.norm_cfg'] = dict(type='BN')
        options.update({f'model.{part}.{key}': value for key, value in changes.items()})
    return options


SMALL = {
    'resnet18-rpr_8xb16_cifar10': {'model.backbone.base_channels': 16, 'model.head.in_channels': 128},
    'resnet18-rpr_cifar10-jpeg': {'model.model.channels': (16, 16, 16, 16)},
    'resnet18-quarter-rpr_cifar10-jpeg': {'model.model.channels': (16, 16, 16, 16)},
    'resnet18-quarter-rpr-pointwise_cifar10-jpeg': {'model.model.channels': (16, 16, 16, 16)},
    'resnet50-rpr_8xb32_in1k': {'model.backbone.base_channels': 16, 'model.head.in_channels': 512},
    'vgg16bn-rpr_8xb32_in1k': {
        'model.backbone.num_classes': -1,
        'model.backbone.out_indices': (4,),
        'model.backbone.depth': 11,
        'model.neck': dict(_delete_=True, type='GlobalAveragePooling'),
        'model.head': dict(type='LinearClsHead', num_classes=1000, in_channels=512),
    },
    'swin-tiny-rprneck_16xb64_in1k': {
        'model.backbone.arch': dict(_delete_=True, embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
        'model.neck': [dict(type='RPRNeck', in_channels=128), dict(type='GlobalAveragePooling')],
        'model.head.in_channels': 128,
        'model.train_cfg': None,
    },
    'fcn_r50-d8-rpr_4xb2-40k_cityscapes-512x1024': segmentor(
        decode_head=dict(in_channels=512, channels=32), auxiliary_head=dict(in_channels=256, channels=32)
    ),
    'pspnet_r50-d8-rprplugin_4xb2-40k_cityscapes-512x1024': segmentor(
        decode_head=dict(in_channels=512, channels=32), auxiliary_head=dict(in_channels=256, channels=32)
    ),
    'upernet_r50-rprneck_4xb2-40k_cityscapes-512x1024': {
        **segmentor(
            decode_head=dict(in_channels=[64, 128, 256, 512], channels=32),
            auxiliary_head=dict(in_channels=256, channels=32),
        ),
        'model.neck.in_channels': [64, 128, 256, 512],
    },
    'deeplabv3plus_r50-d8-rpr_4xb2-40k_cityscapes-512x1024': segmentor(
        decode_head=dict(in_channels=512, c1_in_channels=64, c1_channels=16, channels=32),
        auxiliary_head=dict(in_channels=256, channels=32),
    ),
    'retinanet_r50-rpr_fpn_1x_coco': {
        **SMALL_RESNET,
        **SMALL_FPN,
        'model.bbox_head.in_channels': 32,
        'model.bbox_head.feat_channels': 32,
        'model.bbox_head.stacked_convs': 1,
        'model.test_cfg.score_thr': 0.0,
    },
    'faster-rcnn_r50-rpr_fpn_1x_coco': {
        **SMALL_RESNET,
        **SMALL_FPN,
        'model.rpn_head.in_channels': 32,
        'model.rpn_head.feat_channels': 32,
        'model.roi_head.bbox_roi_extractor.out_channels': 32,
        'model.roi_head.bbox_head.in_channels': 32,
        'model.roi_head.bbox_head.fc_out_channels': 32,
        'model.test_cfg.rcnn.score_thr': 0.0,
    },
}


def test_every_config_is_tested_and_documented():
    assert set(SMALL) == set(NAMES)
    page = (CONFIGS / 'README.md').read_text()
    index = (CONFIGS / 'metafile.yml').read_text()
    assert all(f'({name}.py)' in page and f'configs/swap/{name}.py' in index for name in BASES)


def build(cfg):
    init_default_scope(cfg.default_scope)
    if 'data_preprocessor' in cfg:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(cfg.model)


def base_of(name):
    """Options that shrink the inherited model in the same way, without those of the added parts."""
    base = BASES[name][1]
    options = {key: value for key, value in SMALL[name].items() if not key.startswith('model.neck') or 'fpn' in name}
    if name.startswith('resnet18') and 'jpeg' in name:
        base = base.removeprefix('./').removesuffix('.py')
        options = {key.replace('model.model', 'model'): value for key, value in options.items()}
    elif 'vgg' in name:
        options['model.neck'] = SMALL[name]['model.neck']
    return base, options


@pytest.mark.parametrize('name', NAMES)
def test_model_initially_equals_the_inherited_one(name):
    torch.manual_seed(0)
    model = build(load(name, **SMALL[name])).eval()
    base, options = base_of(name)
    original = build(load(base, **options)).eval()
    assert layers(model) and not layers(original)
    original.init_weights()
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 0.5)  # some are initialised to zero, and hide preceding layers
    state = original.state_dict()
    model.init_weights()
    missing = model.load_state_dict(state, strict=False)
    # RPRConv2d loads the state of a plain convolution; plugins and necks do not exist in the original.
    assert not missing.unexpected_keys
    assert all('rpr_plugin' in key or key.startswith('neck.') for key in missing.missing_keys)
    model, original = model.double(), original.double()
    images = torch.randn(1, 3, *[224 if 'swin' in name else 64] * 2, dtype=torch.float64)
    outs = [extract(part, images) for part in (model, original)]
    for out, expected in zip(*outs, strict=True):
        torch.testing.assert_close(out, expected)
    with torch.no_grad():
        for layer in layers(model):
            for parameter in layer.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
    moved = extract(model, images)
    assert not all(torch.allclose(out, expected) for out, expected in zip(moved, outs[1], strict=True))
    for out, expected in zip(extract(fuse_layers(model), images), moved, strict=True):
        torch.testing.assert_close(out, expected)


@torch.no_grad()
def extract(model, images):
    """Return the input features of the head, or the scores of timm networks."""
    features = model(images, mode='tensor') if hasattr(model, 'model') else model.extract_feat(images)
    return features if isinstance(features, (tuple, list)) else [features]


def batch(name):
    from mmengine.structures import PixelData

    size = 224 if 'swin' in name else 64
    inputs = [torch.randint(0, 256, (3, size, size), dtype=torch.uint8) for _ in range(2)]
    if 'cityscapes' not in name:
        return dict(inputs=inputs, data_samples=[DataSample().set_gt_label(label) for label in (1, 2)])
    from mmseg.structures import SegDataSample

    samples = []
    for _ in inputs:
        sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
        sample.gt_sem_seg = PixelData(data=torch.randint(0, 19, (1, 64, 64)))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


@pytest.mark.parametrize('name', [name for name in NAMES if not name.endswith('coco')])
def test_model_trains_and_predicts(name):
    torch.manual_seed(0)
    options = SMALL[name] | ({'model.data_preprocessor.size': (64, 64)} if 'cityscapes' in name else {})
    model = build(load(name, **options))
    model.init_weights()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 0.01))
    data = batch(name)
    model.train()
    residuals = [layer.transform for layer in layers(model)]
    for _ in range(2):
        assert all(loss.isfinite().all() for loss in model.train_step(data, optimizer).values())
    # all except those with zero input after a dead ReLU
    assert sum(residual.any().item() for residual in residuals) > 0.9 * len(residuals)
    predictions = model.eval().test_step(data)
    assert len(predictions) == 2
    if 'cityscapes' in name:
        assert predictions[0].pred_sem_seg.data.shape == (1, 64, 64)
    else:
        assert predictions[0].pred_score.isfinite().all()


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """A data set in COCO format: four images with a bright box each, in two classes."""
    classes = pytest.importorskip('mmdet.datasets').CocoDataset.METAINFO['classes']
    root = tmp_path_factory.mktemp('coco')
    (root / 'images').mkdir()
    random = np.random.default_rng(0)
    images, annotations = [], []
    for number in range(4):
        pixels = random.integers(0, 60, (64, 80, 3), dtype=np.uint8)
        left, top, width, height = (int(value) for value in random.integers((2, 2, 33, 33), (30, 20, 45, 42)))
        pixels[top : top + height, left : left + width, number % 2] = 255
        Image.fromarray(pixels).save(root / 'images' / f'{number}.png')
        images.append(dict(id=number, file_name=f'{number}.png', height=64, width=80))
        box = dict(bbox=[left, top, width, height], area=width * height, iscrowd=0)
        annotations.append(dict(id=number + 1, image_id=number, category_id=1 + number % 2, **box))
    categories = [dict(id=number, name=name) for number, name in enumerate(classes, 1)]
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'boxes.json').write_text(json.dumps(content))
    return root


@pytest.mark.slow
@pytest.mark.parametrize('name', ['retinanet_r50-rpr_fpn_1x_coco', 'faster-rcnn_r50-rpr_fpn_1x_coco'])
def test_detector_trains_and_tests_by_the_tools(name, coco, tmp_path, load_tool, monkeypatch):
    pytest.importorskip('mmdet')
    monkeypatch.chdir(tmp_path)
    options = dict(SMALL[name])
    for phase in ('train', 'val', 'test'):
        loader = f'{phase}_dataloader'
        options[f'{loader}.num_workers'] = 0
        options[f'{loader}.dataset.data_root'] = f'{coco}/'
        options[f'{loader}.dataset.ann_file'] = 'boxes.json'
        options[f'{loader}.dataset.data_prefix.img'] = 'images/'
        # resize first, after LoadImageFromFile and, in training, LoadAnnotations
        options[f'{loader}.dataset.pipeline.{2 if phase == "train" else 1}.scale'] = (80, 64)
        if phase != 'train':
            options[f'{phase}_evaluator.ann_file'] = str(coco / 'boxes.json')
    options |= {'train_cfg.max_epochs': 2, 'default_hooks.logger.interval': 1, 'param_scheduler': []}
    arguments = [f'{key}={json.dumps(value) if isinstance(value, list) else value}' for key, value in options.items()]
    config = str(CONFIGS / f'{name}.py')
    load_tool('train').main([config, '--work-dir', 'run', '--seed', '0', '--cfg-options', *arguments])
    state = torch.load('run/epoch_2.pth', weights_only=True)['state_dict']
    learned = Counter(bool(value.any()) for key, value in state.items() if key.endswith('.transform'))
    frozen = 10  # in the stage frozen by the config
    assert learned[False] <= frozen < learned[True]
    load_tool('test').main(
        [config, 'run/epoch_2.pth', '--out', 'metrics.json', '--out-item', 'metrics', '--cfg-options', *arguments]
    )
    assert 'coco/bbox_mAP' in json.loads(Path('metrics.json').read_text())
