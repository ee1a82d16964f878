"""Memory of the C library's allocator, where PyTorch's tensors on a CPU lie."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

# Bytes: blocks above which each is mapped, and unmapped when it is freed; and free memory at the top of the heap above
# which it is returned to the kernel. Keeping larger blocks as well fragments the heap. glibc's own rise to its limits.
_KEPT = (2**30, 2**31 - 1)
_DEFAULT = (2**25, 2**26)


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == 'glibc'


def _set_thresholds(mapped: int, trimmed: int) -> bool:
    """Set both, unless the allocator is another, or set by the environment; return whether they are set."""
    chosen = any(name == 'GLIBC_TUNABLES' or name.startswith('MALLOC_') for name in os.environ)
    if chosen or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, mapped) and mallopt(_TRIM_THRESHOLD, trimmed))


def keep_freed_memory() -> bool:
    """Have glibc keep the memory of freed tensors for the next ones, for the rest of the process.

    By default it returns freed blocks of more than 32 MB to the kernel at once. Each step of a training on a CPU then
    allocates the same blocks again, and the kernel has to clear their pages.

    Returns:
        Whether it does now: not with another C library, nor where the environment sets the allocator, by
        ``GLIBC_TUNABLES`` of glibc's manual or the variables ``MALLOC_*`` of mallopt(3).
    """
    return _set_thresholds(*_KEPT)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep the memory of freed tensors within the block, see :func:`keep_freed_memory`; return it at its end."""
    keep_freed_memory()
    try:
        yield
    finally:
        _set_thresholds(*_DEFAULT)
        return_freed_memory()


def return_freed_memory() -> None:
    """Return all memory of freed tensors to the kernel, if the C library is glibc."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)
