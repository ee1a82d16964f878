import math
import re
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement
from torch import nn

from rescaps_plugin.training.divergence_guard import DivergedError, NaNGuardHook
from rescaps_plugin.training.work_dir import last_checkpoint
from tests.training.test_checkpoints import Line, make_runner


class Breaking(Line):
    """Returns a loss, or causes a gradient, that is not finite at one call."""

    def __init__(self, call, value=math.nan, gradient=False):
        super().__init__()
        self.calls, self.call, self.value, self.gradient = 0, call, value, gradient

    def forward(self, inputs, target, mode='tensor', **kwargs):
        outputs = super().forward(inputs, target, mode, **kwargs)
        if mode == 'loss':
            self.calls += 1
            if self.calls == self.call:
                # The derivative of the root at zero is infinite, times zero.
                broken = (0 * self.linear.weight.sum()).sqrt() if self.gradient else torch.tensor(self.value)
                outputs['loss'] = outputs['loss'] + broken
        return outputs


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_stops_at_the_iteration_and_keeps_what_was_saved(tmp_path, value):
    runner = make_runner(tmp_path, f'nan {value}', model=Breaking(5, value), hooks=[NaNGuardHook()])
    with pytest.raises(DivergedError, match=rf'iteration 5 gave loss {value}, at learning rate .*epoch_1\.pth'):
        runner.train()
    assert [path.name for path in tmp_path.glob('epoch_*')] == ['epoch_1.pth']
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    assert all(weight.isfinite().all() for weight in saved.values())


def test_weights_that_a_finite_loss_broke_are_not_saved(tmp_path):
    runner = make_runner(tmp_path, 'gradient', model=Breaking(6, gradient=True), hooks=[NaNGuardHook()])
    with pytest.raises(DivergedError, match=r'not finite after iteration 6.*linear\.weight.*epoch_1\.pth'):
        runner.train()
    assert last_checkpoint(tmp_path).endswith('epoch_1.pth')


class ScaledOptimWrapper(OptimWrapper):
    """Loss scaling as of MMEngine's AmpOptimWrapper, which refuses a CPU."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)

    def backward(self, loss, **kwargs):
        self.scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs):
        self.scaler.step(self.optimizer)
        self.scaler.update()


class Overflows(Hook):
    """Counts steps that the scaler skipped."""

    def __init__(self):
        self.scales = []

    def after_train_iter(self, runner, *args, **kwargs):
        self.scales.append(runner.optim_wrapper.scaler.get_scale())


def test_overflow_of_scaled_gradients_is_no_divergence(tmp_path):
    overflows = Overflows()
    runner = make_runner(tmp_path, 'scaled', epochs=2, hooks=[NaNGuardHook(), overflows])
    runner.optim_wrapper = dict(type=ScaledOptimWrapper, optimizer=dict(type='Adam', lr=0.05))
    start = runner.model.linear.weight.detach().clone()
    runner.train()
    assert overflows.scales[0] == 2.0**126 and overflows.scales[-1] == overflows.scales[-2]
    assert not torch.equal(runner.model.linear.weight, start)


@pytest.mark.parametrize(
    ('samples', 'names'),
    [
        ([BaseDataElement(metainfo=dict(img_path='a.png', sample_idx=3)), dict(path='b.off')], 'a.png, b.off'),
        ([BaseDataElement(metainfo=dict(sample_idx=7)), object()], '7, unnamed'),
    ],
)
def test_names_the_samples_and_the_broken_inputs(tmp_path, samples, names):
    errors = []
    runner = SimpleNamespace(
        iter=4,
        work_dir=tmp_path,
        logger=SimpleNamespace(error=errors.append),
        optim_wrapper=SimpleNamespace(get_lr=lambda: dict(lr=[0.1, 0.01])),
    )
    batch = dict(inputs=[torch.zeros(2), torch.tensor([1.0, math.nan])], data_samples=samples)
    guard = NaNGuardHook()
    guard.after_train_iter(runner, 0, batch, dict(loss=torch.tensor(math.nan), accuracy=math.nan))
    # The error names the iteration of the loss, not the one in which it was found.
    runner.iter = 5
    runner.optim_wrapper.get_lr = lambda: dict(lr=[9.0])
    with pytest.raises(DivergedError) as raised:
        guard.after_train_iter(runner, 1, None, dict(loss=torch.tensor(1.0)))
    message = str(raised.value)
    assert 'iteration 5 gave loss nan, at learning rate 0.1, 0.01.' in message
    broken = re.escape(names.split(', ')[1])
    assert re.search(rf'not finite: {broken}\. Samples of the batch: {re.escape(names)}\. No checkpoint', message)
    assert names in errors[0]


@pytest.mark.parametrize('end', ['after_train_epoch', 'before_val', 'after_train', 'before_save_checkpoint'])
def test_nothing_ends_or_is_saved_before_the_last_loss_is_checked(tmp_path, end):
    runner = SimpleNamespace(
        iter=0,
        work_dir=tmp_path,
        model=nn.Linear(1, 1),
        logger=SimpleNamespace(error=print),
        optim_wrapper=SimpleNamespace(get_lr=lambda: dict(lr=[0.1])),
    )
    guard = NaNGuardHook()
    guard.after_train_iter(runner, 0, None, dict(loss=torch.tensor(1e30), other=math.nan))
    arguments = [dict(meta=dict(iter=1))] if end == 'before_save_checkpoint' else []
    getattr(guard, end)(runner, *arguments)
    guard.after_train_iter(runner, 0, None, dict(loss=torch.tensor(math.inf)))
    with pytest.raises(DivergedError, match='iteration 1 gave loss inf'):
        getattr(guard, end)(runner, *arguments)


def test_loss_of_the_last_iteration_stops_the_training(tmp_path):
    runner = make_runner(tmp_path, 'last', model=Breaking(6), epochs=2, hooks=[NaNGuardHook()])
    with pytest.raises(DivergedError, match=r'iteration 6 gave loss nan.*epoch_1\.pth'):
        runner.train()
    assert [path.name for path in tmp_path.glob('epoch_*')] == ['epoch_1.pth']
