"""The PointNet autoencoders have the data and schedule of the point capsules, and run by all tools."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
OPTIONS = [
    'model.num_points=32',
    'train_cfg.max_epochs=2',
    *(f'{phase}_dataloader.dataset.num_points=32' for phase in ('train', 'val', 'test')),
    *(f'{phase}_dataloader.dataset.indices=64' for phase in ('train', 'val', 'test')),
]


@pytest.mark.parametrize('data', ['digitclouds', 'kicad40'])
def test_config_differs_from_point_capsules_only_in_the_model(data):
    pointnet, rpr, dynamic = (
        Config.fromfile(CONFIGS / f'{name}_{data}.py').to_dict()
        for name in ('pointnet/pointnet', 'pointcaps/pointcaps-rpr', 'pointcaps/pointcaps-dynamic')
    )
    models = [MODELS.build(cfg.pop('model')) for cfg in (pointnet, rpr, dynamic)]
    assert pointnet == rpr
    own, *others = (sum(parameter.numel() for parameter in model.parameters()) for model in models)
    assert min(others) < own < max(others)
    cloud = torch.rand(1, 9, 3)
    assert len({model.eval().encode(cloud).numel() for model in models}) == 1


def test_tools(tmp_path, load_tool, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, checkpoint = str(CONFIGS / 'pointnet/pointnet_digitclouds.py'), 'run/epoch_2.pth'
    options = ['--cfg-options', *OPTIONS]
    load_tool('train').main([config, '--work-dir', 'run', *options])
    np.save('cloud.npy', np.random.RandomState(0).randn(40, 3))
    load_tool('predict').main([config, checkpoint, 'cloud.npy', '--out-dir', 'out', *options])
    assert len(list(Path('out').rglob('*.ply'))) == 1
    load_tool('export').main([config, checkpoint, '--out', 'model.onnx', '--check', *options])
    load_tool('transfer_svm').main([config, checkpoint, '--out-dir', 'svm', *options])
    (result,) = json.loads(Path('svm/transfer.json').read_text())
    assert result['clouds'] == 64
