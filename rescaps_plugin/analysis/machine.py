"""Descriptions of the machine that measurements are taken on."""

import platform
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import timm
import torch

import rescaps_plugin
from rescaps_plugin.compat.processor import find_instructions


def describe_machine(device: str, threads: int) -> dict[str, str | int]:
    """Describe the hardware and the software that measurements depend on.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
        threads: Threads of PyTorch on the CPU.

    Returns:
        Descriptions by component.
    """
    try:
        cpu = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text()).group(1)
    except (OSError, AttributeError):
        cpu = platform.processor() or platform.machine()
    machine = {
        'CPU': f'{cpu} ({torch.backends.cpu.get_cpu_capability()})',
        'instructions': ' '.join(find_instructions()) or 'unknown',
        'threads': threads,
        'system': platform.platform(),
        'Python': platform.python_version(),
        'torch': torch.__version__,
        'timm': timm.__version__,
        'rescaps': rescaps_plugin.__version__,
    }
    return {'GPU': torch.cuda.get_device_name(), **machine} if device == 'cuda' else machine


def describe_run(device: str, threads: int, command: str) -> dict[str, Any]:
    """Describe a run of measurements for its records.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
        threads: Threads of PyTorch on the CPU.
        command: The command line.

    Returns:
        ``command``, ``date`` and ``machine``, as of :func:`describe_machine`.
    """
    return {
        'command': command,
        'date': datetime.now().astimezone().isoformat(timespec='seconds'),
        'machine': describe_machine(device, threads),
    }
