"""Subsets of data sets."""

from itertools import pairwise

from hypothesis import given
from hypothesis.strategies import integers, none

from rescaps_plugin.data.subset import evenly_spaced


@given(integers(0, 300), none() | integers(1, 300))
def test_indices_are_evenly_spaced(count, limit):
    indices = evenly_spaced(count, limit)
    assert len(indices) == (count if limit is None else min(count, limit))
    assert indices == sorted(set(indices)) and all(0 <= index < count for index in indices)
    # The end is as far from the last as each is from the next.
    steps = {after - before for before, after in pairwise([*indices, count])}
    assert not indices or indices[0] == 0 and max(steps) - min(steps) <= 1
