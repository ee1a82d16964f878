"""Every config of configs/pointcaps builds, and can be trained and tested by the tools."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import METRICS, MODELS

CONFIGS = Path(__file__).parents[2] / 'configs' / 'pointcaps'
NAMES = sorted(path.stem for path in CONFIGS.glob('*.py'))


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def test_every_data_set_has_both_routings():
    data = {name.partition('_')[2] for name in NAMES}
    assert data == {'digitclouds', 'kicad40', 'modelnet40', 'shapenetcore'}
    assert set(NAMES) == {f'pointcaps-{routing}_{name}' for routing in ('rpr', 'dynamic') for name in data}


@pytest.mark.parametrize('name', NAMES)
def test_config_fits_its_clouds(name):
    cfg = load(name)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.routing == name.partition('_')[0].removeprefix('pointcaps-')
    for phase in ('train', 'val', 'test'):
        loader = cfg[f'{phase}_dataloader']
        assert loader.dataset.get('num_points', 2048) == cfg.model.num_points
        assert loader.collate_fn.type == 'default_collate'
        assert loader.persistent_workers == (loader.num_workers > 0)
        assert loader.dataset.split == ('train' if phase == 'train' else 'test')
    assert cfg.train_dataloader.drop_last
    for phase in ('val', 'test'):
        assert METRICS.build(cfg[f'{phase}_evaluator']).prefix == 'chamfer'
    assert cfg.auto_scale_lr.base_batch_size == cfg.train_dataloader.batch_size


@pytest.mark.parametrize('data', ['digitclouds', 'kicad40', 'modelnet40', 'shapenetcore'])
def test_configs_of_a_data_set_differ_only_in_routing(data):
    rpr, dynamic = (load(f'pointcaps-{routing}_{data}').to_dict() for routing in ('rpr', 'dynamic'))
    assert (rpr['model'].pop('routing'), dynamic['model'].pop('routing')) == ('rpr', 'dynamic')
    assert rpr == dynamic


def test_paper_network():
    cfg = load('pointcaps-dynamic_shapenetcore')
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert model.latent.routing.weight.numel() == 64 * 1024 * 64 * 16
    assert model.decoder.generators == 32
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-4)


def test_training_and_testing_by_the_tools(tmp_path, load_tool, monkeypatch):
    """Training lowers the distance, a resumed run continues, and a test equals the last validation."""
    monkeypatch.chdir(tmp_path)
    config = str(CONFIGS / 'pointcaps-rpr_digitclouds.py')
    options = [
        'model.num_points=64',
        'model.channels="[8, 16]"',
        'model.primary_capsules=8',
        'model.latent_capsules=16',
        'model.latent_dim=8',
        'train_dataloader.dataset.num_points=64',
        'train_dataloader.dataset.indices=128',
        'param_scheduler="[]"',
        'optim_wrapper.optimizer.lr=0.01',
        *(f'{phase}_dataloader.dataset.{key}' for phase in ('val', 'test') for key in ('num_points=64', 'indices=32')),
    ]
    train = load_tool('train').main
    train([config, '--work-dir', 'run', '--cfg-options', *options, 'train_cfg.max_epochs=2'])
    train([config, '--work-dir', 'run', '--resume', '--cfg-options', *options, 'train_cfg.max_epochs=4'])
    (log,) = (Path('run').glob('*/vis_data/scalars.json'),)
    scalars = [json.loads(line) for path in sorted(log) for line in path.read_text().split('\n') if line]
    distances = [line['chamfer/mean'] for line in scalars if 'chamfer/mean' in line]
    assert len(distances) == 4 and distances[-1] < 0.7 * distances[0]

    load_tool('test').main(
        [config, 'run/epoch_4.pth', '--out', 'metrics.json', '--out-item', 'metrics', '--cfg-options', *options]
    )
    metrics = json.loads(Path('metrics.json').read_text())
    assert metrics['chamfer/mean'] == pytest.approx(distances[-1], rel=1e-4)
    assert {f'chamfer/{digit}' for digit in range(10)} <= set(metrics)
