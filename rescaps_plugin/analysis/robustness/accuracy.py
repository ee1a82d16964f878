"""Accuracy of models on data sets."""

from argparse import Namespace
from collections.abc import Sequence

import numpy as np
from mmpretrain.datasets import build_dataset
from rich.progress import track

from rescaps_plugin.analysis.robustness.models import Model
from rescaps_plugin.classification.inference import predict_dataset
from rescaps_plugin.data.subset import evenly_spaced


def percentage(correct: np.ndarray) -> float | None:
    """Return the percentage of a bool array that is true; None for an empty array."""
    return 100 * float(np.mean(correct)) if len(correct) else None


def measure_accuracy(
    models: Sequence[Model], datasets: Sequence[dict], args: Namespace, label: str
) -> dict[str, list[float]]:
    """Measure the accuracy of every model on every data set.

    Args:
        models: The models.
        datasets: Configs of data sets.
        args: Arguments of ``tools/robustness.py``: ``seed``, ``max_images``, ``batch_size``.
        label: Label of the progress bar.

    Returns:
        By the name of a model the accuracy on each data set, in per cent.
    """
    results = {model.name: [] for model in models}
    for dataset in track(datasets, label):
        for model in models:
            # Training pipelines draw from NumPy's global generator: the same for every model.
            np.random.seed(args.seed)
            samples = build_dataset(dataset)
            indices = evenly_spaced(len(samples), args.max_images)
            predicted, truth = predict_dataset(model.classifier, samples, indices, args.batch_size)
            results[model.name].append(percentage((predicted == truth).numpy()))
    return results
