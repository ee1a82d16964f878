"""Predict latent capsules and reconstructions of clouds with a trained point capsule autoencoder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.structures import BaseDataElement
from torch import Tensor

from rescaps_plugin.cli.config import find_test_pipeline, require
from rescaps_plugin.export.predictor import Predictor
from rescaps_plugin.pointcloud.exporter import AutoencoderExporter, Autoencoding
from rescaps_plugin.pointcloud.files import CloudError, Geometry, check_finite, read_geometry
from rescaps_plugin.pointcloud.inference import in_input_units, load_model, prepare_geometry
from rescaps_plugin.training.trained_model import load_trained

CloudInput = str | os.PathLike | np.ndarray | Tensor


@dataclass(frozen=True, repr=False, eq=False)
class CloudPrediction:
    """Reconstruction and latent capsules of a cloud.

    Args:
        points: Reconstruction, float64 ``[n, 3]``, in the units and at the place of the input. Point ``p`` belongs to
            latent capsule ``p`` modulo their number.
        latent: Latent capsules, float32 ``[capsules, dim]``.
    """

    points: np.ndarray
    latent: np.ndarray

    def __repr__(self) -> str:
        capsules, dim = self.latent.shape
        return f'CloudPrediction({len(self.points)} points, {capsules} latent capsules of {dim} entries)'


class CloudPredictor(Predictor[CloudInput, dict, CloudPrediction]):
    """Latent capsules and reconstructions of clouds, predicted by a point capsule autoencoder.

    A cloud is the path of a cloud or mesh file, or a floating point array or tensor ``[n, 3]``. Clouds of up to the
    model's number of points are used unchanged; from larger ones, and from the surface of meshes, as many points as the
    model has are sampled, always the same.

    Args:
        cfg: The config.
        checkpoint: Path or URL; or that of an exported file, whose metadata are the config.
        device: Where the model runs. Defaults to ``'cpu'``.
        batch_size: Maximum batch size. Clouds of different sizes are put into separate batches. Defaults to None: 32.
        runtime: ``'torch'``, ``'onnx'`` or ``'openvino'``; see :class:`~rescaps_plugin.export.predictor.Predictor`.
            Clouds of fewer points than the model's need an export for every size. Defaults to None: ``'torch'``, or
            the one that runs the exported file.
        trust_checkpoint: Whether the checkpoint may hold Python objects, which can run any code. Defaults to False.

    Raises:
        UserError: The config's model is no autoencoder of point clouds, the checkpoint is
            missing or belongs to another model, or the device or packages are missing.
        ValueError: The batch size is not positive, or the runtime is unknown.

    Example:
        >>> from rescaps_plugin.cli.config import load_config
        >>> cfg = load_config('rescaps::pointcaps/pointcaps-rpr_digitclouds.py')
        >>> predictor = CloudPredictor(cfg, 'epoch_10.pth')  # doctest: +SKIP
        >>> predictor.predict(np.random.rand(256, 3))  # doctest: +SKIP
        CloudPrediction(512 points, 32 latent capsules of 16 entries)
    """

    exporter = AutoencoderExporter
    default_batch_size = 32

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        device: str = 'cpu',
        batch_size: int | None = None,
        runtime: str | None = None,
        trust_checkpoint: bool = False,
    ) -> None:
        cfg, model = load_trained(cfg, checkpoint, load_model, trust_checkpoint)
        super().__init__(cfg, model, device, batch_size, runtime)
        require(cfg, 'test_dataloader')
        with self.own_scope():
            self.prepare = Compose(find_test_pipeline(cfg))

    @property
    def network(self) -> Autoencoding:
        """The model as a network from clouds to points and latent capsules."""
        return Autoencoding(self.model)

    def read(self, each: CloudInput, source: str) -> dict:
        is_file = isinstance(each, (str, os.PathLike))
        geometry = read_geometry(each) if is_file else Geometry(_check_points(each, source), None, source)
        sample = prepare_geometry(geometry, self.prepare, self.model.decoder.num_points)
        if fault := self.find_size_fault(tuple(sample['inputs'].shape)):
            raise CloudError(f'{geometry.source}: {fault}')
        return sample

    def batch_key(self, sample: dict) -> torch.Size:
        return sample['inputs'].shape

    def predict_batch(self, samples: Sequence[dict]) -> list[CloudPrediction]:
        return [
            CloudPrediction(in_input_units(points, sample), latent.numpy())
            for _, points, latent, sample in self._reconstruct(samples)
        ]

    def reconstruct(self, samples: Iterable[dict]) -> Iterator[tuple[Tensor, Tensor, Tensor, BaseDataElement]]:
        """Reconstruct samples.

        Args:
            samples: Samples packed by the test pipeline. Clouds of different sizes are put into separate batches.

        Yields:
            The cloud ``[n, 3]``, its reconstruction ``[n, 3]`` and its latent capsules ``[capsules, dim]``, on the CPU,
            and its data sample, in input order.
        """
        for batch in self._batches(samples, self.batch_size):
            yield from self._reconstruct(batch)

    @torch.no_grad()
    def _reconstruct(self, samples: Sequence[dict]) -> Iterator[tuple[Tensor, Tensor, Tensor, BaseDataElement]]:
        data = self.model.data_preprocessor(default_collate(samples))
        run = self.network if self.runtime == 'torch' else self.run_file
        points, latent = (output.cpu() for output in run(data['inputs']))
        clouds = [sample['inputs'] for sample in samples]
        return zip(clouds, points, latent, [sample.cpu() for sample in data['data_samples']], strict=True)


def _check_points(points: np.ndarray | Tensor, source: str) -> np.ndarray:
    """Check a cloud in memory, and return it in float64."""
    if isinstance(points, Tensor):
        is_float, shape = points.is_floating_point(), list(points.shape)
    elif isinstance(points, np.ndarray):
        is_float, shape = points.dtype.kind == 'f', list(points.shape)
    else:
        raise CloudError(f'{source}: a cloud must be a path, an array or a tensor, got {type(points).__name__}')
    if not is_float or len(shape) != 2 or shape[1] != 3 or shape[0] == 0:
        given = f'{points.dtype} {shape}'.removeprefix('torch.')
        raise CloudError(f'{source}: a cloud must be floating point [n, 3], got {given}')
    array = points.detach().cpu().double().numpy() if isinstance(points, Tensor) else points.astype(np.float64)
    check_finite(array, source)
    return array
