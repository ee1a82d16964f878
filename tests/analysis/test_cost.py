"""``CostHook``: cost of trainings and tests, including interrupted ones."""

import json
import time

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from rescaps_plugin.analysis.cost import CostHook, StepClock
from rescaps_plugin.training.plain_checkpoint import PlainCheckpointHook


class Regression(BaseModel):
    """Seven parameters, and a map of 40 MB in training.

    Args:
        entries: Entries of the map.
    """

    def __init__(self, entries=10_000_000):
        super().__init__()
        self.entries = entries
        self.linear = nn.Linear(6, 1)

    def forward(self, x, mode='tensor'):
        y = self.linear(x)
        if mode != 'loss':
            return list(y)
        return dict(loss=(y.mean() * torch.ones(self.entries)).mean())


class Score:
    """Stand-in for an evaluator, which takes time."""

    def process(self, data_samples, data_batch=None):
        burn(0.05)

    def evaluate(self, size):
        return {'size': size}

    dataset_meta = None


class SlowHook(Hook):
    """Takes time before and after every step."""

    def before_train_iter(self, runner, *args, **kwargs):
        burn(0.05)

    after_train_iter = before_test_iter = after_test_iter = before_train_iter


def make_runner(work_dir, epochs, model=None, hooks=(), **kwargs):
    data = [torch.randn(6) for _ in range(20)]
    batches = dict(batch_size=4, collate_fn=lambda samples: dict(x=torch.stack(samples)))
    runner = Runner(
        model=model or Regression(),
        work_dir=str(work_dir),
        train_dataloader=DataLoader(data, **batches),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        test_dataloader=DataLoader(data, **batches),
        test_cfg=dict(),
        test_evaluator=Score(),
        default_hooks=dict(plain=PlainCheckpointHook(), logger=None),
        custom_hooks=[*hooks, CostHook()],
        experiment_name=f'{work_dir.name}{epochs}{len(kwargs)}',
        log_level='WARNING',
        cfg=dict(resume=kwargs.get('resume', False)),
        **kwargs,
    )
    return runner


def read(work_dir):
    return json.loads((work_dir / 'cost.json').read_text())


def test_cost_of_training_resumed_and_tested(tmp_path):
    make_runner(tmp_path, 1).train()
    first = read(tmp_path)
    assert first['parameters'] == 7
    # The first of five steps warms up.
    assert first['train']['iterations'] == 4
    assert first['train']['iterations_per_epoch'] == 5
    assert first['train']['seconds'] > 0
    # The map of ones, the product and their gradients.
    assert 40e6 < first['train']['memory'] < 400e6

    make_runner(tmp_path, 3, resume=True, load_from=str(tmp_path / 'epoch_1.pth')).train()
    resumed = read(tmp_path)
    assert resumed['train']['iterations'] == 4 + 9
    assert resumed['train']['seconds'] > first['train']['seconds']
    assert resumed['train']['memory'] >= first['train']['memory']

    make_runner(tmp_path / 'test', 1, load_from=str(tmp_path / 'epoch_3.pth')).test()
    tested = read(tmp_path / 'test')
    assert tested['train'] == resumed['train']
    assert tested['test']['samples'] == 16 and tested['test']['seconds'] > 0


def test_only_steps_of_the_model_are_timed(tmp_path):
    """Four steps count, of a few milliseconds, with an evaluator and hooks of 50 each."""
    runner = make_runner(tmp_path, 1, Regression(entries=1), [SlowHook()])
    steps = runner.model.train_step, runner.model.test_step
    runner.train()
    runner.test()
    costs = read(tmp_path)
    assert costs['train']['iterations'] == 4 and costs['test']['samples'] == 16
    assert 0 < costs['train']['seconds'] < 0.1 and 0 < costs['test']['seconds'] < 0.1
    assert (runner.model.train_step, runner.model.test_step) == steps


def test_training_from_weights_starts_counting_at_zero(tmp_path):
    make_runner(tmp_path, 1).train()
    make_runner(tmp_path / 'tuned', 1, load_from=str(tmp_path / 'epoch_1.pth')).train()
    assert read(tmp_path / 'tuned')['train']['iterations'] == 4


def test_clock_sums_only_steps():
    clock = StepClock('cpu')
    begin = time.process_time()
    for _ in range(2):
        clock.start()
        burn(0.05)
        clock.stop()
        burn(0.05)
    clock.start()
    whole = time.process_time() - begin
    assert 0.1 <= clock.take() <= whole - 0.1
    # Counted time is reset, and a step that was not stopped is ignored.
    assert clock.take() == 0


def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
