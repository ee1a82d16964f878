"""Accuracy by viewpoint."""

import numpy as np
import pytest

from rescaps_plugin.analysis.robustness.viewpoints import viewpoint_accuracy


def test_accuracy_by_viewpoint():
    # elevation, azimuth: two familiar and two novel of each
    info = np.array([[0, 0, 0, 0], [0, 2, 34, 0], [0, 3, 6, 0], [0, 8, 28, 1], [0, 8, 28, 0]])
    found = viewpoint_accuracy(info, np.array([True, False, True, False, True]))
    assert found['azimuth']['familiar'] == 50 and found['azimuth']['novel'] == pytest.approx(200 / 3)
    assert found['azimuth']['curve'] == {0: 100, 60: 100, 280: 50, 340: 0}
    assert found['elevation']['curve'] == {30: 100, 40: 0, 45: 100, 70: 50}
    only = viewpoint_accuracy(info[:2], np.array([True, True]))
    assert only['azimuth'] == {'familiar': 100, 'novel': None, 'curve': {0: 100, 340: 100}}
