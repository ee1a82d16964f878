"""Record losses without waiting for the device at every iteration."""

from typing import Any

from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from rescaps_plugin.training.pending_scalars import PendingScalars


@HOOKS.register_module()
class PendingRuntimeInfoHook(RuntimeInfoHook):
    """``RuntimeInfoHook`` that records the outputs of a training step one iteration later.

    MMEngine reads every loss immediately, which leaves an accelerator idle until the next iteration is launched. Here
    losses are recorded after the launch of the next iteration, and immediately where they are read: before a log, a
    validation and a checkpoint, and at the end of an epoch and of the training.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pending: PendingScalars | None = None

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Record the outputs of the iteration before, and those of this one if they are logged now."""
        self._record(runner)
        self._pending = PendingScalars(outputs or {})
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, interval) for interval in intervals
        ):
            self._record(runner)

    def _record(self, runner: Runner) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            for name, value in pending.read().items():
                runner.message_hub.update_scalar(f'train/{name}', value)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record the outputs of the last iteration, also in the checkpoint, which has the history before it."""
        self._record(runner)
        checkpoint['message_hub'] = runner.message_hub.state_dict()

    def before_val(self, runner: Runner) -> None:
        """Record the outputs of the last iteration."""
        self._record(runner)
        super().before_val(runner)

    def after_train(self, runner: Runner) -> None:
        """Record the outputs of the last iteration."""
        self._record(runner)
        super().after_train(runner)
