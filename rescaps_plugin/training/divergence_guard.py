"""Stop a training that has diverged before it overwrites good checkpoints."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training.checkpoint_loader import broken_weights
from rescaps_plugin.training.pending_scalars import PendingScalars
from rescaps_plugin.training.work_dir import last_checkpoint

# Keys that identify a sample, best first.
NAMES = ('img_path', 'path', 'sample_idx')
SHOWN = 16


class DivergedError(UserError):
    """A training whose loss or weights are not finite."""


@HOOKS.register_module()
class NaNGuardHook(Hook):
    """Stop training at a loss that is not finite, or before weights that are not finite are saved.

    The loss is the one before loss scaling. Where float16 gradients overflow at a finite loss, the scaler skips the
    step and lowers its scale, and training goes on.

    Reading a loss immediately would leave an accelerator idle until the next iteration is launched. So losses are
    copied asynchronously and checked after the launch of the next iteration, and always before a checkpoint is saved,
    before a validation, and at the end of an epoch and of the training.
    """

    # Before the hooks that read the weights: averaging, checkpoints.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._last: _Iteration | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Check the losses of the iteration before, and keep those of this one.

        Raises:
            DivergedError: One is not finite; names the iteration, the learning rates and the samples of the batch.
        """
        losses = PendingScalars({name: value for name, value in (outputs or {}).items() if 'loss' in name})
        last, self._last = self._last, _Iteration(runner.iter + 1, _rates(runner), data_batch, losses)
        if last is not None:
            last.check(runner)

    def check_last(self, runner: Runner) -> None:
        """Check the losses of the last iteration.

        Raises:
            DivergedError: As :meth:`after_train_iter`.
        """
        last, self._last = self._last, None
        if last is not None:
            last.check(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Check the losses of the last iteration."""
        self.check_last(runner)

    def before_val(self, runner: Runner) -> None:
        """Check the losses of the last iteration."""
        self.check_last(runner)

    def after_train(self, runner: Runner) -> None:
        """Check the losses of the last iteration."""
        self.check_last(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the losses of the last iteration, and the weights that are about to be saved.

        Raises:
            DivergedError: Some are not finite. Where the losses are, the last update broke the weights.
        """
        self.check_last(runner)
        broken = broken_weights(runner.model)
        if broken:
            raise DivergedError(
                f'weights are not finite after iteration {checkpoint["meta"]["iter"]}, {_rates(runner)}: '
                f'{_shorten(broken)}. They are not saved.{_advice(runner)}'
            )


@dataclass
class _Iteration:
    """An iteration whose losses are still to be checked."""

    number: int
    rates: str
    data_batch: Any
    losses: PendingScalars

    def check(self, runner: Runner) -> None:
        broken = [f'{name} {value}' for name, value in self.losses.read().items() if not math.isfinite(value)]
        if not broken:
            return
        names = [*_sample_names(self.data_batch)]
        suspects = [name for name, finite in zip(names, _finite_inputs(self.data_batch), strict=False) if not finite]
        runner.logger.error(f'Samples of the batch at iteration {self.number}: {", ".join(names)}')
        message = f'the batch at iteration {self.number} gave {", ".join(broken)}, {self.rates}.'
        if suspects:
            message += f' Inputs that are not finite: {_shorten(suspects)}.'
        if names:
            message += f' Samples of the batch: {_shorten(names)}.'
        raise DivergedError(message + _advice(runner))


def _rates(runner: Runner) -> str:
    rates = (f'{rate:.4g}' for values in runner.optim_wrapper.get_lr().values() for rate in values)
    return f'at learning rate {", ".join(dict.fromkeys(rates))}'


def _advice(runner: Runner) -> str:
    last = last_checkpoint(runner.work_dir)
    kept = f'The last good checkpoint is {last}.' if last else 'No checkpoint has been saved yet.'
    return f' {kept} Try a lower learning rate, a longer warm-up or clip_grad, and look at the samples.'


def _shorten(names: list[str]) -> str:
    more = f' and {len(names) - SHOWN} more, see the log' if len(names) > SHOWN else ''
    return ', '.join(names[:SHOWN]) + more


def _sample_names(data_batch: Any) -> Iterator[str]:
    """Yield the name of each sample of a batch; nothing where the batch has no samples."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    for sample in samples or ():
        found = (sample.get(name) for name in NAMES) if hasattr(sample, 'get') else ()
        yield str(next((value for value in found if value is not None), 'unnamed'))


def _finite_inputs(data_batch: Any) -> Iterable[bool]:
    inputs = data_batch.get('inputs') if isinstance(data_batch, dict) else None
    if not isinstance(inputs, (list, tuple, torch.Tensor)):
        return ()
    return (bool(x.isfinite().all()) for x in inputs if isinstance(x, torch.Tensor))
