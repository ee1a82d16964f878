"""Accuracy by viewpoint."""

from argparse import Namespace

import numpy as np
import pytest
import torch

import rescaps_plugin.classification  # noqa: F401
from rescaps_plugin.analysis.robustness import viewpoints
from rescaps_plugin.analysis.robustness.viewpoints import measure_viewpoints, viewpoint_accuracy
from tests.classification.test_datasets import TEST, norb_arrays, write_norb


def test_accuracy_by_viewpoint():
    # elevation, azimuth: two familiar and two novel of each
    info = np.array([[0, 0, 0, 0], [0, 2, 34, 0], [0, 3, 6, 0], [0, 8, 28, 1], [0, 8, 28, 0]])
    found = viewpoint_accuracy(info, np.array([True, False, True, False, True]))
    assert found['azimuth']['familiar'] == 50 and found['azimuth']['novel'] == pytest.approx(200 / 3)
    assert found['azimuth']['curve'] == {0: 100, 60: 100, 280: 50, 340: 0}
    assert found['elevation']['curve'] == {30: 100, 40: 0, 45: 100, 70: 50}
    only = viewpoint_accuracy(info[:2], np.array([True, True]))
    assert only['azimuth'] == {'familiar': 100, 'novel': None, 'curve': {0: 100, 340: 100}}


@pytest.mark.parametrize('stereo', ['views', 'left'])
@pytest.mark.parametrize('indices', [None, list(range(800, 3, -7)), -200], ids=['all', 'stride', 'last'])
def test_viewpoints_are_those_of_the_samples(tmp_path, monkeypatch, stereo, indices):
    """A classifier that recognises the lowest elevation alone, on a part of the set."""
    arrays = norb_arrays()
    write_norb(tmp_path, arrays, TEST)

    def predict(classifier, samples, indices, batch_size):
        pixels = np.stack([samples[index]['img'].reshape(64, -1)[:2, 0] for index in indices])
        lowest = arrays['info'][pixels @ [256, 1], 1] == 0
        return torch.from_numpy(lowest), torch.ones(len(indices), dtype=bool)

    monkeypatch.setattr(viewpoints, 'predict_dataset', predict)
    test_set = dict(type='SmallNORB', data_root=str(tmp_path), split='test', stereo=stereo, indices=indices)
    model = Namespace(name='norb', test_set=test_set, cfg={}, classifier=None)
    found = measure_viewpoints([model], Namespace(max_images=100, batch_size=8))['norb']['elevation']
    assert found['curve'] == {30: 100, **{30 + 5 * step: 0 for step in range(1, 9)}}
