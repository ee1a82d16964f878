"""Residual pose routing (RPR).

Liu, Cheng, Zhang, Xu, Han, *Capsule Networks With Residual Pose Routing*, IEEE TNNLS 2024, Sec. III-IV.

The layers compose their pose transforms into their convolutions. Letters are those of
:mod:`rescaps_plugin.layers.pose_kernel`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescaps_plugin.layers.checks import accepted_channels, check_channels, check_one_position, check_positive
from rescaps_plugin.layers.fusion import StridedConv2d, conv_from_kernel, norm_scale_shift
from rescaps_plugin.layers.memory_format import in_layout_of
from rescaps_plugin.layers.pose_kernel import PoseKernel, pose_transform, reset_uniform
from rescaps_plugin.layers.primary import PrimaryCaps

for _function in (check_channels, check_one_position, in_layout_of):
    torch.fx.wrap(_function.__name__)


class _ResidualPose(PoseKernel):
    """Base of ResP and ResPC: the pose transform (eq. 9), and the activations read from it (eqs. 10, 11)."""

    composed = ('weight', 'activation_weight', 'pose_weight')

    if TYPE_CHECKING:
        weight: nn.Parameter

    def __init__(
        self,
        capsule_types: int,
        kernel_size: int,
        pose_size: int,
        routing: str,
        residual: str,
        transform_std: float,
        groups: int = 1,
        input_activations: bool | None = None,
    ) -> None:
        super().__init__()
        check_positive(capsule_types=capsule_types, kernel_size=kernel_size)
        if routing == 'pointwise' and kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd with routing='pointwise', got {kernel_size}")
        self.kernel_size = kernel_size
        self.transform_std = transform_std
        self.pose_channels = capsule_types * pose_size**2
        self._build_poses(capsule_types, (kernel_size, kernel_size), pose_size, routing, residual, groups)
        self.activation_norm = nn.BatchNorm2d(self.activation_channels)
        self.accepted_channels, self.channels_error = accepted_channels(
            type(self).__name__, capsule_types, pose_size**2, input_activations
        )

    def reset_parameters(self) -> None:
        """Draw ``w`` from ``N(0, transform_std^2)`` and the convolutions as ``nn.Conv2d`` draws its own."""
        nn.init.normal_(self.weight, std=self.transform_std)
        reset_uniform(self.activation_weight, self._activation_fan_in())
        self.activation_norm.reset_parameters()

    def _transform(self) -> Tensor:
        return pose_transform(self.weight, self.one, self.rows)


class ResidualPoseRouting(_ResidualPose):
    """ResP layer: pose transform, activations, integration (Liu et al. 2024, eqs. 8-13, Fig. 5, Algorithm 1).

    1. poses ``p' = p (1 + w)``,
    2. activations ``a = sigmoid(BN(conv(p')))``,
    3. integration ``out = ReLU(BN(conv([p', a])))``.

    The ``a`` of step 2, in (0, 1), stay within the layer. The paper's formulas and the release that produced its
    figures differ in these steps:

    - ``routing='window'`` (release): every offset of the ``k x k`` window has its own ``w`` for each type, activations
      are computed for every offset and type from the whole window, and integrated at their own position.
    - ``routing='pointwise'`` (formulas as written): one ``w`` per type, a type's activation is a ``k x k`` convolution
      of its own pose, and the integration a ``k x k`` convolution over all poses and activations. It saves the
      activations of the window: ``9 / 26`` of the multiplications with 3x3 windows of 4x4 poses.

    Args:
        in_types: Capsule types of the input.
        out_types: Capsule types of the output. Defaults to ``in_types``.
        kernel_size: Side of the window. Defaults to 3.
        stride: Stride of the output. Defaults to 1.
        padding: Zero padding; ``None`` is ``kernel_size // 2``. Defaults to None.
        pose_size: Side ``p`` of a pose matrix. Defaults to 4.
        routing: ``'window'`` or ``'pointwise'``. Defaults to ``'window'``.
        residual: The ``1`` of eq. 8: ``'identity'``, the identity matrix, as the paper derives it; ``'ones'``, the
            all-ones matrix, as the release computes it; ``'none'``, zero, an ablation that leaves ``p w``. Defaults to
            ``'identity'``.
        transform_std: Initial standard deviation of ``w`` (the release: 1). Defaults to 0.1.
        pose_only: Whether to return poses alone, for a layer whose output is read by another ResP layer, which ignores
            activations. Defaults to False.

    Shape:
        - input: ``[b, n * p * p, h, w]`` or a capsule map ``[b, n * (p * p + 1), h, w]``, whose activations are ignored
        - output: a capsule map ``[b, out_types * (p * p + 1), h', w']``, or with ``pose_only`` its poses. All of it has
          passed the ReLU of step 3: activations, like poses, are 0 or greater and may exceed 1

    Raises:
        ValueError: If a choice is unknown or a size is not positive.
        AssertionError: If the input has another number of channels.

    Example:
        >>> ResidualPoseRouting(8, stride=2)(torch.zeros(1, 8 * 16, 12, 10)).shape
        torch.Size([1, 136, 6, 5])
    """

    def __init__(
        self,
        in_types: int,
        out_types: int | None = None,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        pose_size: int = 4,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
        pose_only: bool = False,
    ) -> None:
        super().__init__(in_types, kernel_size, pose_size, routing, residual, transform_std)
        out_types = in_types if out_types is None else out_types
        check_positive(out_types=out_types, stride=stride)
        self.stride = stride
        self.padding = kernel_size // 2 if padding is None else padding
        # The activations of windows have the positions of the output, those of points the positions of the input.
        per_window = routing == 'window'
        self.activation_padding = self.padding if per_window else kernel_size // 2
        self.out_channels = out_types * (pose_size**2 + (0 if pose_only else 1))

        self.pose_weight = nn.Parameter(torch.empty(kernel_size**2, in_types, self.out_channels, pose_size**2))
        self.mix: nn.Conv2d = StridedConv2d(
            self.activation_channels,
            self.out_channels,
            1 if per_window else kernel_size,
            1 if per_window else stride,
            0 if per_window else self.padding,
            bias=False,
        )
        self.norm = nn.BatchNorm2d(self.out_channels)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw ``w`` from ``N(0, transform_std^2)`` and the convolutions as ``nn.Conv2d`` draws its own."""
        super().reset_parameters()
        fan_in = self.kernel_size**2 * self.capsule_types * (self.pose_size**2 + 1)
        reset_uniform(self.pose_weight, fan_in)
        reset_uniform(self.mix.weight, fan_in)
        self.norm.reset_parameters()

    def forward(self, x: Tensor, stride: int | None = None) -> Tensor:
        """Compute the output, with another stride than the layer's if one is given."""
        check_channels(x, self.accepted_channels, self.channels_error)
        stride = stride if isinstance(stride, int) else self.stride
        activation_stride, mix_stride = (stride, 1) if self.routing == 'window' else (1, stride)
        pose = x[:, : self.pose_channels]
        if self.deployed:
            activation = torch.sigmoid(self.activation_conv(pose, activation_stride))
            return F.relu(self.pose_conv(pose, stride) + self.mix(activation, mix_stride))
        activation_kernel, kernel = self._kernels(x)
        activation = F.conv2d(pose, activation_kernel, stride=activation_stride, padding=self.activation_padding)
        activation = torch.sigmoid(self.activation_norm(in_layout_of(activation, x)))
        pose = in_layout_of(F.conv2d(pose, kernel, stride=stride, padding=self.padding), x)
        return F.relu(self.norm(pose + self.mix(activation, mix_stride)))

    def _compose_kernels(self, x: Tensor | None = None) -> list[Tensor]:
        transform = self._transform()
        return [self._activation_kernel(transform, x), self._compose(self.pose_weight, transform, x)]

    def _fold(self) -> None:
        activation_kernel, kernel = self._compose_kernels()
        self.activation_conv = conv_from_kernel(
            activation_kernel,
            *norm_scale_shift(self.activation_norm),
            self.stride if self.routing == 'window' else 1,
            self.activation_padding,
            conv_type=StridedConv2d,
        )
        scale, shift = norm_scale_shift(self.norm)
        self.pose_conv = conv_from_kernel(kernel, scale, shift, self.stride, self.padding, conv_type=StridedConv2d)
        self.mix = conv_from_kernel(
            self.mix.weight, scale, None, self.mix.stride, self.mix.padding, conv_type=StridedConv2d
        )
        del self.weight, self.activation_weight, self.activation_norm, self.pose_weight, self.norm

    def extra_repr(self) -> str:
        """Describe the layer in ``print(model)``."""
        return (
            f'{self.capsule_types}, kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, '
            f'pose_size={self.pose_size}, routing={self.routing}, residual={self.residual}'
        )


class ResidualPoseClassifier(_ResidualPose):
    """ResPC layer: class activations ``a = sigmoid(BN(conv(p (1 + w))))`` (Liu et al. 2024, Sec. IV-A).

    A ResP layer of one type per class at one location, without integration.

    Args:
        num_classes: Number of classes, the capsule types of the input.
        pose_size: Side ``p`` of a pose matrix. Defaults to 4.
        routing: ``'window'``: every class is read from all poses. ``'pointwise'``: each from its own, which with many
            classes saves ``num_classes^2 * p * p`` weights. Defaults to ``'window'``.
        residual: As in :class:`ResidualPoseRouting`. Defaults to ``'identity'``.
        transform_std: As in :class:`ResidualPoseRouting`. Defaults to 0.1.
        per_position: Whether the layer is applied at every position of a map, with shared weights. Defaults to False:
            the map has one position.
        log_odds: Whether the output is the log-odds of the activations, the argument of the sigmoid. Defaults to False.

    Shape:
        - input: poses ``[b, num_classes * p * p, 1, 1]``, or with ``per_position`` ``[b, num_classes * p * p, h, w]``
        - output: activations ``[b, num_classes]``, or with ``per_position`` ``[b, num_classes, h, w]``, in (0, 1)

    Raises:
        ValueError: If a choice is unknown or a size is not positive.
        AssertionError: If the input has other channels, or several positions without ``per_position``.

    Example:
        >>> ResidualPoseClassifier(10)(torch.zeros(2, 160, 1, 1)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        pose_size: int = 4,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
        per_position: bool = False,
        log_odds: bool = False,
    ) -> None:
        # Grouped: dense weights would be as many as those of 'window'.
        groups = num_classes if routing == 'pointwise' else 1
        super().__init__(num_classes, 1, pose_size, routing, residual, transform_std, groups, input_activations=False)
        self.per_position = per_position
        self.log_odds = log_odds
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        check_channels(x, self.accepted_channels, self.channels_error)
        if not self.per_position:
            check_one_position(x, 'ResidualPoseClassifier without per_position')
        if self.deployed:
            logit = self.activation_conv(x)
        else:
            logit = self.activation_norm(F.conv2d(x, self._kernels(x)[0], groups=self.groups))
        output = logit if self.log_odds else torch.sigmoid(logit)
        return output if self.per_position else output.flatten(1)

    def _compose_kernels(self, x: Tensor | None = None) -> list[Tensor]:
        return [self._activation_kernel(self._transform())]

    def _fold(self) -> None:
        self.activation_conv = conv_from_kernel(
            self._compose_kernels()[0],
            *norm_scale_shift(self.activation_norm),
            stride=1,
            padding=0,
            groups=self.groups,
        )
        del self.weight, self.activation_weight, self.activation_norm

    def extra_repr(self) -> str:
        """Describe the layer in ``print(model)``."""
        per_position = ', per_position=True' if self.per_position else ''
        return (
            f'{self.capsule_types}, pose_size={self.pose_size}, routing={self.routing}, residual={self.residual}'
            f'{per_position}'
        )


class ResidualPoseBlock(nn.Sequential):
    """Residual pose block: primary capsules and the ResP layers that route them (Liu et al. 2024, Fig. 3).

    Args:
        in_channels: Channels of the input feature map.
        capsule_types: Capsule types of the block.
        num_layers: Number of ResP layers. Defaults to 2.
        primary_stride: Stride of the primary capsules. Defaults to 2.
        stride: Stride of the last ResP layer. Defaults to 1.
        kernel_size: Window of the ResP layers. Defaults to 3.
        pose_size: Side ``p`` of a pose matrix. Defaults to 4.
        norm: Whether to batch-normalise the input. Defaults to False.
        routing: As in :class:`ResidualPoseRouting`. Defaults to ``'window'``.
        residual: As in :class:`ResidualPoseRouting`. Defaults to ``'identity'``.
        transform_std: As in :class:`ResidualPoseRouting`. Defaults to 0.1.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: a capsule map ``[b, capsule_types * (p * p + 1), h', w']``, of the last ResP layer: activations are 0
          or greater and may exceed 1
    """

    def __init__(
        self,
        in_channels: int,
        capsule_types: int,
        num_layers: int = 2,
        primary_stride: int = 2,
        stride: int = 1,
        kernel_size: int = 3,
        pose_size: int = 4,
        norm: bool = False,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
    ) -> None:
        super().__init__()
        check_positive(num_layers=num_layers)
        self.capsule_types = capsule_types
        self.num_layers = num_layers
        self.primary_stride = primary_stride
        self.stride = stride
        self.primary = PrimaryCaps(in_channels, capsule_types, pose_size, stride=primary_stride, norm=norm)
        for layer in range(1, num_layers + 1):
            last = layer == num_layers
            routing_layer = ResidualPoseRouting(
                capsule_types,
                kernel_size=kernel_size,
                stride=stride if last else 1,
                pose_size=pose_size,
                routing=routing,
                residual=residual,
                transform_std=transform_std,
                pose_only=not last,
            )
            self.add_module(f'routing{layer}', routing_layer)
        self.out_channels = routing_layer.out_channels

    def forward(self, x: Tensor, primary_stride: int | None = None, stride: int | None = None) -> Tensor:
        """Compute a capsule map, with other strides of the primary capsules and the last ResP layer if given."""
        for index, layer in enumerate(self):
            x = layer(x, primary_stride if index == 0 else stride if index == self.num_layers else None)
        return x


class ResidualPoseBlocks(nn.Sequential):
    """Residual pose blocks, each of which reads the one before it (Liu et al. 2024, Fig. 3).

    The primary capsules of a block are 1x1: with a stride of 2 they read a quarter of the positions of the map before.
    In evaluation the last ResP layer of a block computes those alone, which is exact, and saves two fifths of the
    multiplications of the paper's networks. In training all positions are computed, whose statistics batch
    normalisation takes; so they are for whoever looks at the maps by forward hooks or ``torch.fx``.

    Args:
        *blocks: :class:`ResidualPoseBlock` modules.

    Shape:
        - input: ``[b, in_channels, h, w]`` of the first block
        - output: the capsule map of the last block

    Example:
        >>> blocks = ResidualPoseBlocks(ResidualPoseBlock(32, 4), ResidualPoseBlock(68, 8, norm=True))
        >>> blocks(torch.zeros(2, 32, 16, 16)).shape
        torch.Size([2, 136, 4, 4])
    """

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[ResidualPoseBlock]: ...

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self._needs_all(x):
            for block in self:
                x = block(x)
            return x
        strides: list[int] = []
        for block in self:
            strides.append(block.primary_stride)
        strides.append(1)
        for index, block in enumerate(self):
            x = block(x, strides[0] if index == 0 else 1, block.stride * strides[index + 1])
        return x

    def _needs_all(self, x: Tensor) -> bool:
        """Return whether hooks, ``torch.fx`` or a normalisation in training mode read the maps between the blocks."""
        if torch.jit.is_scripting():
            return False
        else:
            return isinstance(x, torch.fx.Proxy) or self._is_read()

    @torch.jit.unused
    def _is_read(self) -> bool:
        return any(module.training or module._forward_hooks or module._forward_pre_hooks for module in self.modules())
