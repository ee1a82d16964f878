"""Reconstruct point clouds without an encoder, and classify them without a network, for ``tools/baselines.py``."""

import logging
from argparse import Namespace
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from rich.progress import track
from torch import Tensor

from rescaps_plugin.cli.config import inner_datasets
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.losses import chamfer_distance
from rescaps_plugin.pointcloud.transfer import fit_svm
from rescaps_plugin.training.splits import build_dataset, score

# Steps, clouds in a step, and learning rate of the constant cloud.
STEPS = 500
BATCH = 32
LEARNING_RATE = 0.01
# Cells along each axis of a histogram.
CELLS = 8


def score_baselines(cfg: Config, args: Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Score another draw of the same clouds, a constant cloud, and a linear SVM of histograms.

    There is no other draw of clouds that the data set gives whole; a warning in the log tells that it is left out.

    Args:
        cfg: Config of an autoencoder of point clouds.
        args: Arguments of ``tools/baselines.py``.

    Yields:
        Name and metrics of each: Chamfer distances, and the accuracy in per cent of the SVM.

    Raises:
        UserError: Clouds differ in size, or scikit-learn is not installed.
    """
    test = build_dataset(cfg, 'test')
    samples = read_set(test)
    test_clouds, test_labels = stack(samples)
    seeds = [each.get('seed', 0) or 0 for each in inner_datasets(cfg.test_dataloader.dataset)]
    again, _ = stack(read_set(build_dataset(cfg, 'test', seed=max(seeds) + 1 + args.seed)))
    if torch.equal(again, test_clouds):
        print_log(
            'Another draw of the same shapes is left out, as the test set gives its clouds whole; set num_points to '
            'fewer points than they have.',
            logger='current',
            level=logging.WARNING,
        )
    else:
        yield 'another draw of the same shapes', score_clouds(cfg, test, samples, again)
    clouds, labels = stack(read_set(build_dataset(cfg, 'train')))
    constant = fit_constant(clouds, args.seed)
    yield 'one cloud for all', score_clouds(cfg, test, samples, constant.expand_as(test_clouds))
    classifier, _ = fit_svm(histograms(clouds), labels, args.seed)
    right = classifier.predict(histograms(test_clouds)) == test_labels
    yield 'linear SVM of histograms', {'accuracy': 100 * float(np.mean(right))}


def read_set(dataset: BaseDataset) -> list[dict]:
    """Read all samples of a data set.

    Raises:
        UserError: Clouds differ in size.
    """
    samples = [dataset[index] for index in track(range(len(dataset)), 'Reading', transient=True)]
    sizes = {len(sample['inputs']) for sample in samples}
    if len(sizes) > 1:
        raise UserError(f'clouds need one number of points, here from {min(sizes)} to {max(sizes)}; set num_points.')
    return samples


def stack(samples: list[dict]) -> tuple[Tensor, np.ndarray]:
    """Return clouds ``[n, points, 3]`` and labels ``[n]`` of labelled samples."""
    labels = [sample['data_samples'].gt_label.item() for sample in samples]
    return torch.stack([sample['inputs'] for sample in samples]), np.array(labels)


def score_clouds(cfg: Config, dataset: BaseDataset, samples: list[dict], clouds: Tensor) -> dict[str, float]:
    """Score reconstructions ``[n, points, 3]`` of the samples of a data set: the Chamfer distance over all."""
    for sample, points in zip(samples, clouds, strict=True):
        sample['data_samples'].set_data(dict(pred_points=points))
    metrics = score(cfg, dataset, [sample['data_samples'] for sample in samples], samples)
    return {name: value for name, value in metrics.items() if name.endswith('/mean')}


def fit_constant(clouds: Tensor, seed: int) -> Tensor:
    """Find a cloud with a small mean Chamfer distance to others: what a decoder without an input can do best.

    Args:
        clouds: The others ``[n, points, 3]``.
        seed: Seed of its first points, which are drawn from all clouds, and of the order of the clouds.

    Returns:
        The cloud ``[points, 3]``.
    """
    random = np.random.RandomState(seed)
    count, points = clouds.shape[:2]
    constant = clouds.flatten(0, 1)[random.choice(count * points, points, replace=False)].clone().requires_grad_()
    optimizer = torch.optim.Adam([constant], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in track(range(STEPS), 'Fitting', transient=True):
        batch = clouds[random.choice(count, min(BATCH, count), replace=False)]
        optimizer.zero_grad()
        chamfer_distance(constant.expand(len(batch), -1, -1), batch).mean().backward()
        optimizer.step()
        schedule.step()
    return constant.detach()


def histograms(clouds: Tensor) -> np.ndarray:
    """Count the points of clouds ``[n, points, 3]`` in :data:`CELLS` ** 3 cells of [-1, 1] ** 3: ``[n, cells]``."""
    cells = ((clouds.clamp(-1, 1) + 1) / 2 * CELLS).long().clamp_(max=CELLS - 1)
    index = cells @ torch.tensor([CELLS**2, CELLS, 1])
    counts = torch.zeros(len(clouds), CELLS**3)
    return counts.scatter_add_(1, index, torch.ones(index.shape)).numpy()
