"""The C library's allocator."""

import os
import platform
import subprocess
import sys

import pytest

from rescaps_plugin.compat.allocator import keep_freed_memory

# Each round allocates and frees a tensor of 100 MB. Prints the page faults of ten rounds before and after
# keep_freed_memory, with its answer, and the resident memory in MB that the rounds leave, kept and returned.
ROUNDS = """
import resource
import torch
from rescaps_plugin.analysis.memory import _resident
from rescaps_plugin.compat.allocator import keep_freed_memory, return_freed_memory

def count_faults():
    for _ in range(5):
        torch.ones(25_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(25_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return _resident('VmRSS') // 1_000_000

print(count_faults())
before = resident()
print(keep_freed_memory(), count_faults(), resident() - before)
return_freed_memory()
print(resident() - before)
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
    default, answer, faults, kept, returned = run(ROUNDS)
    assert answer == 'True'
    # The heap may still grow once.
    assert int(faults) < int(default) / 4
    assert int(kept) > 90 and int(returned) < 10


@needs_glibc
@pytest.mark.parametrize('variable', [{'MALLOC_PERTURB_': '0'}, {'GLIBC_TUNABLES': 'glibc.malloc.perturb=0'}])
def test_environment_comes_first(variable):
    default, answer, faults, kept, _ = run(ROUNDS, **variable)
    assert answer == 'False'
    assert int(faults) > int(default) / 2
    assert int(kept) < 10


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(platform, 'libc_ver', lambda: ('musl', '1.2'))
    monkeypatch.setattr('ctypes.CDLL', None)
    assert not keep_freed_memory()
