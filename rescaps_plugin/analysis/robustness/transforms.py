"""Accuracy under affine transforms and rotations of the test images."""

from argparse import Namespace
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from rescaps_plugin.analysis.robustness.accuracy import measure_accuracy
from rescaps_plugin.analysis.robustness.models import Model
from rescaps_plugin.classification.inference import insert_transforms
from rescaps_plugin.cli.config import inner_datasets

# affNIST's ranges; affNIST translates digits on a larger canvas, here the translation is a tenth of the image.
AFFINE = dict(rotation=(-20.0, 20.0), shear=(-0.2, 0.2), scale=(0.8, 1.2), translation=0.1)


def measure_affine(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    """Measure accuracy on the test set, and under random affine transforms in affNIST's ranges.

    For a config that tests on affNIST, affNIST is the transformed set, and MNIST's own test digits placed as in
    training the familiar one.

    Args:
        models: The models.
        args: Arguments of ``tools/robustness.py``.

    Returns:
        ``familiar`` and ``transformed``, descriptions of both sets; ``ranges`` of the transforms; and ``accuracy`` by
        model: in per cent ``familiar``, ``transformed`` and of each of the ``draws``.
    """
    dataset = models[0].test_set
    affnist = all(part['type'] == 'AffNIST' for part in inner_datasets(dataset))
    if affnist:
        placed = deepcopy(models[0].cfg.train_dataloader.dataset)
        for part in inner_datasets(placed):
            part.update(split='test', indices=None)
        conditions = {'MNIST test digits, placed as in training': placed, 'affNIST': dataset}
    else:
        conditions = {'test set': dataset}
        for draw in range(args.draws):
            conditions[f'draw {draw}'] = _warp(dataset, **AFFINE, fill=args.fill, seed=args.seed + draw)
    measured = measure_accuracy(models, list(conditions.values()), args, 'Affine transforms')
    familiar, *others = conditions
    draws = f', mean of {len(others)} draws' if len(others) > 1 else ''
    return {
        'familiar': familiar,
        'transformed': 'affNIST' if affnist else f'random affine transforms{draws}',
        'ranges': None if affnist else AFFINE,
        'accuracy': {
            name: {'familiar': values[0], 'transformed': float(np.mean(values[1:])), 'draws': values[1:]}
            for name, values in measured.items()
        },
    }


def measure_rotation(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    """Measure accuracy by rotation angle of the images.

    Args:
        models: The models.
        args: Arguments of ``tools/robustness.py``.

    Returns:
        ``angles`` in degrees, counter-clockwise, and ``accuracy`` by model, in per cent at each of them.
    """
    datasets = [
        _warp(models[0].test_set, rotation=(angle, angle), fill=args.fill, seed=args.seed) for angle in args.angles
    ]
    return {'angles': args.angles, 'accuracy': measure_accuracy(models, datasets, args, 'Rotations')}


def _warp(dataset: dict, **parameters: Any) -> dict:
    """Return the config of a data set whose images are transformed at the end of its pipeline."""
    return insert_transforms(dataset, [dict(type='AffineWarp', **parameters)])
