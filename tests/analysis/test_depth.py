"""Gradients by depth."""

import pytest

pytest.importorskip('mmpretrain')

from rescaps_plugin.analysis.depth import gradient_ratio, late_gradient_ratio


def test_gradient_ratios():
    run = dict(norms=[[4.0, 1.0], [9.0, 1.0], [1.0, 2.0], [3.0, 2.0], [5.0, 2.0], [0.0, 0.0]])
    assert gradient_ratio(run['norms'][0]) == 4
    # The second half without the step that has no gradient: 1.5 and 2.5.
    assert late_gradient_ratio(run) == 2
    assert late_gradient_ratio(dict(norms=[[0.0, 0.0]])) is None
