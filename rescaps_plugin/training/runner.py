"""Build MMEngine's runner for the tools."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmengine._strategy import BaseStrategy, FSDPStrategy
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook, RuntimeInfoHook, SyncBuffersHook
from mmengine.model import BaseDataPreprocessor, is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from rescaps_plugin.cli.config_errors import being_built
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.compat.allocator import keep_freed_memory
from rescaps_plugin.data.pipelines import check_images
from rescaps_plugin.training.checkpoint_loader import safe_loaders
from rescaps_plugin.training.checkpoint_writer import SafeCheckpointHook, whole_files
from rescaps_plugin.training.distributed import ResumableFSDPStrategy, prepare_cpu_ddp
from rescaps_plugin.training.divergence_guard import NaNGuardHook
from rescaps_plugin.training.interruption import StopHook, StopSignals, leave_signals_to_parent
from rescaps_plugin.training.plain_checkpoint import PlainCheckpointHook
from rescaps_plugin.training.precision import compile_network, configure_amp, evaluation_dtype
from rescaps_plugin.training.resumable_loops import resumable
from rescaps_plugin.training.resume import ResumeHook
from rescaps_plugin.training.run_checks import (
    LastBatchHook,
    batch_errors,
    check_classes,
    check_loop,
    compare_classes,
    compare_schedule,
    find_classes,
)
from rescaps_plugin.training.runtime_info import PendingRuntimeInfoHook
from rescaps_plugin.training.work_dir import own_work_dir

# Optimizers of PyTorch that can update all parameters in one kernel.
_FUSED = ('Adam', 'AdamW', 'SGD')

# Classes of MMEngine and their replacements in every run.
_REPLACED = {
    CheckpointHook: SafeCheckpointHook,
    FSDPStrategy: ResumableFSDPStrategy,
    RuntimeInfoHook: PendingRuntimeInfoHook,
}


def _replace(cfg: Any) -> Any:
    """Return the config of a hook or a strategy, with its type replaced by that of :data:`_REPLACED`, if any."""
    for theirs, ours in _REPLACED.items():
        if isinstance(cfg, dict) and cfg.get('type') in (theirs.__name__, theirs):
            return dict(cfg, type=ours)
    return cfg


class _Careful:
    """Mixin of the runners of all runs, for any library's config.

    It adds training loops and checkpoints with which a killed run resumes to the same result, plain checkpoints that
    are read without running code, checks of image files, a lock on the work directory while it trains, a checkpoint
    when the process is told to terminate, and a guard against divergence. All distributed processes validate with the
    statistics that are saved.
    """

    def train(self) -> nn.Module:
        """Train, with the work directory locked.

        Returns:
            The model.

        Raises:
            UserError: Another training runs in the work directory.
            SystemExit: SIGTERM or SIGHUP was received; the code is 128 plus the signal's number.
        """
        alone = own_work_dir(self.work_dir) if is_main_process() else nullcontext()
        with alone, self._conditions(), batch_errors(), StopSignals() as signals:
            hook = StopHook(signals)
            self.register_hook(hook)
            try:
                return super().train()
            finally:
                self._hooks.remove(hook)

    def val(self) -> dict[str, float]:
        """Validate."""
        self._maybe_compile('val_step')
        with self._conditions():
            return super().val()

    def test(self) -> dict[str, float]:
        """Test."""
        self._maybe_compile('test_step')
        with self._conditions():
            return super().test()

    @contextmanager
    def _conditions(self) -> Iterator[None]:
        """Read checkpoints safely, write files whole, and evaluate in the half precision that the config asks for."""
        with safe_loaders(), whole_files(), evaluation_dtype(self.cfg.get('amp')):
            yield

    @staticmethod
    def build_dataloader(dataloader: DataLoader | dict[str, Any], *args, **kwargs) -> DataLoader:
        """Build a data loader that checks image files, and whose workers ignore signals to the job."""
        with being_built(dataloader):
            checked = check_images(dataloader) if isinstance(dataloader, dict) else dataloader
            loader = Runner.build_dataloader(checked, *args, **kwargs)
        loader.worker_init_fn = leave_signals_to_parent(loader.worker_init_fn)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the training loop of a config, resumable at any iteration."""
        loop = super().build_train_loop(resumable(loop) if isinstance(loop, dict) else loop)
        return self._checked(loop, 'train_dataloader')

    def build_val_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the validation loop of a config, and check it against the data, and these against the training's."""
        loop = self._checked(super().build_val_loop(loop), 'val_dataloader')
        warning = compare_classes(find_classes(self._train_loop), find_classes(loop), 'val_dataloader.dataset')
        if warning:
            self.logger.warning(warning)
        return loop

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
        """Build the schedulers of a config, and warn where they and the training differ in length."""
        schedulers = super().build_param_scheduler(scheduler)
        for warning in compare_schedule(schedulers, self.train_loop):
            self.logger.warning(warning)
        return schedulers

    def register_hook(self, hook: Hook | dict[str, Any], priority: int | str | None = None) -> None:
        """Register a hook; some of MMEngine's are replaced by those of :data:`_REPLACED`."""
        super().register_hook(_replace(hook), priority)

    def build_strategy(self, strategy: BaseStrategy | dict[str, Any] | None = None, **kwargs) -> BaseStrategy:
        """Build the strategy of a ``FlexibleRunner``; MMEngine's FSDP is replaced by one that can resume."""
        return super().build_strategy(_replace(strategy), **kwargs)

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the hooks of a config, and the hooks of every run that the config does not have."""
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
            # Only some data preprocessors of the libraries have an argument for it. Copies from pageable memory are
            # always synchronous.
            if isinstance(module, BaseDataPreprocessor):
                module._non_blocking = True
        return super().wrap_model(model_wrapper_cfg, model)

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict[str, Any]) -> OptimWrapper:
        """Build the optimizer; on a GPU PyTorch's own in their fused form, unless the config says otherwise."""
        optimizer = optim_wrapper.get('optimizer') if isinstance(optim_wrapper, dict) else None
        if isinstance(optimizer, dict) and optimizer.get('type') in _FUSED and get_device() == 'cuda':
            if not {'fused', 'foreach'} & optimizer.keys():
                optim_wrapper = dict(optim_wrapper, optimizer=dict(optimizer, fused=True))
        return super().build_optim_wrapper(optim_wrapper)

    def _maybe_compile(self, target: str) -> None:
        """Compile the networks of the model where the config asks for it; MMEngine does so only in training."""
        options = self.cfg.get('compile')
        if options and isinstance(self, Runner):
            model = self.model.module if is_model_wrapper(self.model) else self.model
            compile_network(model, **({} if options is True else options))


