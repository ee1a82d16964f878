"""Networks that know scikit-learn's digits a little, for the tests of tools."""

import torch
from mmengine.dataset import default_collate
from mmpretrain import get_model
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from rescaps_plugin.cli.config import load_config


def train_epoch(config):
    """Give the network of a config for Digits after an epoch, in evaluation: its scores tell digits apart."""
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
