"""Cost of a training and of a test: parameters, time and memory."""

import json
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from rescaps_plugin.analysis.memory import PeakMemory


class StepClock:
    """Sum the time of steps without waiting for the device.

    On a GPU it is the time between events at the start and the end of a step, elsewhere the process's CPU time.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device == 'cuda'
        self._seconds = 0.0
        # Start and end events of steps that the GPU has not finished.
        self._pending: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def start(self) -> None:
        """Start a step; one that was not stopped is discarded."""
        self._started = self._now()

    def stop(self) -> None:
        """End the step and count its time."""
        if not self.cuda:
            self._seconds += self._now() - self._started
            return
        self._pending.append((self._started, self._now()))
        while self._pending and self._pending[0][1].query():
            self._add()

    def take(self) -> float:
        """Return the seconds of the steps since the last call; waits for the GPU to finish them."""
        while self._pending:
            self._pending[0][1].synchronize()
            self._add()
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _now(self) -> Any:
        if not self.cuda:
            return time.process_time()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _add(self) -> None:
        begin, end = self._pending.popleft()
        self._seconds += begin.elapsed_time(end) / 1000


@HOOKS.register_module()
class CostHook(Hook):
    """Measure the steps of training and testing, and write their cost to ``cost.json`` in the work directory.

    Time is that of the model's ``train_step`` and ``test_step``, without the loading of data, the evaluation of
    predictions and other hooks, see :class:`StepClock`: on a GPU in seconds, on a CPU in seconds of CPU time, which
    other processes on the machine do not add to. The first step of a process, which warms up, does not count. Memory is
    the peak above the memory in use when training or testing began, with the model and the data loaded.

    The figures of a training are saved in its checkpoints, so that a resumed one continues from them; a test of the
    checkpoint writes them next to its own. Fields of ``cost.json``: ``parameters``; ``clock``, the kind of time;
    ``train`` with ``iterations`` and their ``seconds``, ``iterations_per_epoch`` and ``memory`` in bytes (None where it
    cannot be measured); ``test`` with ``samples``, their ``seconds`` and ``memory``.
    """

    # Before other hooks, so that their memory at the end of a training does not count and checkpoints contain the
    # figures.
    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.costs: dict[str, dict[str, Any]] = {}
        self._loaded: dict[str, Any] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the figures of the training so far."""
        self._loaded = checkpoint.get('cost')

    def before_train(self, runner: Runner) -> None:
        """Start counting, from the figures of the checkpoint if there are any."""
        loader = runner.train_dataloader
        earlier = self._loaded if runner.cfg.get('resume') else None
        self._earlier_peak = earlier['memory'] if earlier else None
        begun = dict(iterations=0, seconds=0.0, iterations_per_epoch=len(loader), memory=None)
        self._begin(runner, 'train', earlier or begun)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Count the step."""
        self._count('train', iterations=1)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the figures so far into the checkpoint."""
        self._read('train')
        checkpoint['cost'] = dict(self.costs['train'])

    def after_train(self, runner: Runner) -> None:
        """Write the figures."""
        self._write(runner, 'train')

    def before_test(self, runner: Runner) -> None:
        """Begin."""
        if self._loaded:
            self.costs['train'] = self._loaded
        self._earlier_peak = None
        self._begin(runner, 'test', dict(samples=0, seconds=0.0, memory=None))

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: Any, outputs: Any) -> None:
        """Count the samples."""
        self._count('test', samples=len(outputs))

    def after_test(self, runner: Runner) -> None:
        """Write the figures."""
        self._write(runner, 'test')

    def _begin(self, runner: Runner, phase: str, cost: dict[str, Any]) -> None:
        self._device = next(runner.model.parameters()).device.type
        self._warm = False
        self._read_all = False
        self._clock = StepClock(self._device)
        self._peak = PeakMemory(self._device) if PeakMemory.measurable(self._device) else None
        self.costs[phase] = dict(cost)
        self._untime = self._time(runner.model, f'{phase}_step')

    def _time(self, model: nn.Module, name: str) -> Callable[[], None]:
        """Time the calls of a method of the model; return the function that ends this."""
        step, clock = getattr(model, name), self._clock

        def timed(*args: Any, **kwargs: Any) -> Any:
            clock.start()
            outputs = step(*args, **kwargs)
            if self._warm:
                clock.stop()
            return outputs

        setattr(model, name, timed)
        return partial(setattr, model, name, step)

    def _count(self, phase: str, **counts: int) -> None:
        self._read_all = False
        if self._warm:
            for name, value in counts.items():
                self.costs[phase][name] += value
        self._warm = True

    def _read(self, phase: str) -> None:
        # Writing the last checkpoint does not count: the file has the figures in it.
        if self._read_all:
            return
        self._read_all = True
        self.costs[phase]['seconds'] += self._clock.take()
        if self._peak is not None:
            self.costs[phase]['memory'] = max(self._peak.added(), self._earlier_peak or 0)

    def _write(self, runner: Runner, phase: str) -> None:
        self._untime()
        self._read(phase)
        if not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        parameters = sum(parameter.numel() for parameter in model.parameters())
        clock = 'CPU time' if self._device == 'cpu' else 'time'
        Path(runner.work_dir, 'cost.json').write_text(
            json.dumps(dict(parameters=parameters, clock=clock, **self.costs), indent=2), encoding='utf-8'
        )
