"""Autoencoder of point clouds without capsules, to compare with: PointNet and a fully connected decoder.

Achlioptas, Diamanti, Mitliagkas, Guibas, *Learning Representations and Generative Models for 3D Point Clouds*, ICML
2018, Sec. 3: the encoder of PointNet (Qi, Su, Mo, Guibas, CVPR 2017) without its transforms, and three linear layers.
"""

from mmengine.registry import MODELS
from torch import Tensor, nn

from rescaps_plugin.layers.checks import check_positive
from rescaps_plugin.pointcloud.autoencoder import PointAutoencoder, pointwise_network


class DenseDecoder(nn.Sequential):
    """Linear layers with ReLU between them, which map a vector to the coordinates of all points.

    Args:
        latent_dim: Entries of the vector.
        hidden: Features after each hidden layer.
        num_points: Points of a cloud.

    Shape:
        - input: ``[b, 1, latent_dim]``
        - output: ``[b, num_points, 3]``
    """

    # The vector is one capsule, to tools that colour points by capsule.
    latent_capsules = 1

    def __init__(self, latent_dim: int, hidden: tuple[int, ...], num_points: int) -> None:
        layers: list[nn.Module] = [nn.Flatten()]
        for size, next_size in zip((latent_dim, *hidden), hidden, strict=False):
            layers += [nn.Linear(size, next_size), nn.ReLU()]
        last = (latent_dim, *hidden)[-1]
        super().__init__(*layers, nn.Linear(last, 3 * num_points), nn.Unflatten(1, (num_points, 3)))
        self.num_points = num_points


@MODELS.register_module()
class PointNetAE(PointAutoencoder):
    """Autoencoder with the maximum over the points as its latent code (Achlioptas et al. 2018).

    Args:
        num_points: Points of a reconstructed cloud; input clouds may have any number. Defaults to 2048.
        channels: Features of a point after each layer of the pointwise network. Defaults to (64, 128, 128, 256).
        latent_dim: Entries of the latent code: features of a point after the last layer, which the maximum is taken of.
            Defaults to 128.
        hidden: Features after each hidden layer of the decoder. Defaults to (256, 256).
        loss: Loss between the reconstructed and the input cloud. Defaults to ``dict(type='ChamferLoss')``.
        data_preprocessor: As in :class:`mmengine.model.BaseModel`. Defaults to None.
        init_cfg: mmengine's initialisation. Defaults to None.

    Raises:
        ValueError: ``num_points`` or ``latent_dim`` is not positive.

    Example:
        >>> import torch
        >>> model = PointNetAE(num_points=96)
        >>> model(torch.rand(2, 50, 3)).shape
        torch.Size([2, 96, 3])
    """

    def __init__(
        self,
        num_points: int = 2048,
        channels: tuple[int, ...] = (64, 128, 128, 256),
        latent_dim: int = 128,
        hidden: tuple[int, ...] = (256, 256),
        loss: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(loss, data_preprocessor, init_cfg)
        check_positive(num_points=num_points, latent_dim=latent_dim)
        self.pointwise = pointwise_network((*channels, latent_dim))
        self.decoder = DenseDecoder(latent_dim, tuple(hidden), num_points)

    def encode_points(self, features: Tensor) -> Tensor:
        """Return the maximum ``[b, 1, latent_dim]`` over the points of their features ``[b, n, latent_dim]``."""
        return features.amax(dim=1, keepdim=True)

    def decode(self, latent: Tensor) -> Tensor:
        """Decode latent codes ``[b, 1, latent_dim]`` to clouds ``[b, num_points, 3]``."""
        return self.decoder(latent)
