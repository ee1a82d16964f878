"""Load trained autoencoders of point clouds and predict latent codes and reconstructions."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export.exported import ExportedModel
from rescaps_plugin.export.formats import is_exported
from rescaps_plugin.pointcloud.autoencoder import PointAutoencoder
from rescaps_plugin.pointcloud.drawing import capsule_colors
from rescaps_plugin.pointcloud.files import CloudError, Geometry
from rescaps_plugin.training.checkpoint_loader import load_weights
from rescaps_plugin.training.trained_model import open_trained


class ExportedAutoencoder(ExportedModel):
    """Autoencoder of point clouds in an exported file."""

    def __init__(self, cfg: ConfigDict) -> None:
        super().__init__(cfg)
        self.data_preprocessor = BaseDataPreprocessor()
        self.decoder = SimpleNamespace(num_points=self.input_size[0])


def load_model(cfg: Config, checkpoint: str, device: str) -> PointAutoencoder | ExportedAutoencoder:
    """Build the model of a config and load a checkpoint of it.

    Args:
        cfg: The config.
        checkpoint: Path or URL; or that of an exported file, whose metadata are the config.
        device: Where the model runs.

    Returns:
        The model, in eval mode.

    Raises:
        UserError: The config's model is no :class:`PointAutoencoder`, or the checkpoint belongs to another model.
    """
    if is_exported(checkpoint):
        return ExportedAutoencoder(cfg.model)
    model = MODELS.build(cfg.model)
    if not isinstance(model, PointAutoencoder):
        raise UserError(
            f'config {cfg.filename}: model.type must be PointCapsAE or PointNetAE, it is {type(model).__name__}.'
        )
    load_weights(model, checkpoint)
    return model.to(device).eval()


def open_model(config: str, checkpoint: str, args: Namespace) -> tuple[Config, PointAutoencoder]:
    """Read a config and load a checkpoint of its model, with a tool's arguments.

    Args:
        config: Path of the config, or ``package::path``.
        checkpoint: Path or URL.
        args: Arguments of :func:`~rescaps_plugin.cli.arguments.add_config_arguments`, and ``device``.

    Returns:
        The config, with a ``work_dir``, and the model, in eval mode.

    Raises:
        UserError: As in :func:`load_model`; or the config or checkpoint does not exist.
    """
    return open_trained(config, checkpoint, args, load_model)


def read_samples(paths: Sequence[Path], read: Callable[[Path, str], dict], failures: list[str]) -> Iterator[dict]:
    """Read cloud and mesh files as samples.

    Args:
        paths: The files.
        read: Function of a file and its name that returns its sample, such as ``CloudPredictor.read``.
        failures: List that the error messages of unusable files are appended to.

    Yields:
        The samples of :func:`prepare_geometry`, whose data samples have the file's ``path`` too.
    """
    for index, path in enumerate(paths):
        try:
            sample = read(path, str(path))
        except CloudError as error:
            failures.append(str(error))
            continue
        sample['data_samples'].set_metainfo(dict(sample_idx=index, path=str(path)))
        yield sample


def prepare_geometry(geometry: Geometry, prepare: Callable[[dict], dict], num_points: int) -> dict:
    """Prepare a cloud or mesh by a test pipeline.

    Clouds of up to ``num_points`` points are used unchanged; from larger ones, and from the surface of meshes,
    ``num_points`` points are sampled. Equal geometry results in equal samples.

    Args:
        geometry: The cloud or mesh.
        prepare: Test pipeline of a config.
        num_points: Maximum number of points of the sample.

    Returns:
        The sample. Its data sample has ``points_of_file``, the number of points of a cloud or vertices of a mesh, and
        ``is_mesh``.

    Raises:
        CloudError: It cannot be sampled, or has no extent.
    """
    count, is_mesh = len(geometry.vertices), geometry.faces is not None
    points = geometry.draw(num_points if is_mesh else min(count, num_points), np.random.RandomState(0))
    sample = prepare(dict(points=points, source=geometry.source))
    sample['data_samples'].set_metainfo(dict(points_of_file=count, is_mesh=is_mesh))
    return sample


def in_input_units(points: Tensor, sample: BaseDataElement) -> np.ndarray:
    """Return a reconstruction in the units and at the place of its input.

    Args:
        points: The reconstruction ``[n, 3]``, in the unit sphere if the pipeline normalises clouds.
        sample: The data sample of the input.

    Returns:
        float64 cloud ``[n, 3]``: far from the origin, single precision cannot represent the shape.
    """
    return points.double().cpu().numpy() * sample.get('radius', 1.0) + sample.get('centre', 0.0)


def write_ply(path: Path, points: np.ndarray, latent_capsules: int) -> None:
    """Write a reconstruction as PLY, coloured by latent capsule.

    Args:
        path: PLY file to write.
        points: The reconstruction, ``[n, 3]``.
        latent_capsules: Number of latent capsules of the model.
    """
    rows = np.empty(len(points), [('points', '<f8', 3), ('colors', 'u1', 3)])
    rows['points'], rows['colors'] = points, capsule_colors(len(points), latent_capsules)
    properties = [f'property double {axis}' for axis in 'xyz']
    properties += [f'property uchar {color}' for color in ('red', 'green', 'blue')]
    header = ['ply', 'format binary_little_endian 1.0', f'element vertex {len(points)}', *properties, 'end_header', '']
    path.write_bytes('\n'.join(header).encode() + rows.tobytes())


def predict(
    model: PointAutoencoder, samples: Iterable[dict], batch_size: int = 32
) -> Iterator[tuple[Tensor, BaseDataElement]]:
    """Run a model over samples.

    Args:
        model: The model, in eval mode.
        samples: Samples packed by a pipeline. Clouds of different sizes are put into separate batches.
        batch_size: Maximum batch size. Defaults to 32.

    Yields:
        The cloud ``[n, 3]`` and its sample with ``pred_points`` and ``latent``, on the CPU, in input order.
    """
    batch = []
    for sample in samples:
        if batch and (len(batch) == batch_size or sample['inputs'].shape != batch[0]['inputs'].shape):
            yield from _predict_batch(model, batch)
            batch = []
        batch.append(sample)
    if batch:
        yield from _predict_batch(model, batch)


def _predict_batch(model: PointAutoencoder, samples: Sequence[dict]) -> Iterator[tuple[Tensor, BaseDataElement]]:
    batch = default_collate(samples)
    with torch.no_grad():
        predictions = model.test_step(batch)
    yield from zip(batch['inputs'], (sample.cpu() for sample in predictions), strict=True)
