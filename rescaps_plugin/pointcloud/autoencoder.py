"""What autoencoders of point clouds have in common: the modes of mmengine, the pointwise network, and the loss."""

from abc import abstractmethod
from collections.abc import Sequence

from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from rescaps_plugin import losses


@MODELS.register_module()
class ChamferLoss(losses.ChamferLoss):
    """Chamfer distance, averaged over the batch; see :func:`rescaps_plugin.losses.chamfer_distance`.

    Args:
        loss_weight: Weight of the loss. Defaults to 1.0.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, points: Tensor, target: Tensor) -> Tensor:
        return self.loss_weight * super().forward(points, target)


def pointwise_network(channels: Sequence[int]) -> nn.Sequential:
    """Create a network that maps every point ``[n, 3]`` to features ``[n, channels[-1]]``.

    Args:
        channels: Features after each layer, which is a linear map with batch normalisation and ReLU.
    """
    layers: list[nn.Module] = []
    for size, next_size in zip((3, *channels), channels, strict=False):
        layers += [nn.Linear(size, next_size), nn.BatchNorm1d(next_size), nn.ReLU()]
    return nn.Sequential(*layers)


class PointAutoencoder(BaseModel):
    """Base class of autoencoders of point clouds.

    A subclass has ``pointwise``, a :func:`pointwise_network`, and ``decoder``, with the attributes ``num_points``,
    points of a reconstruction, and ``latent_capsules``, rows of a latent code.

    Args:
        loss: Loss between the reconstructed and the input cloud. Defaults to ``dict(type='ChamferLoss')``.
        data_preprocessor: As in :class:`mmengine.model.BaseModel`. Defaults to None.
        init_cfg: mmengine's initialisation. Defaults to None.
    """

    pointwise: nn.Module
    decoder: nn.Module

    def __init__(
        self, loss: dict | None = None, data_preprocessor: dict | None = None, init_cfg: dict | None = None
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.loss = MODELS.build(loss or dict(type='ChamferLoss'))

    @abstractmethod
    def encode_points(self, features: Tensor) -> Tensor:
        """Encode the features ``[b, n, c]`` of points as ``[b, latent_capsules, latent_dim]``."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latent codes ``[b, latent_capsules, latent_dim]`` to clouds ``[b, num_points, 3]``."""

    def encode(self, inputs: Tensor) -> Tensor:
        """Encode clouds ``[b, n, 3]`` as ``[b, latent_capsules, latent_dim]``.

        Raises:
            ValueError: The clouds are not ``[b, n, 3]``.
        """
        if not isinstance(inputs, Tensor) or inputs.dim() != 3 or inputs.shape[2] != 3:
            shape = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
            raise ValueError(
                f'inputs must be clouds [b, n, 3] in one tensor, got {shape}; dataloaders need collate_fn='
                "dict(type='default_collate'), and clouds of one size"
            )
        return self.encode_points(self.pointwise(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2]))

    def forward(
        self, inputs: Tensor, data_samples: list[BaseDataElement] | None = None, mode: str = 'tensor'
    ) -> Tensor | dict[str, Tensor] | list[BaseDataElement]:
        """Reconstruct clouds.

        Args:
            inputs: Clouds ``[b, n, 3]``, in the unit sphere.
            data_samples: Samples that predictions are added to. Defaults to None.
            mode: ``'tensor'``: the reconstructed clouds ``[b, num_points, 3]``; ``'loss'``: a dict of the loss;
                ``'predict'``: the samples with ``pred_points`` ``[num_points, 3]`` and ``latent``
                ``[latent_capsules, latent_dim]``. Defaults to ``'tensor'``.

        Raises:
            ValueError: The clouds are not ``[b, n, 3]``, or the mode is unknown.
        """
        if mode not in ('tensor', 'loss', 'predict'):
            raise ValueError(f"mode must be 'tensor', 'loss' or 'predict', got {mode!r}")
        latent = self.encode(inputs)
        points = self.decode(latent)
        if mode == 'tensor':
            return points
        if mode == 'loss':
            return dict(loss=self.loss(points, inputs))
        samples = [BaseDataElement() for _ in points] if data_samples is None else data_samples
        for sample, cloud, capsules in zip(samples, points, latent, strict=True):
            sample.set_data(dict(pred_points=cloud, latent=capsules))
        return samples
