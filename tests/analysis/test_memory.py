"""Peak memory of this process."""

import pytest
import torch

from rescaps_plugin.analysis.memory import RESET_PEAK, PeakMemory


@pytest.mark.skipif(not PeakMemory.measurable('cpu'), reason=f'{RESET_PEAK} cannot be written')
def test_peak_is_counted_from_the_start_and_outlives_the_tensor():
    # Above 32 MiB, which the C library always allocates from the system and returns to it.
    size = 64 * 1024 * 1024
    before = torch.ones(size // 4)
    memory = PeakMemory('cpu')
    first = memory.added()
    more = torch.ones(size // 4)
    del more
    assert first < 0.05 * size
    assert memory.added() == pytest.approx(size, rel=0.05)
    assert len(before) == size // 4


def test_machines_without_memory_readings(monkeypatch, tmp_path):
    monkeypatch.setattr('rescaps_plugin.analysis.memory.RESET_PEAK', tmp_path / 'missing')
    assert not PeakMemory.measurable('cpu') and PeakMemory.measurable('cuda')
