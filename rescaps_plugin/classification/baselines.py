"""Classifiers that look at no image, or at single pixels, for ``tools/baselines.py``."""

import warnings
from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmpretrain.structures import DataSample
from rich.progress import track

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.training.splits import build_dataset, score


def score_baselines(cfg: Config, args: Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Score the most frequent class and a linear classifier.

    The linear classifier is scikit-learn's multinomial logistic regression with its usual L2 penalty, of values scaled
    to zero mean and unit variance over the training images.

    Args:
        cfg: Config of a classifier.
        args: Arguments of ``tools/baselines.py``.

    Yields:
        Name and metrics of each.

    Raises:
        UserError: scikit-learn is not installed, images differ in size, or there is only one class.
    """
    import_extra('sklearn', 'classification')
    from sklearn.dummy import DummyClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = (build_dataset(cfg, phase) for phase in ('train', 'test'))
    classes = len(train.metainfo['classes'])
    images, labels = read_pixels(train)
    test_images, test_labels = read_pixels(test)
    if images.shape[1] != test_images.shape[1]:
        raise UserError(
            f'config {cfg.filename}: images of training and test must have one size; with the test pipeline they have '
            f'{images.shape[1]} and {test_images.shape[1]} values.'
        )
    if len(np.unique(labels)) < 2:
        raise UserError(f'config {cfg.filename}: a classifier needs two classes or more, all images are of one.')
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, random_state=args.seed))
    for name, classifier in (('most frequent class', DummyClassifier()), ('linear classifier of pixels', linear)):
        with warnings.catch_warnings():
            # Further iterations fit the training images better, and the test images worse.
            warnings.simplefilter('ignore', ConvergenceWarning)
            classifier.fit(images, labels)
        scores = np.zeros((len(test_images), classes), np.float32)
        scores[:, classifier.classes_] = classifier.predict_proba(test_images)
        samples = [
            DataSample().set_pred_score(torch.from_numpy(row)).set_gt_label(int(label))
            for row, label in zip(scores, test_labels, strict=True)
        ]
        yield name, score(cfg, test, samples)


def read_pixels(dataset: BaseDataset) -> tuple[np.ndarray, np.ndarray]:
    """Read the images of a data set as they go into a network's preprocessor.

    Args:
        dataset: The data set.

    Returns:
        float32 values ``[n, c * h * w]``, and labels ``[n]``.

    Raises:
        UserError: Images differ in size.
    """
    rows, labels = [], []
    for index in track(range(len(dataset)), 'Reading', transient=True):
        sample = dataset[index]
        rows.append(sample['inputs'].flatten().numpy())
        labels.append(int(sample['data_samples'].gt_label))
        if len(rows[-1]) != len(rows[0]):
            raise UserError('a linear classifier needs images of one size; add a Resize to the test pipeline.')
    return np.stack(rows).astype(np.float32), np.array(labels)
