"""Precision of products: without autocast, and without TF32."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

# TF32 is a setting of the process.
_tf32_lock = threading.RLock()


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Return a context in which products of matrices are not rounded to half precision."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


@contextmanager
def without_tf32() -> Iterator[None]:
    """Compute products of float32 matrices on a GPU without rounding to TF32; one thread at a time."""
    matmul = torch.backends.cuda.matmul
    with _tf32_lock:
        # PyTorch has two settings for this, and reading one raises after the other was set.
        try:
            before, precision = matmul.allow_tf32, torch.get_float32_matmul_precision()
        except RuntimeError:
            name = matmul.fp32_precision
            matmul.fp32_precision = 'ieee'
            try:
                yield
            finally:
                matmul.fp32_precision = name
            return
        matmul.allow_tf32 = False
        try:
            yield
        finally:
            matmul.allow_tf32 = before
            if precision == 'medium':  # which is TF32 here and something else on a CPU
                torch.set_float32_matmul_precision(precision)


@torch.compiler.assume_constant_result
def _tf32_is_allowed() -> bool:
    with _tf32_lock:  # not while another thread has turned it off
        try:
            return torch.backends.cuda.matmul.allow_tf32
        except RuntimeError:
            return True


def _is_rounded(x: Tensor) -> bool:
    return x.is_cuda and _tf32_is_allowed()


# A custom operator: the backward pass runs after a context of the forward pass has ended, and a compiler would not
# see the context at all.
@torch.library.custom_op('rescaps::matmul_without_tf32', mutates_args=())
def _matmul_without_tf32(a: Tensor, b: Tensor) -> Tensor:
    with without_tf32():
        return torch.matmul(a, b)


@_matmul_without_tf32.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


def _save_factors(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _matmul_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b = ctx.saved_tensors
    need_a, need_b = ctx.needs_input_grad
    return (
        _matmul_without_tf32(gradient, b.transpose(-1, -2)) if need_a else None,
        _matmul_without_tf32(a.transpose(-1, -2), gradient) if need_b else None,
    )


_matmul_without_tf32.register_autograd(_matmul_gradients, setup_context=_save_factors)


def matmul_full_precision(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices, or batches of matrices, without rounding float32 to TF32 where that is allowed.

    For products whose differences cancel: TF32 has three significant digits, all of which would be lost.
    """
    if torch.jit.is_scripting():
        return torch.matmul(a, b)
    if torch.jit.is_tracing() or torch.compiler.is_exporting() or not _is_rounded(a):
        return torch.matmul(a, b)
    return _matmul_without_tf32(a, b)
