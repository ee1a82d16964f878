"""Classifiers that look at no image, or at single pixels, for ``tools/baselines.py``."""

import logging
import warnings
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.runner import set_random_seed
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from rich.progress import track

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.training.run_checks import compare_classes
from rescaps_plugin.training.splits import build_dataset, score

# Largest number of values of a data set, which is held in memory: 4 GiB in float32.
LIMIT = 2**30


def score_baselines(cfg: Config, args: Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Score the most frequent class and linear classifiers of pixels.

    A linear classifier is scikit-learn's multinomial logistic regression with its usual L2 penalty, of values scaled to
    zero mean and unit variance over the training images. One is fitted to the images of the test pipeline, another to
    those of the training pipeline, each image once, if it has steps of its own and the same size.

    Args:
        cfg: Config of a classifier.
        args: Arguments of ``tools/baselines.py``.

    Yields:
        Name and metrics of each.

    Raises:
        UserError: scikit-learn is not installed, images differ in size or are too many, there is only one class, or
            the classes of the test set are numbered otherwise.
    """
    import_extra('sklearn', 'classification')
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = build_dataset(cfg, 'train'), build_dataset(cfg, 'test')
    warning = compare_classes(train.metainfo.get('classes'), test.metainfo.get('classes'), 'test_dataloader.dataset')
    if warning:
        print_log(warning, 'current', logging.WARNING)
    plain, targets = read_pixels(train), read_pixels(test)
    if len(np.unique(plain[1])) < 2:
        raise UserError(f'config {cfg.filename}: a classifier needs two classes or more, all images are of one.')
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    yield 'most frequent class', fit_and_score(cfg, DummyClassifier(), plain, test, targets)
    yield 'linear classifier of pixels', fit_and_score(cfg, linear, plain, test, targets)
    set_random_seed(args.seed)
    augmented = read_pixels(DATASETS.build(cfg.train_dataloader.dataset))
    if augmented[0].shape == plain[0].shape and (augmented[0] != plain[0]).any():
        yield 'linear classifier of augmented pixels', fit_and_score(cfg, linear, augmented, test, targets)


def fit_and_score(
    cfg: Config,
    classifier: Any,
    train: tuple[np.ndarray, np.ndarray],
    test: BaseDataset,
    targets: tuple[np.ndarray, np.ndarray],
) -> dict[str, float]:
    """Fit a classifier of scikit-learn, and score it on a test set.

    Args:
        cfg: Config, whose ``test_evaluator`` is used.
        classifier: The classifier.
        train: Values and labels to fit.
        test: The test set.
        targets: Its values and labels.

    Returns:
        The metrics by name.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Further iterations fit the training images better, and the test images worse.
        warnings.simplefilter('ignore', ConvergenceWarning)
        classifier.fit(*train)
    values, labels = targets
    scores = torch.zeros(len(values), len(test.metainfo['classes']))
    scores[:, classifier.classes_] = torch.from_numpy(classifier.predict_proba(values)).float()
    pairs = zip(scores, labels.tolist(), strict=True)
    return score(cfg, test, [DataSample().set_pred_score(row).set_gt_label(label) for row, label in pairs])


def read_pixels(dataset: BaseDataset) -> tuple[np.ndarray, np.ndarray]:
    """Read the images of a data set as they go into a network's preprocessor.

    Args:
        dataset: The data set.

    Returns:
        float32 values ``[n, c * h * w]``, and labels ``[n]``.

    Raises:
        UserError: Images differ in size, or are too many.
    """
    rows, labels = [], []
    for index in track(range(len(dataset)), 'Reading', transient=True):
        sample = dataset[index]
        rows.append(sample['inputs'].flatten().numpy())
        labels.append(int(sample['data_samples'].gt_label))
        if len(rows[-1]) != len(rows[0]):
            raise UserError('a linear classifier needs images of one size; add a Resize to the pipelines.')
        if len(dataset) * len(rows[0]) > LIMIT:
            raise UserError(
                f'{len(dataset)} images of {len(rows[0])} values are too many for a linear classifier, which holds up '
                f'to {LIMIT} values in memory; take fewer, as by --cfg-options train_dataloader.dataset.indices=N.'
            )
    return np.stack(rows).astype(np.float32), np.array(labels)
