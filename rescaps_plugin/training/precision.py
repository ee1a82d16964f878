"""Mixed precision, memory format and compilation of a run.

Each is a key of the config that the command line sets: ``amp`` (None, ``'auto'``, ``'float16'`` or ``'bfloat16'``),
``channels_last`` (a bool) and MMEngine's ``compile`` (a bool, or arguments of ``torch.compile``).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.compat.processor import find_instructions

# Instructions of processors that multiply in bfloat16.
BFLOAT16_INSTRUCTIONS = {'avx512_bf16', 'amx_bf16', 'bf16', 'sve_bf16'}

AMP_DTYPES = {'float16': torch.float16, 'bfloat16': torch.bfloat16}


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast.

    bfloat16 has float32's range, so gradients need no loss scaling; MMEngine's ``AmpOptimWrapper`` always scales, and
    refuses to run on a CPU.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter autocast, and the context of :class:`mmengine.optim.OptimWrapper` for gradient accumulation."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


def configure_amp(cfg: Config) -> None:
    """Set up training, validation and test of a config for the mixed precision that it asks for.

    Training in float16 scales its loss, in bfloat16 it does not need to. A config that uses ``AmpOptimWrapper`` asks
    for mixed precision itself; without a GPU it trains in bfloat16.

    Args:
        cfg: The runner's config. ``amp`` becomes the name of a dtype where it is ``'auto'``: bfloat16 where the device
            has it, else float16. ``optim_wrapper``, ``val_cfg`` and ``test_cfg`` are changed in place.

    Raises:
        UserError: ``amp`` is not a dtype of mixed precision, or one that the device does not support, or
            ``optim_wrapper`` is of a type with its own handling of precision.
    """
    amp, wrapper, kind = cfg.get('amp'), cfg.get('optim_wrapper'), _wrapper_type(cfg)
    if amp:
        cfg.amp = _choose_dtype(amp)
        for loop in (cfg.get('val_cfg'), cfg.get('test_cfg')):
            if loop is not None:
                loop.fp16 = True
    elif kind != 'AmpOptimWrapper' or get_device() != 'cpu':
        return
    if wrapper is None:
        return
    if kind not in ('OptimWrapper', 'AmpOptimWrapper', BFloat16OptimWrapper.__name__):
        raise UserError(f'--amp replaces optim_wrapper.type OptimWrapper or AmpOptimWrapper; the config has {kind}.')
    if cfg.get('amp') == 'float16':
        wrapper.type = 'AmpOptimWrapper'
        wrapper.dtype = 'float16'
        wrapper.setdefault('loss_scale', 'dynamic')
        return
    wrapper.type = BFloat16OptimWrapper.__name__
    for option in ('loss_scale', 'dtype', 'use_fsdp'):
        wrapper.pop(option, None)


def find_precision(wrapper: OptimWrapper) -> str:
    """Return the name of the dtype that an optimizer wrapper runs the forward pass in."""
    if isinstance(wrapper, BFloat16OptimWrapper):
        return 'bfloat16'
    if isinstance(wrapper, AmpOptimWrapper):
        return str(wrapper.cast_dtype or torch.float16).removeprefix('torch.')
    return 'float32'


def suggest_precision(cfg: Config) -> str | None:
    """Return advice on ``--amp`` for training on this CPU, if the other choice is faster.

    It stays the user's choice: results in bfloat16 are different, and a default that depends on the processor would
    make those of a config differ from machine to machine.

    Args:
        cfg: The runner's config, after :func:`configure_amp`.
    """
    instructions, kind = find_instructions(), _wrapper_type(cfg)
    if get_device() != 'cpu' or not instructions:
        return None
    has_bfloat16 = not BFLOAT16_INSTRUCTIONS.isdisjoint(instructions)
    if has_bfloat16 and kind == 'OptimWrapper':
        return 'This processor computes in bfloat16: training with --amp takes half to three quarters of the time.'
    if not has_bfloat16 and kind == BFloat16OptimWrapper.__name__:
        return 'This processor does not compute in bfloat16: training is faster without --amp.'
    return None


def _wrapper_type(cfg: Config) -> str:
    kind = (cfg.get('optim_wrapper') or {}).get('type', 'OptimWrapper')
    return getattr(kind, '__name__', kind)  # pure Python configs name the class itself


def _choose_dtype(amp: str) -> str:
    on_cpu = get_device() == 'cpu'
    has_bfloat16 = on_cpu or not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
    if amp in ('auto', True):
        return 'bfloat16' if has_bfloat16 else 'float16'
    if amp not in AMP_DTYPES:
        raise UserError(f'amp must be float16, bfloat16 or auto, got {amp!r}.')
    if amp == 'float16' and on_cpu:
        raise UserError('amp float16 needs a GPU; on a CPU use bfloat16.')
    if amp == 'bfloat16' and not has_bfloat16:
        raise UserError('amp bfloat16 needs a GPU that has it (compute capability 8.0 or more); use float16.')
    return amp


@contextmanager
def evaluation_dtype(amp: str | None) -> Iterator[None]:
    """Set the half precision of MMEngine's validation and test loops, whose ``fp16`` does not specify one.

    Args:
        amp: ``'float16'`` or ``'bfloat16'``; None changes nothing.
    """
    device = get_device()
    if amp is None or device == 'cpu':  # autocast on a CPU is bfloat16
        yield
        return
    before = torch.get_autocast_dtype(device)
    torch.set_autocast_dtype(device, AMP_DTYPES[amp])
    try:
        yield
    finally:
        torch.set_autocast_dtype(device, before)


def compile_network(model: nn.Module, **options) -> None:
    """Compile the networks of a model (backbone, neck, head, ...) in place, each separately.

    MMEngine compiles the whole training step instead. That step contains the learning rate, the margin of the spread
    loss and other Python numbers, each new value of which causes a recompilation, and lists of samples, which break it
    into small graphs.

    Args:
        model: The model, not wrapped for distributed training.
        **options: Arguments of ``torch.compile``.
    """
    for module in model.children():
        if not isinstance(module, BaseDataPreprocessor):
            module.compile(**options)
