"""Trained point capsule autoencoders at work: latent capsules and reconstructions of whole data sets."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose, default_collate
from mmengine.registry import DATASETS, MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

from rescaps_plugin.engine.checkpoint import load_weights
from rescaps_plugin.engine.config import find_test_pipeline, require, with_pipeline
from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.extras import import_extra
from rescaps_plugin.engine.opening import open_trained
from rescaps_plugin.pointcloud.drawing import capsule_colors
from rescaps_plugin.pointcloud.files import CloudError, read_points
from rescaps_plugin.pointcloud.point_caps import PointCapsAE


def load_model(cfg: Config, checkpoint: str, device: str) -> PointCapsAE:
    """Build the model of a config and load a checkpoint of it.

    Args:
        cfg: The config.
        checkpoint: Path or URL.
        device: Where the model runs.

    Returns:
        The model, in eval mode.

    Raises:
        UserError: The config's model is no :class:`PointCapsAE`, or the checkpoint is one of another model.
    """
    model = MODELS.build(cfg.model)
    if not isinstance(model, PointCapsAE):
        raise UserError(f'config {cfg.filename}: model.type must be PointCapsAE, it is {type(model).__name__}.')
    load_weights(model, checkpoint)
    return model.to(device).eval()


def open_model(config: str, checkpoint: str, args: Namespace) -> tuple[Config, PointCapsAE]:
    """Read a config and load a checkpoint of its model, as a tool's arguments ask for.

    Args:
        config: Path of the config, or ``package::path``.
        checkpoint: Path or URL.
        args: Arguments of :func:`~rescaps_plugin.engine.cli.add_config_arguments`, and ``device``.

    Returns:
        The config, with a ``work_dir``, and the model, in eval mode.

    Raises:
        UserError: As :func:`load_model`; or the config or checkpoint does not exist.
    """
    return open_trained(config, checkpoint, args, load_model)


def build_dataset(cfg: Config, phase: str) -> BaseDataset:
    """Build the data set of a config's ``'train'`` or ``'test'`` loader, as the test pipeline prepares it.

    Args:
        cfg: The config.
        phase: ``'train'`` or ``'test'``.

    Returns:
        The data set, without augmentation.
    """
    require(cfg, f'{phase}_dataloader', 'test_dataloader')
    dataset = cfg[f'{phase}_dataloader'].dataset
    return DATASETS.build(with_pipeline(dataset, find_test_pipeline(cfg)))


def read_samples(paths: Sequence[Path], pipeline: list[dict], num_points: int) -> tuple[list[dict], list[str]]:
    """Read cloud and mesh files as samples.

    Args:
        paths: The files; which points are drawn of one depends on its place among them alone.
        pipeline: Test pipeline of a config.
        num_points: Points of a sample.

    Returns:
        The samples, and what was wrong with the files that could not be used.
    """
    prepare = Compose(pipeline)
    samples, failures = [], []
    for index, path in enumerate(paths):
        try:
            points = read_points(path, num_points, np.random.RandomState([0, index]))
            samples.append(prepare(dict(points=points, sample_idx=index, path=str(path), source=str(path))))
        except CloudError as error:
            failures.append(str(error))
    return samples, failures


def write_ply(path: Path, sample: BaseDataElement, latent_capsules: int) -> None:
    """Write a reconstruction, in the units and at the place of its input, coloured by latent capsule.

    Args:
        path: PLY file to write.
        sample: A sample as :func:`predict` gives it.
        latent_capsules: Number of latent capsules of the model.

    Raises:
        UserError: trimesh is not installed.
    """
    points = sample.pred_points.numpy() * sample.get('radius', 1.0) + sample.get('centre', 0.0)
    colors = capsule_colors(len(points), latent_capsules)
    import_extra('trimesh', 'pointcloud').PointCloud(points, colors=colors).export(path)


def predict(
    model: PointCapsAE, samples: Sequence[dict], batch_size: int = 32
) -> Iterator[tuple[Tensor, BaseDataElement]]:
    """Run a model over samples.

    Args:
        model: The model, in eval mode.
        samples: Samples as pipelines pack them, clouds of one size.
        batch_size: Clouds at a time. Defaults to 32.

    Yields:
        The cloud ``[n, 3]`` and its sample with ``pred_points`` and ``latent``, on the CPU.
    """
    for start in range(0, len(samples), batch_size):
        batch = default_collate([samples[index] for index in range(start, min(start + batch_size, len(samples)))])
        with torch.no_grad():
            predictions = model.test_step(batch)
        yield from zip(batch['inputs'], (sample.cpu() for sample in predictions), strict=True)
