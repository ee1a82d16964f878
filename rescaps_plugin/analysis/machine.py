"""What measurements are taken on, and how much memory they take."""

import platform
import re
from pathlib import Path

import timm
import torch

import rescaps_plugin


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
