"""Export autoencoders of point clouds, for ``tools/export.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from rescaps_plugin.cli.config import find_test_pipeline
from rescaps_plugin.export.exporter import Exporter
from rescaps_plugin.losses import chamfer_distance
from rescaps_plugin.pointcloud.autoencoder import PointAutoencoder
from rescaps_plugin.pointcloud.inference import load_model


class Autoencoding(nn.Module):
    """Reconstructions and latent codes of an autoencoder of point clouds, as in evaluation.

    Args:
        autoencoder: The autoencoder.

    Shape:
        - points: ``[b, n, 3]``, in the unit sphere
        - reconstruction: ``[b, num_points, 3]``; point ``p`` belongs to capsule ``p`` modulo ``latent_capsules``
        - latent: ``[b, latent_capsules, latent_dim]``
    """

    def __init__(self, autoencoder: PointAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.autoencoder.encode(points)
        return self.autoencoder.decode(latent), latent


class AutoencoderExporter(Exporter):
    """Export of autoencoders of point clouds: see :class:`Autoencoding`."""

    task = 'reconstruction'
    sample = 'cloud'
    size_names = ('N',)
    input_name = 'points'
    output_names = ('reconstruction', 'latent')

    def load_model(self) -> PointAutoencoder:
        return load_model(self.cfg, self.args.checkpoint, self.args.device)

    def build_network(self, deployed: nn.Module) -> nn.Module:
        return Autoencoding(deployed)

    def find_input_shape(self) -> tuple[int, ...]:
        """Return ``(points, 3)``, with the number from ``--input-size``, or of the test set's first cloud."""
        return (*self.args.input_size, 3) if self.args.input_size else super().find_input_shape()

    def describe(self) -> dict[str, Any]:
        normalizes = any(step['type'] == 'NormalizePoints' for step in find_test_pipeline(self.cfg))
        recipe = [
            f'take {self.input_shape[0]} points of the cloud, or of the surface of the mesh',
            'subtract the mean of the points, and divide by the largest distance of a point from it',
            'run the file',
            'multiply reconstruction by that distance and add that mean; latent is used as it is',
        ]
        return {'recipe': recipe if normalizes else [recipe[0], recipe[2]]}

    def reference(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return Autoencoding(self.model)(inputs)

    def agreement(self, outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        distance = (outputs[0] - expected[0]).norm(dim=2).max()
        return f'points are at most {distance:.1e} away'

    def score(self, inputs: Tensor, outputs: Sequence[Tensor], annotations: Sequence[BaseDataElement]) -> list[float]:
        """Compute the Chamfer distance between each cloud and its reconstruction."""
        pairs = zip(outputs[0], inputs, strict=True)
        return [chamfer_distance(reconstruction[None], points[None]).item() for reconstruction, points in pairs]

    def metrics(self, scores: Sequence[float]) -> dict[str, float]:
        return {'chamfer/mean': 1000 * sum(scores) / len(scores)}

    def summarise(self, scores: Sequence[float]) -> str:
        return f'Chamfer distance {self.metrics(scores)["chamfer/mean"]:.3f}e-3'
