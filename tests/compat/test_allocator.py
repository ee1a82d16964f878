"""The C library's allocator."""

import os
import platform
import subprocess
import sys

import pytest

from rescaps_plugin.compat.allocator import keep_freed_memory

# Each round allocates and frees a tensor of 100 MB. Prints page faults of ten rounds: within the block, after it, and
# after keep_freed_memory, with its answer.
ROUNDS = """
import resource
import torch
from rescaps_plugin.compat.allocator import freed_memory_kept, keep_freed_memory

def count_faults():
    for _ in range(5):
        torch.ones(25_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(25_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept():
    within = count_faults()
print(within, count_faults(), keep_freed_memory(), count_faults())
"""

# Prints the resident memory, in MB, that a freed tensor of 100 MB leaves within the block, and after it.
RESIDENT = """
import re
from pathlib import Path
import torch
from rescaps_plugin.compat.allocator import freed_memory_kept

def resident():
    return int(re.search(r'VmRSS:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024

before = resident()
with freed_memory_kept():
    torch.ones(25_000_000)
    kept = resident() - before
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
    within, after, kept, faults = run(ROUNDS)
    assert kept == 'True'
    # The heap may still grow once.
    assert max(int(within), int(faults)) < int(after) / 4


@needs_glibc
def test_memory_is_returned():
    kept, returned = run(RESIDENT)
    assert int(kept) >= 90
    assert int(returned) <= 10


@needs_glibc
def test_environment_comes_first():
    within, after, kept, faults = run(ROUNDS, MALLOC_PERTURB_='0')
    assert kept == 'False'
    assert min(int(within), int(faults)) > int(after) / 2
    assert run(ROUNDS, GLIBC_TUNABLES='glibc.malloc.perturb=0')[2] == 'False'


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('musl', '1.2'))
    monkeypatch.setattr('ctypes.CDLL', None)
    assert not keep_freed_memory()
