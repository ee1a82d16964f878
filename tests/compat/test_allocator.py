"""The C library's allocator."""

import os
import platform
import subprocess
import sys

import pytest

from rescaps_plugin.compat.allocator import keep_freed_memory

# Each round allocates and frees a tensor of 100 MB; prints what was set, and the page faults of ten rounds.
ROUNDS = """
import resource
import torch
from rescaps_plugin.compat.allocator import keep_freed_memory, return_freed_memory

kept = keep_freed_memory()
for _ in range(2):
    torch.ones(25_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(25_000_000)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

RESIDENT = """
import re
from pathlib import Path
import torch
from rescaps_plugin.compat.allocator import keep_freed_memory, return_freed_memory

def resident():
    return int(re.search(r'VmRSS:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024

keep_freed_memory()
before = resident()
torch.ones(25_000_000)
kept = resident() - before
return_freed_memory()
print(kept, resident() - before)
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the C library is not glibc')


def run(code: str, **environment: str) -> list[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith(('MALLOC_', 'GLIBC_'))}
    result = subprocess.run(
        [sys.executable, '-c', code], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    return result.stdout.split()


@needs_glibc
def test_steps_reuse_memory():
    kept, faults = run(ROUNDS)
    left_alone, default_faults = run(ROUNDS, MALLOC_PERTURB_='0')
    assert (kept, left_alone) == ('True', 'False')
    assert int(faults) < int(default_faults) / 10


@needs_glibc
def test_memory_is_returned():
    kept, returned = run(RESIDENT)
    assert int(kept) >= 90
    assert int(returned) <= 10


@needs_glibc
def test_environment_comes_first(monkeypatch):
    monkeypatch.setenv('GLIBC_TUNABLES', 'glibc.malloc.trim_threshold=131072')
    assert not keep_freed_memory()


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('musl', '1.2'))
    monkeypatch.setattr('ctypes.CDLL', None)
    assert not keep_freed_memory()
