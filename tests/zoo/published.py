"""Published models as parameters of tests, and what their tests need."""

from copy import deepcopy
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.models.published import read_index
from rescaps_plugin.training.checkpoint_loader import MatchCheckpointHook, open_safely
from rescaps_plugin.training.runner import build_runner

MODELS = [pytest.param(model, id=model.name) for model in read_index()]


def open_published(model, folder):
    """Return the config and the checkpoint of a published model; skip the test where its data are absent."""
    config, checkpoint = model.arguments
    cfg = load_config(config)
    init_default_scope(cfg.default_scope)
    root = cfg.test_dataloader.dataset.get('data_root')
    if root and not Path(root).exists():
        pytest.skip(f'{root} is absent')
    cfg.work_dir, cfg.load_from, cfg.launcher = str(folder), checkpoint, 'none'
    return cfg, checkpoint


def measure(model, folder, indices=None):
    """Return the metrics of a published model on its test set, or on some samples of it."""
    cfg, checkpoint = open_published(model, folder)
    cfg = deepcopy(cfg)
    if indices is not None:
        cfg.test_dataloader.dataset.indices = indices
    with open_safely(checkpoint):
        return build_runner(cfg, MatchCheckpointHook()).test()
