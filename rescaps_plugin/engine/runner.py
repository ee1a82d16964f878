"""Building MMEngine's runner for the tools."""

from contextlib import nullcontext
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook, SyncBuffersHook
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from rescaps_plugin.engine.checkpoint import PlainCheckpointHook, safe_loaders
from rescaps_plugin.engine.distributed import prepare_cpu_ddp
from rescaps_plugin.engine.interruption import StopHook, StopSignals, leave_signals_to_parent
from rescaps_plugin.engine.nan_guard import NaNGuardHook
from rescaps_plugin.engine.resume import ResumeHook, resumable
from rescaps_plugin.engine.saving import SafeCheckpointHook, own_work_dir


class _Careful:
    """What every run gets beside what its config asks for, whichever library's config it is.

    Training loops and checkpoints from which a killed run resumes to the same result, plain checkpoints that are read
    without running their code, a work directory of its own while it trains, a checkpoint where it is asked to end, and
    a guard against divergence. On several processes, all of them validate with the statistics that are saved.
    """

    def train(self) -> nn.Module:
        """Train, alone in the work directory.

        Returns:
            The model.

        Raises:
            UserError: Another training runs in the work directory.
            SystemExit: SIGTERM or SIGHUP came; the code is 128 and the signal's number.
        """
        alone = own_work_dir(self.work_dir) if is_main_process() else nullcontext()
        with alone, safe_loaders(), StopSignals() as signals:
            hook = StopHook(signals)
            self.register_hook(hook)
            try:
                return super().train()
            finally:
                self._hooks.remove(hook)

    def val(self) -> dict:
        """Validate."""
        with safe_loaders():
            return super().val()

    def test(self) -> dict:
        """Test."""
        with safe_loaders():
            return super().test()

    @staticmethod
    def build_dataloader(*args, **kwargs) -> DataLoader:
        """Build a data loader, whose workers leave signals to this process."""
        loader = Runner.build_dataloader(*args, **kwargs)
        loader.worker_init_fn = leave_signals_to_parent(loader.worker_init_fn)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the training loop of a config, resumable at any iteration."""
        return super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)

    def register_hook(self, hook: Hook | dict[str, Any], priority: int | str | None = None) -> None:
        """Register a hook; MMEngine's checkpoint hook as the one that loses nothing."""
        if isinstance(hook, dict) and hook.get('type') in ('CheckpointHook', CheckpointHook):
            hook = dict(hook, type=SafeCheckpointHook)
        super().register_hook(hook, priority)

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the hooks of a config, and those of them that every run has and it does not name."""
        super().register_hooks(default_hooks, custom_hooks)
        for kind in (NaNGuardHook, ResumeHook, PlainCheckpointHook, *([SyncBuffersHook] if self.distributed else [])):
            if not any(isinstance(hook, kind) for hook in self.hooks):
                self.register_hook(kind())


def build_runner(cfg: Config, *hooks: Hook) -> Runner:
    """Build the runner that a config describes, for any device and any library's config.

    Every runner can be killed and resumed, saves plain checkpoints, and stops where training diverges, whether or not
    the config asks for the hooks.

    Args:
        cfg: A complete config; ``runner_type`` picks another runner than :class:`mmengine.runner.Runner`.
        *hooks: Hooks to register beside the config's.

    Returns:
        The runner, ready to train or test.
    """
    prepare_cpu_ddp(cfg)
    kind = RUNNERS.get(cfg.get('runner_type', 'Runner'))
    with safe_loaders():
        runner = type(kind.__name__, (_Careful, kind), {}).from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner
