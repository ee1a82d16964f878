"""Statistics of measurements."""

import pytest

from rescaps_plugin.analysis.benchmark.summary import growth, summarise


def test_growth():
    assert growth([1, 2, 8], [5, 20, 320]) == pytest.approx(2)


def test_summary():
    summary = summarise([2, 9, 4, 8, 10], [1, 3, 4, 2, 5])
    assert (summary['low'], summary['median'], summary['high']) == (4, 8, 9)
    # Ratios are of the same round: 2, 3, 1, 4, 2.
    assert summary['ratio'] == {'median': 2, 'low': 2, 'high': 3}
    assert summarise([3], [])['ratio'] is None and summarise([3], [0])['ratio'] is None
