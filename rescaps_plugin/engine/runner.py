"""Building MMEngine's runner for the tools."""

from typing import Any

from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook, SyncBuffersHook
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner

from rescaps_plugin.engine.checkpoint import PlainCheckpointHook
from rescaps_plugin.engine.distributed import prepare_cpu_ddp
from rescaps_plugin.engine.nan_guard import NaNGuardHook
from rescaps_plugin.engine.resume import ResumeHook, resumable
from rescaps_plugin.engine.saving import SafeCheckpointHook


class _Careful:
    """What every run gets beside what its config asks for, whichever library's config it is.

    Training loops and checkpoints from which a killed run resumes to the same result, plain checkpoints, and a guard
    against divergence. On several processes, all of them validate with the statistics that are saved.
    """

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
    runner = type(kind.__name__, (_Careful, kind), {}).from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner
