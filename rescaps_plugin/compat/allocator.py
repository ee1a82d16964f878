"""Memory of the C library's allocator, where PyTorch's tensors on a CPU lie."""

import ctypes
import os
import platform

# Parameters of mallopt(3), and bytes: blocks above which each is mapped, and unmapped when it is freed, and free memory
# at the top of the heap above which it is returned to the kernel. Keeping larger blocks as well fragments the heap.
_MMAP_THRESHOLD, _LARGEST = -3, 2**30
_TRIM_THRESHOLD, _KEPT = -1, 2**31 - 1


def _is_glibc() -> bool:
    return platform.libc_ver()[0] == 'glibc'


def keep_freed_memory() -> bool:
    """Have glibc keep the memory of freed tensors for the next ones, for the rest of the process.

    By default it returns freed blocks of more than 32 MB to the kernel at once. Each step of a training on a CPU then
    allocates the same blocks again, and the kernel has to clear their pages.

    Returns:
        Whether it does now: not with another C library, nor where the environment sets the allocator, by
        ``GLIBC_TUNABLES`` of glibc's manual or the variables ``MALLOC_*`` of mallopt(3).
    """
    chosen = any(name == 'GLIBC_TUNABLES' or name.startswith('MALLOC_') for name in os.environ)
    if chosen or not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))


def return_freed_memory() -> None:
    """Return all memory of freed tensors to the kernel, if the C library is glibc."""
    if _is_glibc():
        ctypes.CDLL(None).malloc_trim(0)
