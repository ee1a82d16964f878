"""Primary capsules: from feature maps to capsule maps (:mod:`rescaps_plugin.layers.capsule_map`)."""

import torch
from torch import Tensor, nn

from rescaps_plugin.layers.fusion import Deployable, StridedConv2d, fold_input_norm


class PrimaryCaps(Deployable):
    """Primary capsule layer (Liu et al. 2024, Fig. 4): poses by a convolution, activations by a convolution + sigmoid.

    Args:
        in_channels: Channels of the input feature map.
        capsule_types: Number of capsule types ``n``.
        pose_size: Side ``p`` of a pose matrix. Defaults to 4.
        kernel_size: Kernel of both convolutions. Defaults to 1.
        stride: Stride of both convolutions. Defaults to 1.
        padding: Zero padding of both convolutions. Defaults to 0.
        activation: Whether to build the activation branch. EM and self-routing need it; residual pose routing reads
            poses alone (Algorithm 1). Defaults to False.
        norm: Whether to batch-normalise the input, as the blocks of ResCaps do between each other. Defaults to False.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: a capsule map ``[b, n * (p * p + 1), h', w']``, activations in (0, 1); without ``activation`` poses
          alone, ``[b, n * p * p, h', w']``

    Example:
        >>> PrimaryCaps(32, capsule_types=8, stride=2, activation=True)(torch.zeros(1, 32, 16, 12)).shape
        torch.Size([1, 136, 8, 6])
    """

    def __init__(
        self,
        in_channels: int,
        capsule_types: int,
        pose_size: int = 4,
        kernel_size: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int = 0,
        activation: bool = False,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.capsule_types = capsule_types
        self.pose_shape = (pose_size, pose_size)
        self.stride = stride
        self.out_channels = capsule_types * (pose_size**2 + (1 if activation else 0))
        self.norm = nn.BatchNorm2d(in_channels, eps=1e-3) if norm else nn.Identity()
        self.pose: nn.Conv2d = StridedConv2d(in_channels, capsule_types * pose_size**2, kernel_size, stride, padding)
        self.activation: nn.Conv2d | None = (
            StridedConv2d(in_channels, capsule_types, kernel_size, stride, padding) if activation else None
        )

    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        """Compute a capsule map, with another stride than the layer's if one is given."""
        x = self.norm(x)
        pose = self.pose(x, stride)
        if self.activation is None:
            return pose
        return torch.cat([pose, torch.sigmoid(self.activation(x, stride))], dim=1)

    def _fold(self) -> None:
        """Fold the input's normalisation into the convolutions, where that is exact: without zero padding."""
        if not isinstance(self.norm, nn.Identity) and self.pose.padding == (0, 0):
            self.pose = fold_input_norm(self.norm, self.pose)
            if self.activation is not None:
                self.activation = fold_input_norm(self.norm, self.activation)
            self.norm = nn.Identity()
