"""Point clouds on the page: reconstructions by latent capsules, and the exchange of capsules between two shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from rescaps_plugin.pointcloud.drawing import capsule_colors
from rescaps_plugin.pointcloud.predictor import CloudInput, CloudPredictor


class Shape(NamedTuple):
    """A cloud and its reconstruction, in the unit sphere.

    Args:
        points: The cloud ``[n, 3]``.
        reconstruction: Its reconstruction ``[m, 3]``.
        capsules: Number of the latent capsule that every point of the reconstruction belongs to, ``[m]``.
        latent: Latent capsules ``[capsules, dim]``.
    """

    points: np.ndarray
    reconstruction: np.ndarray
    capsules: np.ndarray
    latent: Tensor

    @property
    def colors(self) -> np.ndarray:
        """uint8 colours ``[m, 3]`` of the reconstruction by latent capsule."""
        return capsule_colors(len(self.reconstruction), len(self.latent))

    @property
    def input_colors(self) -> np.ndarray:
        """uint8 colours ``[n, 3]`` of the cloud, each that of the nearest point of the reconstruction."""
        return self.colors[cKDTree(self.reconstruction).query(self.points)[1]]


@torch.no_grad()
def reconstruct(predictor: CloudPredictor, cloud: CloudInput, source: str = 'the cloud') -> Shape:
    """Reconstruct a cloud or mesh.

    Args:
        predictor: The autoencoder.
        cloud: Path of a file, or points ``[n, 3]``.
        source: Name of points in memory, for error messages. Defaults to ``'the cloud'``.

    Raises:
        CloudError: The cloud cannot be used.
    """
    inputs = predictor.read(cloud, source)['inputs'][None]
    points, latent = predictor.network(predictor.model.data_preprocessor({'inputs': inputs})['inputs'])
    capsules = np.arange(points.shape[1]) % latent.shape[1]
    return Shape(inputs[0].numpy(), points[0].cpu().numpy(), capsules, latent[0])


@torch.no_grad()
def swap(predictor: CloudPredictor, one: Shape, other: Shape, chosen: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Exchange latent capsules of two shapes, and decode both.

    Args:
        predictor: The autoencoder.
        one: A shape.
        other: Another.
        chosen: Numbers of the capsules.

    Returns:
        Reconstructions ``[m, 3]`` of both.
    """
    latent = torch.stack([one.latent, other.latent])
    latent[:, chosen] = latent[:, chosen].flip(0)
    first, second = predictor.model.decode(latent).cpu().numpy()
    return first, second
