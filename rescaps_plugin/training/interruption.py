"""Save a checkpoint and stop between two iterations when the job is terminated.

Slurm and other schedulers announce the end of a job by SIGTERM, a closed terminal by SIGHUP.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import is_distributed, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from rescaps_plugin.training.checkpoint_writer import SafeCheckpointHook

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class StopSignals:
    """Record SIGTERM and SIGHUP inside the block instead of terminating.

    Processes that work together agree on the iteration to stop at by the maximum of their signals. It is exchanged on
    the CPU, by gloo, and read one iteration later, so that no process waits for another or for an accelerator.
    """

    def __init__(self) -> None:
        self.number = 0
        self._group: dist.ProcessGroup | None = None
        self._exchange: tuple[dist.Work, torch.Tensor] | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> 'StopSignals':
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # nohup ignores SIGHUP.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._remember)
        if is_distributed():
            self._group = dist.new_group(backend='gloo')
        return self

    def __exit__(self, kind: type[BaseException] | None, *error) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._group is None:
            return
        # A process that ends during an exchange, or with the group's threads running, may be aborted. After an error,
        # other processes may never reach the exchange.
        patience = timedelta(minutes=30) if kind in (None, SystemExit) else timedelta(seconds=5)
        with suppress(RuntimeError):
            if self._exchange is not None:
                self._exchange[0].wait(patience)
            dist.destroy_process_group(self._group)

    def _remember(self, number: int, frame: Any) -> None:
        self.number = number

    def agree(self) -> int:
        """Return the signal to stop for, or 0. Every process of the job must call it the same number of times."""
        if self._group is None:
            return self.number
        number = torch.tensor([self.number])
        exchange = dist.all_reduce(number, dist.ReduceOp.MAX, group=self._group, async_op=True), number
        previous, self._exchange = self._exchange, exchange
        if previous is None:
            return 0
        previous[0].wait()
        return int(previous[1])

    def wait_for_all(self) -> None:
        """Wait until every process of the job has called this."""
        if self._group is not None:
            self._exchange[0].wait()
            dist.barrier(self._group)


class StopHook(Hook):
    """Save a checkpoint and end the process between two iterations after a signal.

    During a validation, a single process ends at once if the checkpoint before it is the latest state; otherwise
    training ends after it.
    """

    # After the other hooks of the iteration.
    priority = 'LOWEST'

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Stop after an iteration."""
        if number := self.signals.agree():
            self._stop(runner, number, runner.iter + 1)

    def after_val_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Stop inside a validation, which a resumed training repeats."""
        hook = _checkpoint_hook(runner)
        if self.signals.number and not is_distributed() and hook is not None and hook.is_saved(runner.iter):
            self._stop(runner, self.signals.number, runner.iter)

    def after_val_epoch(self, runner: Runner, *args, **kwargs) -> None:
        """Stop after a validation."""
        if number := self.signals.agree():
            self._stop(runner, number, runner.iter)

    def _stop(self, runner: Runner, number: int, iteration: int) -> None:
        hook = _checkpoint_hook(runner)
        saved = None if hook is None else hook.save_now(runner, iteration)
        self.signals.wait_for_all()
        if is_main_process():
            kept = f'{saved} is saved, and --resume continues from it' if saved else 'no checkpoint hook saved it'
            print(f'stopped by {signal.Signals(number).name} at iteration {iteration}: {kept}.', file=sys.stderr)
        raise SystemExit(128 + number)


def _checkpoint_hook(runner: Runner) -> SafeCheckpointHook | None:
    return next((hook for hook in runner.hooks if isinstance(hook, SafeCheckpointHook)), None)


def leave_signals_to_parent(worker_init_fn: Callable[[int], None] | None) -> Callable[[int], None]:
    """Make the workers of a data loader ignore signals to the whole job; their parent process ends them.

    Args:
        worker_init_fn: Another function to call in a worker, with its number.

    Returns:
        The function to call in a worker.
    """
    return partial(_start_worker, worker_init_fn)


def _start_worker(worker_init_fn: Callable[[int], None] | None, worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):
        # The parent also ends workers by SIGTERM, and only sigwaitinfo returns the sender.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_await_end, args=(os.getppid(),), daemon=True).start()
    if worker_init_fn is not None:
        worker_init_fn(worker)


def _await_end(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
