"""F-measure of boundaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip('mmseg')

from rescaps_plugin.saliency.boundary import TOLERANCES, score_boundary

MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))


def box(top, left, side=40, size=(120, 160)):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize(
    ('shift', 'expected'),
    # 0.75% of the diagonal of 200 pixels is 1.5 pixels.
    [(0, (1, 1, 1)), (1, (1, 1, 1)), (2, (0.5, 1, 0.5)), (3, (0.5, 0.5, 0.5)), (60, (0, 0, 0))],
)
def test_shifted_box(shift, expected):
    """Beyond the tolerance, only the pixels of the two edges along the shift are matched, but for their ends."""
    scores = score_boundary(np.uint8(255) * box(20, 10 + shift), box(20, 10))
    assert list(scores.values()) == pytest.approx(expected, abs=0.03)


def test_precision_and_recall():
    """Every second box is found: the precision is 1 and the recall 1/2."""
    scores = score_boundary(np.uint8(255) * box(20, 10), box(20, 10) | box(20, 100))
    assert scores == pytest.approx(dict.fromkeys(TOLERANCES, 2 / 3))


def test_salient_levels_are_those_of_masks():
    mask = box(20, 10)
    assert score_boundary(np.where(mask, 128, 127).astype(np.uint8), mask)['BF@1'] == 1
    assert score_boundary(np.where(mask, 127, 0).astype(np.uint8), mask)['BF@1'] == 0


@given(MASKS)
def test_whole_and_empty_regions_have_no_boundary(mask):
    for full in (np.zeros_like(mask), np.ones_like(mask)):
        level = np.uint8(255) * full
        assert score_boundary(level, full) == dict.fromkeys(TOLERANCES, 1.0)
        expected = 1.0 if mask.all() or not mask.any() else 0.0
        assert score_boundary(level, mask) == dict.fromkeys(TOLERANCES, expected)


@given(st.data())
def test_map_and_mask_are_interchangeable(data):
    first = data.draw(MASKS)
    second = data.draw(hnp.arrays(bool, first.shape))
    scores = score_boundary(np.uint8(255) * first, second)
    assert scores == pytest.approx(score_boundary(np.uint8(255) * second, first))
    assert 0 <= scores['BF@1'] <= scores['BF@2'] <= 1
