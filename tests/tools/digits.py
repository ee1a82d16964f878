"""Briefly trained networks on scikit-learn's digits, for the tests of tools."""

import torch
from mmengine.dataset import default_collate
from mmpretrain import get_model
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from rescaps_plugin.cli.config import load_config


def train_epoch(config):
    """Train the network of a Digits config for an epoch and return it in eval mode, with meaningful scores."""
    cfg = load_config(config)
    torch.manual_seed(0)
    model = get_model(cfg)
    digits = DATASETS.build(dict(cfg.val_dataloader.dataset, split='train'))
    loader = DataLoader(digits, batch_size=32, shuffle=True, drop_last=True, collate_fn=default_collate)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    model.train()
    for batch in loader:
        data = model.data_preprocessor(batch, training=True)
        optimizer.zero_grad()
        sum(model(**data, mode='loss').values()).backward()
        optimizer.step()
    return model.eval()
