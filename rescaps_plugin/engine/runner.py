"""Building MMEngine's runner for the tools."""

from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook, RuntimeInfoHook, SyncBuffersHook
from mmengine.model import BaseDataPreprocessor, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn

from rescaps_plugin.engine.checkpoint import PlainCheckpointHook
from rescaps_plugin.engine.distributed import prepare_cpu_ddp
from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.nan_guard import NaNGuardHook
from rescaps_plugin.engine.precision import compile_network, configure_amp, evaluation_dtype
from rescaps_plugin.engine.resume import ResumeHook, resumable
from rescaps_plugin.engine.run_checks import LastBatchHook, batch_errors, check_classes, check_loop, compare_schedule
from rescaps_plugin.engine.runtime_info import PendingRuntimeInfoHook
from rescaps_plugin.engine.saving import SafeCheckpointHook

# Hooks of MMEngine, and those that stand in for them.
_REPLACED = {CheckpointHook: SafeCheckpointHook, RuntimeInfoHook: PendingRuntimeInfoHook}


class _Careful:
    """What every run gets beside what its config asks for, whichever library's config it is.

    Training loops and checkpoints from which a killed run resumes to the same result, plain checkpoints, and a guard
    against divergence. On several processes, all of them validate with the statistics that are saved.
    """

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the training loop of a config, resumable at any iteration."""
        loop = super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)
        return self._checked(loop, 'train_dataloader')

    def build_val_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the validation loop of a config, and check it against the data."""
        return self._checked(super().build_val_loop(loop), 'val_dataloader')

    def build_test_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the test loop of a config, and check it against the data."""
        return self._checked(super().build_test_loop(loop), 'test_dataloader')

    def _checked(self, loop: BaseLoop, key: str) -> BaseLoop:
        check_loop(loop, key)
        warning = check_classes(self.cfg, self.model, loop, key)
        if warning:
            self.logger.warning(warning)
        return loop

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """Build the schedulers of a config, and say where they and the training differ in length."""
        schedulers = super().build_param_scheduler(scheduler)
        for warning in compare_schedule(schedulers, self.train_loop):
            self.logger.warning(warning)
        return schedulers

    def register_hook(self, hook: Hook | dict[str, Any], priority: int | str | None = None) -> None:
        """Register a hook; in place of some of MMEngine's, those that lose nothing and do not wait for the device."""
        if isinstance(hook, dict):
            for theirs, ours in _REPLACED.items():
                if hook.get('type') in (theirs.__name__, theirs):
                    hook = dict(hook, type=ours)
        super().register_hook(hook, priority)

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the hooks of a config, and those of them that every run has and it does not name."""
        super().register_hooks(default_hooks, custom_hooks)
        kinds = [NaNGuardHook, LastBatchHook, ResumeHook, PlainCheckpointHook]
        for kind in [*kinds, *([SyncBuffersHook] if self.distributed else [])]:
            if not any(isinstance(hook, kind) for hook in self.hooks):
                self.register_hook(kind())

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Move the model to the device in the config's memory format, then wrap it for distributed training."""
        if self.cfg.get('channels_last'):
            model = model.to(memory_format=torch.channels_last)
        for module in model.modules():
            # Only some of the libraries' data preprocessors have an argument for it. Copies from pageable memory are
            # synchronous in any case.
            if isinstance(module, BaseDataPreprocessor):
                module._non_blocking = True
        return super().wrap_model(model_wrapper_cfg, model)

    def train(self) -> nn.Module:
        """Train."""
        with evaluation_dtype(self.cfg.get('amp')), batch_errors():
            return super().train()

    def val(self) -> dict[str, float]:
        """Validate."""
        with evaluation_dtype(self.cfg.get('amp')):
            return super().val()

    def test(self) -> dict[str, float]:
        """Test."""
        with evaluation_dtype(self.cfg.get('amp')):
            return super().test()

    def _maybe_compile(self, target: str) -> None:
        """Compile the networks of the model where the config asks for it."""
        options = self.cfg.get('compile')
        if options:
            model = self.model.module if is_model_wrapper(self.model) else self.model
            compile_network(model, **({} if options is True else options))


def build_runner(cfg: Config, *hooks: Hook) -> Runner:
    """Build the runner that a config describes, for any device and any library's config.

    Every runner can be killed and resumed, saves plain checkpoints, and stops where training diverges, whether or not
    the config asks for the hooks.

    Args:
        cfg: A complete config; ``runner_type`` picks another runner than :class:`mmengine.runner.Runner`.
        *hooks: Hooks to register beside the config's.

    Returns:
        The runner, ready to train or test.

    Raises:
        UserError: The config asks for precision or memory format that the device or the runner does not have.
    """
    configure_amp(cfg)
    prepare_cpu_ddp(cfg)
    kind = RUNNERS.get(cfg.get('runner_type', 'Runner'))
    if cfg.get('channels_last') and not issubclass(kind, Runner):
        raise UserError(f'channels_last needs runner_type Runner; the config has {kind.__name__}.')
    runner = type(kind.__name__, (_Careful, kind), {}).from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner
