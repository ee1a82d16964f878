"""Instructions of the processor."""

import platform
import re
from pathlib import Path

import pytest
import torch

from rescaps_plugin.analysis.machine import describe_machine
from rescaps_plugin.compat.processor import find_instructions

CPUINFO = Path('/proc/cpuinfo')


def test_instructions_are_named(monkeypatch):
    capabilities = {'architecture': 'x86_64', 'sse2': True, 'avx2': True, 'avx512_bf16': True, 'amx_int8': False}
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities)
    assert describe_machine('cpu', 1)['instructions'] == 'avx2 avx512_bf16'
    monkeypatch.delattr(torch.cpu, 'get_capabilities')
    assert describe_machine('cpu', 1)['instructions'] == 'unknown'


@pytest.mark.skipif(platform.machine() != 'x86_64' or not CPUINFO.exists(), reason='needs /proc/cpuinfo of x86')
@pytest.mark.skipif(not hasattr(torch.cpu, 'get_capabilities'), reason='PyTorch is too old')
def test_instructions_are_those_of_the_kernel():
    flags = re.search(r'^flags\s*:(.*)$', CPUINFO.read_text(), re.MULTILINE)[1].split()
    found = find_instructions()
    for name in ('avx2', 'avx512_bf16', 'avx512_vnni', 'avx_vnni', 'amx_int8', 'amx_bf16'):
        assert (name in found) == (name in flags)
