"""Automatic mixed precision on whatever device there is."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn

from rescaps_plugin.engine.errors import UserError


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast.

    bfloat16 has float32's range, so gradients need no loss scaling; MMEngine's ``AmpOptimWrapper`` always scales, and
    refuses to run on a CPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast beside what :class:`mmengine.optim.OptimWrapper` does for gradient accumulation."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


def configure_amp(cfg: Config, amp: bool) -> None:
    """Choose the optimizer wrapper for mixed precision: float16 with loss scaling on a GPU, bfloat16 on a CPU.

    Args:
        cfg: The runner's config; ``optim_wrapper`` is changed in place.
        amp: Whether the user asks for mixed precision. A config that uses ``AmpOptimWrapper`` asks for it itself.

    Raises:
        UserError: ``optim_wrapper`` is of a type that brings its own arithmetic.
    """
    wrapper = cfg.get('optim_wrapper')
    if wrapper is None:
        return
    kind = wrapper.get('type', 'OptimWrapper')
    kind = getattr(kind, '__name__', kind)  # pure Python configs name the class itself
    if kind != 'AmpOptimWrapper' and not amp:
        return
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise UserError(f'--amp replaces optim_wrapper.type OptimWrapper or AmpOptimWrapper; the config has {kind}.')
    if get_device() == 'cpu':
        wrapper.type = BFloat16OptimWrapper.__name__
        for option in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(option, None)
    else:
        wrapper.type = 'AmpOptimWrapper'
        wrapper.setdefault('loss_scale', 'dynamic')
