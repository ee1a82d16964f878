"""Detection of whether the loader or the network is the limit, with one of them slowed down."""

import pytest
import torch

from rescaps_plugin.analysis.benchmark import loader as loader_benchmark
from rescaps_plugin.analysis.benchmark.loader import LoaderSpeed, make_loader_page, measure_loader
from rescaps_plugin.cli.config import ConfigError, load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training.runner import build_runner

PARTS = """
import time

import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn
from torch.utils.data import Dataset


@DATASETS.register_module(force=True)
class SleepyImages(Dataset):
    def __init__(self, seconds, size=12):
        self.seconds, self.size = seconds, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return dict(x=torch.rand(3))


@MODELS.register_module(force=True)
class SleepyNetwork(BaseModel):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.linear = nn.Linear(3, 1)

    def forward(self, x, mode='tensor'):
        time.sleep(self.seconds)
        return dict(loss=self.linear(x).mean())
"""

CONFIG = """
custom_imports = dict(imports=['sleepy'])
model = dict(type='SleepyNetwork', seconds={step})
train_dataloader = dict(
    batch_size=4,
    num_workers={workers},
    dataset=dict(type='SleepyImages', seconds={image}, size={size}),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)
train_cfg = dict(by_epoch={by_epoch}, {length}=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
randomness = dict(seed=7)
"""


@pytest.fixture
def write_config(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'sleepy.py').write_text(PARTS)

    def write(image, step, workers=0, by_epoch=True, size=12):
        path = tmp_path / 'config.py'
        length = 'max_epochs' if by_epoch else 'max_iters'
        path.write_text(
            CONFIG.format(image=image, step=step, workers=workers, by_epoch=by_epoch, length=length, size=size)
        )
        return str(path)

    return write


def measure(config, tmp_path, options=None):
    return measure_loader(config, options, str(tmp_path / 'work'), seconds=0.2)


def test_slow_loader(write_config, tmp_path):
    speed = measure(write_config(image=0.01, step=0.001), tmp_path)
    assert list(speed.loading) == [0, 1] and speed.workers == 0
    assert 50 < speed.loading[0] < 100 and speed.loading[1] < 100
    assert speed.batch_size == 4 and 0.001 < speed.step < 0.04 and speed.device == 'cpu'
    assert speed.limit == 'loader'


@pytest.mark.parametrize('by_epoch', [True, False])
def test_slow_network(write_config, tmp_path, by_epoch):
    config = write_config(image=0, step=0.1, by_epoch=by_epoch)
    options = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}
    speed = measure(config, tmp_path, options)
    assert list(speed.loading) == [0, 1, 2] and speed.workers == 2
    assert speed.limit == 'network' and 20 < speed.network < 40 and speed.training == speed.network


def test_prefetched_batches_are_not_counted(write_config, tmp_path):
    """Two workers have eight images ready before the clock starts, and take 20 ms per image."""
    config = write_config(image=0.02, step=0.05, workers=2, by_epoch=False)
    assert measure(config, tmp_path).loading[2] < 120


def test_samples_are_seeded_as_in_training(write_config, tmp_path):
    cfg = load_config(write_config(image=0, step=0))
    cfg.work_dir = str(tmp_path / 'work')
    runner = build_runner(cfg)
    first, second = (next(loader_benchmark._load(runner, cfg, workers))['x'] for workers in (0, 1))
    trained = next(iter(runner.train_loop.dataloader))['x']
    torch.testing.assert_close(first, trained, rtol=0, atol=0)
    torch.testing.assert_close(second, trained, rtol=0, atol=0)


def test_config_that_cannot_be_measured(write_config, tmp_path):
    config = write_config(image=0, step=0, size=3)
    with pytest.raises(UserError, match='train_dataloader has no batch of 4 samples to give'):
        measure(config, tmp_path, {'train_dataloader.drop_last': True})
    with pytest.raises(ConfigError, match='has no optim_wrapper'):
        measure(config, tmp_path, {'optim_wrapper': None})


def test_verdict():
    in_turn = LoaderSpeed({0: 300.0, 1: 200.0}, 0, 6, 0.01, 'cpu')
    assert (in_turn.network, in_turn.limit) == (600, 'loader')
    # A batch takes 20 ms to load and then 10 ms to train on.
    assert in_turn.training == pytest.approx(200)
    beside = LoaderSpeed({0: 300.0, 1: 200.0, 4: 790.0}, 4, 6, 0.01, 'cuda')
    assert (beside.limit, beside.training) == ('network', 600)

    page = make_loader_page('mnist.py', beside)
    assert '| loader, main process | 300 |' in page and '| loader, 1 worker | 200 |' in page
    assert '| loader, 4 workers, 198 a worker (the config) | 790 |' in page
    assert '| training step on cuda, 10.0 ms | 600 |' in page
    assert 'The network is the limit: training reaches at most 600 images/s. 3 workers load' in page
    assert page.endswith('\n790 images/s\n')
