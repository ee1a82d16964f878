"""Classifiers with known results: class ``i`` is the brightness of channel ``i``."""

import torch

MODULE = """
import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS


@MODELS.register_module(force=True)
class ChannelMeans(BaseModule):
    def __init__(self, channels):
        super().__init__()
        self.stem = torch.nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x):
        return (self.stem(x).mean((2, 3)),)
"""

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['channel_means'])
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ChannelMeans', channels={channels}),
    head=dict(type='LinearClsHead', num_classes={classes}, in_channels={channels}),
    data_preprocessor=dict(mean=[0] * {channels}, std=[255] * {channels}, to_rgb={to_rgb}))
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(type='CustomDataset', data_root={root!r}, pipeline={pipeline}))
"""

RESIZE = [dict(type='Resize', scale=(8, 8)), dict(type='PackInputs')]
FILES = [dict(type='LoadImageFromFile'), *RESIZE]


def write_classifier(
    folder, root, pipeline, channels=3, to_rgb=False, weight=None, bias=None, classes=('red', 'green', 'blue')
):
    """Write a config and a checkpoint, and the module ``channel_means`` that they need; return both paths."""
    (folder / 'channel_means.py').write_text(MODULE)
    weight = torch.eye(3) if weight is None else weight
    config, checkpoint = folder / 'config.py', folder / 'model.pth'
    config.write_text(
        CONFIG.format(channels=channels, classes=len(weight), to_rgb=to_rgb, root=str(root), pipeline=repr(pipeline))
    )
    state = {
        'backbone.stem.weight': torch.eye(channels)[:, :, None, None],
        'head.fc.weight': 20 * weight,
        'head.fc.bias': torch.zeros(len(weight)) if bias is None else bias,
    }
    torch.save({'state_dict': state, 'meta': {'dataset_meta': {'classes': classes}}}, checkpoint)
    return config, checkpoint
