"""Peak memory of a process or a GPU."""

import os
import re
from pathlib import Path

import torch

from rescaps_plugin.compat.allocator import return_freed_memory

# Writing 5 here sets the peak of the process's resident set back to its present size (Linux).
RESET_PEAK = Path('/proc/self/clear_refs')


class PeakMemory:
    """Peak of the memory in use above the memory in use at construction.

    On a GPU it is PyTorch's allocated memory, elsewhere the resident set of the process.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device == 'cuda'
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            # The allocator keeps freed pages, whose reuse would not be measured.
            return_freed_memory()
            RESET_PEAK.write_text('5')
            self.before = _resident('VmRSS')

    @staticmethod
    def measurable(device: str) -> bool:
        """Whether peak memory can be read: on a GPU, and where the kernel lets a process reset its peak."""
        return device == 'cuda' or os.access(RESET_PEAK, os.W_OK)

    def added(self) -> int:
        """Return the bytes at the peak above those at construction."""
        return (torch.cuda.max_memory_allocated() if self.cuda else _resident('VmHWM')) - self.before


def _resident(field: str) -> int:
    return 1024 * int(re.search(rf'{field}:\s+(\d+) kB', Path('/proc/self/status').read_text()).group(1))