def build_runner(cfg: Config, *hooks: Hook) -> Runner:
    """Build the runner that a config describes, for any device and any library's config.

    Every runner can be killed and resumed, saves plain checkpoints, and stops where training diverges, whether or not
    the config asks for the hooks.

    Args:
        cfg: A complete config; ``runner_type`` picks another runner than :class:`mmengine.runner.Runner`.
        *hooks: Hooks to register in addition to the config's.

    Returns:
        The runner, ready to train or test.

    Raises:
        UserError: The config sets a precision or memory format that the device or the runner does not support, or an
            unknown log level.
    """
    level = cfg.get('log_level', 'INFO')
    if isinstance(level, str) and not isinstance(logging.getLevelName(level), int):
        raise UserError(f'log_level must be DEBUG, INFO, WARNING, ERROR or CRITICAL, got {level!r}.')
    configure_amp(cfg)
    prepare_cpu_ddp(cfg)
    if get_device() == 'cpu':
        keep_freed_memory()
    kind = RUNNERS.get(cfg.get('runner_type', 'Runner'))
    if cfg.get('channels_last') and not issubclass(kind, Runner):
        raise UserError(f'channels_last needs runner_type Runner; the config has {kind.__name__}.')
    with safe_loaders():
        runner = type(kind.__name__, (_Careful, kind), {}).from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    return runner
