"""A small point capsule autoencoder for the tests of tools: a config, a checkpoint and its data."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

CONFIG = """
_base_ = {base!r}
model = dict(
    num_points=64, channels=(8, 16), primary_capsules=8, latent_capsules=16, latent_dim=6, routing={routing!r},
    {routing_cfg})
pipeline = [dict(type='NormalizePoints'), dict(type='PackPoints')]
train_dataloader = dict(dataset=dict(num_points=64, indices=60))
val_dataloader = dict(dataset=dict(num_points=64, indices=24))
test_dataloader = val_dataloader
default_hooks = dict(logger=dict(interval=1))
"""


def write_config(folder, repository, routing='rpr', name=None):
    """Write a small config and a briefly trained checkpoint of it; return both paths."""
    base = str(repository / 'configs' / 'pointcaps' / f'pointcaps-{routing}_digitclouds.py')
    routing_cfg = 'routing_cfg=dict(capsule_types=4)' if routing == 'rpr' else ''
    config = folder / f'{name or routing}.py'
    config.write_text(CONFIG.format(base=base, routing=routing, routing_cfg=routing_cfg))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(config).model)
    clouds = torch.from_numpy(np.random.RandomState(0).randn(16, 64, 3).astype(np.float32)) / 3
    # Update the statistics of batch normalisation for evaluation.
    for _ in range(20):
        model(clouds, mode='loss')
    checkpoint = folder / f'{name or routing}.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return str(config), str(checkpoint)
