"""Building MMEngine's runner for the tools."""

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from rescaps_plugin.engine.checkpoint import PlainCheckpointHook
from rescaps_plugin.engine.distributed import prepare_cpu_ddp


def build_runner(cfg: Config, *hooks: Hook) -> Runner:
    """Build the runner that a config describes, for any device and any library's config.

    Every runner saves plain checkpoints, whether or not the config asks for :class:`PlainCheckpointHook`.

    Args:
        cfg: A complete config; ``runner_type`` picks another runner than :class:`mmengine.runner.Runner`.
        *hooks: Hooks to register beside the config's.

    Returns:
        The runner, ready to train or test.
    """
    prepare_cpu_ddp(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if not any(isinstance(hook, PlainCheckpointHook) for hook in runner.hooks):
        hooks = (*hooks, PlainCheckpointHook())
    for hook in hooks:
        runner.register_hook(hook)
    return runner
