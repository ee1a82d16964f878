"""Accuracy on familiar and novel viewpoints of smallNORB, or of data in its format."""

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmpretrain.datasets import build_dataset
from rich.progress import track

from rescaps_plugin.analysis.robustness.accuracy import percentage
from rescaps_plugin.analysis.robustness.models import Model
from rescaps_plugin.classification.datasets.smallnorb import (
    AZIMUTH,
    ELEVATION,
    FAMILIAR_AZIMUTHS,
    FAMILIAR_ELEVATIONS,
)
from rescaps_plugin.classification.inference import predict_dataset
from rescaps_plugin.data.subset import evenly_spaced


def have_viewpoints(models: Sequence[Model]) -> bool:
    """Return whether all models test on data with viewpoints."""
    return all(model.test_set['type'] == 'SmallNORB' for model in models)


def measure_viewpoints(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    """Measure accuracy by azimuth and elevation.

    Args:
        models: The models.
        args: Arguments of ``tools/robustness.py``.

    Returns:
        By model the return value of :func:`viewpoint_accuracy`, and ``trained_on``, the azimuths and elevations of its
        training set.
    """
    results = {}
    for model in track(models, 'Viewpoints'):
        samples = build_dataset(dict(model.test_set, azimuth='all', elevation='all'))
        indices = evenly_spaced(len(samples), args.max_images)
        predicted, truth = predict_dataset(model.classifier, samples, indices, args.batch_size)
        training = model.cfg.get('train_dataloader', {}).get('dataset', {})
        trained = {axis: training.get(axis, 'all') for axis in ('azimuth', 'elevation')}
        measured = viewpoint_accuracy(samples.info_of(indices), (predicted == truth).numpy())
        results[model.name] = {'trained_on': trained, **measured}
    return results


def viewpoint_accuracy(info: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Summarise predictions by viewpoint.

    Args:
        info: int ``[n, 4]``, the info file's row of every image.
        correct: bool ``[n]``, whether it was recognised.

    Returns:
        By ``azimuth`` and ``elevation``: ``familiar`` and ``novel``, accuracies in per cent at the viewpoints of the
        experiments of Hinton et al. 2018, and ``curve``, from the angle in degrees to the accuracy.
    """
    results = {}
    for name, column, familiar, degrees in (
        ('azimuth', AZIMUTH, FAMILIAR_AZIMUTHS, lambda value: 10 * value),
        ('elevation', ELEVATION, FAMILIAR_ELEVATIONS, lambda value: 30 + 5 * value),
    ):
        values = info[:, column]
        known = np.isin(values, familiar)
        results[name] = {
            'familiar': percentage(correct[known]),
            'novel': percentage(correct[~known]),
            'curve': {degrees(value): percentage(correct[values == value]) for value in np.unique(values).tolist()},
        }
    return results
