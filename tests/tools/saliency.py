"""Salient object detectors of a colour, with known results, and images of red rectangles."""

import numpy as np
import torch
from PIL import Image

MODULE = """
from mmengine.model import BaseModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import MODELS


@MODELS.register_module(force=True)
class Pixels(BaseModule):
    def forward(self, x):
        return (x,)


@MODELS.register_module(force=True)
class PixelHead(BaseDecodeHead):
    def forward(self, inputs):
        return self.cls_seg(self._transform_inputs(inputs))
"""

CONFIG = """
default_scope = 'mmseg'
custom_imports = dict(imports=['pixel_head', 'rescaps_plugin.saliency'])
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SaliencyDataPreProcessor', test_size=32, mean=[0] * 3, std=[255] * 3, bgr_to_rgb=True),
    backbone=dict(type='Pixels'),
    decode_head=dict(
        type='PixelHead', in_channels=3, channels=3, num_classes=2, out_channels=1, threshold=0.5, dropout_ratio=0),
    test_cfg=dict(mode='whole'))
pack = dict(type='PackSegInputs', meta_keys=('dataset', 'img_path', 'ori_shape', 'img_shape'))
test_dataloader = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(
        type='SODDataset',
        data_root={root!r},
        name='Boxes',
        img_suffix='.png',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadSaliencyMask'), pack]),
    sampler=dict(type='DefaultSampler', shuffle=False))
test_evaluator = dict(type='SODMetric')
test_cfg = dict(type='TestLoop')
visualizer = dict(type='SegLocalVisualizer', name='visualizer')
"""

# Sides of the images, odd and even, and the red box of each: top, left, bottom, right.
SIZES = {'a': (48, 64), 'b': (51, 37), 'c': (40, 40)}
BOXES = {'a': (8, 16, 32, 48), 'b': (10, 5, 40, 30), 'c': (4, 4, 30, 20)}


def write_images(root):
    """Write ``images`` and ``masks``: a red box on a grey, noisy background."""
    random = np.random.RandomState(0)
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True)
    for name, size in SIZES.items():
        top, left, bottom, right = BOXES[name]
        image = random.randint(20, 60, (*size, 3)).astype(np.uint8)
        mask = np.zeros(size, np.uint8)
        image[top:bottom, left:right] = (240, 30, 30)
        mask[top:bottom, left:right] = 255
        Image.fromarray(image).save(root / 'images' / f'{name}.png')
        Image.fromarray(mask).save(root / 'masks' / f'{name}.png')


def write_detector(folder, root, name='red'):
    """Write a config and a checkpoint of the detector of ``'red'``, ``'green'`` or ``'blue'``; return both paths."""
    (folder / 'pixel_head.py').write_text(MODULE)
    config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
    config.write_text(CONFIG.format(root=str(root)))
    weight = torch.zeros(1, 3, 1, 1)
    weight[0, ('red', 'green', 'blue').index(name)] = 40
    state = {'decode_head.conv_seg.weight': weight, 'decode_head.conv_seg.bias': torch.tensor([-20.0])}
    meta = {'dataset_meta': {'classes': ('background', 'salient'), 'palette': [[0, 0, 0], [255, 255, 255]]}}
    torch.save({'state_dict': state, 'meta': meta}, checkpoint)
    return str(config), str(checkpoint)
