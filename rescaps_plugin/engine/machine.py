"""What measurements are taken on, and how much memory they take."""

import ctypes
import os
import platform
import re
import time
from collections import deque
from pathlib import Path
from typing import Any

import timm
import torch

import rescaps_plugin

# Writing 5 here sets the peak of the process's resident set back to its present size (Linux).
RESET_PEAK = Path('/proc/self/clear_refs')


def describe_machine(device: str, threads: int) -> dict[str, str | int]:
    """Describe the hardware and the software that measurements depend on.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
        threads: Threads of PyTorch on the CPU.

    Returns:
        Names and what they stand for, for people to read.
    """
    try:
        cpu = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text()).group(1)
    except (OSError, AttributeError):
        cpu = platform.processor() or platform.machine()
    machine = {
        'CPU': f'{cpu} ({torch.backends.cpu.get_cpu_capability()})',
        'threads': threads,
        'system': platform.platform(),
        'Python': platform.python_version(),
        'torch': torch.__version__,
        'timm': timm.__version__,
        'rescaps': rescaps_plugin.__version__,
    }
    return {'GPU': torch.cuda.get_device_name(), **machine} if device == 'cuda' else machine


class PeakMemory:
    """How far the memory in use rises above what it was when this was made.

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
            # The allocator keeps freed pages, which would be used and not be charged for.
            ctypes.CDLL(None).malloc_trim(0)
            RESET_PEAK.write_text('5')
            self.before = _resident('VmRSS')

    @staticmethod
    def measurable(device: str) -> bool:
        """Whether peak memory can be read: on a GPU, and where the kernel lets a process reset its peak."""
        return device == 'cuda' or os.access(RESET_PEAK, os.W_OK)

    def added(self) -> int:
        """Give the bytes above the start at the highest point since."""
        return (torch.cuda.max_memory_allocated() if self.cuda else _resident('VmHWM')) - self.before


class StepClock:
    """Sum the time of steps without waiting for the device.

    On a GPU it is the time between events at the begin and the end of a step, elsewhere the process's CPU time.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device == 'cuda'
        self._seconds = 0.0
        # Begins and ends of steps that the GPU has not finished.
        self._pending: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    def start(self) -> None:
        """Begin a step, and forget one that is not stopped."""
        self._started = self._now()

    def stop(self) -> None:
        """End the step and count its time."""
        if not self.cuda:
            self._seconds += self._now() - self._started
            return
        self._pending.append((self._started, self._now()))
        while self._pending and self._pending[0][1].query():
            self._add()

    def take(self) -> float:
        """Give the seconds of the steps since this was last called; waits for the GPU to finish them."""
        while self._pending:
            self._pending[0][1].synchronize()
            self._add()
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _now(self) -> Any:
        if not self.cuda:
            return time.process_time()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _add(self) -> None:
        begin, end = self._pending.popleft()
        self._seconds += begin.elapsed_time(end) / 1000


def _resident(field: str) -> int:
    return 1024 * int(re.search(rf'{field}:\s+(\d+) kB', Path('/proc/self/status').read_text()).group(1))
