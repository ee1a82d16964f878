"""Residual pose routing (RPR).

Liu, Cheng, Zhang, Xu, Han, *Capsule Networks With Residual Pose Routing*, IEEE TNNLS 2024, Sec. III-IV.

Every layer here multiplies poses by learned matrices, ``p' = p (1 + w)`` (eqs. 8, 9), and convolves the result. Both
steps are linear, so together they *are* one convolution of ``p``, whose kernel is composed from ``w`` and the
convolution's own weights; the composition costs the same whatever the batch and image size, and no transformed pose is
ever stored. Gradients flow through the composition to the parameters of the equations.

Letters: ``b`` batch, ``n`` capsule type, ``i j m`` pose rows and columns, ``d e`` flattened pose entries, ``k`` offset
in the convolution window (row by row), ``o`` output channel, ``h w`` space.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescaps_plugin.layers.checks import check_choice, check_positive
from rescaps_plugin.layers.fusion import Deployable, conv_from_kernel, norm_scale_shift
from rescaps_plugin.layers.primary import PrimaryCaps

ROUTINGS = ('window', 'pointwise')
RESIDUALS = ('identity', 'ones', 'none')


def pose_transform(weight: Tensor, one: Tensor, rows: Tensor) -> Tensor:
    """Give the matrices of ``p -> p (1 + w)`` on flattened poses.

    They are block-diagonal, one block per pose row. Composing with them takes ``p`` times the multiplications of
    composing row by row, and a seventh of the time: a BLAS has nothing to work with in products of 4x4 matrices.

    Args:
        weight: ``w``, ``[k, n, p, p]``; one offset stands for all.
        one: The ``1``, ``[p, p]``.
        rows: The identity matrix, ``[p, p]``.

    Returns:
        Matrices ``[k, n, d, e]``, from the entries ``e`` of ``p`` to those of ``p (1 + w)``.
    """
    # rows[i, r] (1 + w)[k, n, m, j] at [k, n, i, j, r, m]
    matrices = (one + weight).transpose(2, 3)[:, :, None, :, None, :]
    return (rows[:, None, :, None] * matrices).flatten(4, 5).flatten(2, 3)


@torch.fx.wrap
def is_channels_last(x: Tensor) -> bool:
    """Return whether a map ``[b, c, h, w]``, or a slice of the channels of one, is in channels-last memory format."""
    return x.stride(1) == 1 and x.shape[2] * x.shape[3] > 1


@torch.fx.wrap
def to_memory_format(x: Tensor, channels_last: bool) -> Tensor:
    """Return a map ``[b, c, h, w]`` in channels-last or contiguous memory format; itself if it is."""
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x.contiguous()


@torch.fx.wrap
def compose_kernel(
    weight: Tensor, transform: Tensor, kernel_size: tuple[int, int], groups: int = 1, channels_last: bool = True
) -> Tensor:
    """Compose the kernel that reads ``p`` from the one that reads ``p (1 + w)``.

    Args:
        weight: Weights on transformed poses, ``[k, n, o / groups, d]``: each type has those of its own group's outputs.
        transform: What :func:`pose_transform` returns.
        kernel_size: Height and width of the window.
        groups: Groups that the types, and the outputs that read them, are in. Defaults to 1.
        channels_last: Whether the map that the kernel is for is channels-last: the kernel then is, too. On a CPU it
            always is, which takes half the time: the products are laid out that way, and the convolutions prefer it.
            Defaults to True.

    Returns:
        Kernel ``[o, n * e / groups, height, width]``.
    """
    products = torch.bmm(weight.flatten(0, 1), transform.expand(weight.shape[0], -1, -1, -1).flatten(0, 1))
    kernel = products.unflatten(0, (weight.shape[0], groups, -1))
    if channels_last or weight.device.type == 'cpu':
        kernel = kernel.permute(1, 3, 0, 2, 4).flatten(3, 4).flatten(0, 1)
        return kernel.unflatten(1, kernel_size).permute(0, 3, 1, 2)
    return kernel.permute(1, 3, 2, 4, 0).flatten(2, 3).flatten(0, 1).unflatten(2, kernel_size)


class _ResidualPose(Deployable):
    """What ResP and ResPC share: the pose transform (eq. 9), and the activations read from it (eqs. 10, 11)."""

    def __init__(
        self,
        capsule_types: int,
        kernel_size: int,
        pose_size: int,
        routing: str,
        residual: str,
        transform_std: float,
    ) -> None:
        super().__init__()
        check_choice('routing', routing, ROUTINGS)
        check_choice('residual', residual, RESIDUALS)
        check_positive(capsule_types=capsule_types, kernel_size=kernel_size, pose_size=pose_size)
        if routing == 'pointwise' and kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd with routing='pointwise', got {kernel_size}")
        window = kernel_size**2
        per_offset = routing == 'window'
        self.capsule_types = capsule_types
        self.kernel_size = kernel_size
        self.pose_size = pose_size
        self.routing = routing
        self.residual = residual
        self.transform_std = transform_std
        self.pose_channels = capsule_types * pose_size**2
        self.activation_channels = capsule_types * (window if per_offset else 1)

        self.weight = nn.Parameter(torch.empty(window if per_offset else 1, capsule_types, pose_size, pose_size))
        self.activation_weight = nn.Parameter(
            torch.empty(window, capsule_types, self.activation_channels if per_offset else 1, pose_size**2)
        )
        self.activation_norm = nn.BatchNorm2d(self.activation_channels)
        one = {'identity': torch.eye, 'ones': lambda p: torch.ones(p, p), 'none': lambda p: torch.zeros(p, p)}
        self.register_buffer('one', one[residual](pose_size), persistent=False)
        self.register_buffer('rows', torch.eye(pose_size), persistent=False)

    def _reset_weight(self, weight: nn.Parameter, fan_in: int) -> None:
        bound = 1 / math.sqrt(fan_in)
        nn.init.uniform_(weight, -bound, bound)

    def reset_parameters(self) -> None:
        """Draw ``w`` from ``N(0, transform_std^2)`` and the convolutions as ``nn.Conv2d`` draws its own."""
        nn.init.normal_(self.weight, std=self.transform_std)
        types_read = self.capsule_types if self.routing == 'window' else 1
        self._reset_weight(self.activation_weight, self.kernel_size**2 * types_read * self.pose_size**2)
        self.activation_norm.reset_parameters()

    def _transform(self) -> Tensor:
        return pose_transform(self.weight, self.one, self.rows)

    def _compose(self, weight: Tensor, transform: Tensor, groups: int = 1, channels_last: bool = True) -> Tensor:
        return compose_kernel(weight, transform, (self.kernel_size, self.kernel_size), groups, channels_last)


class ResidualPoseRouting(_ResidualPose):
    """ResP layer: pose transform, activations, integration (Liu et al. 2024, eqs. 8-13, Fig. 5, Algorithm 1).

    1. poses ``p' = p (1 + w)``,
    2. activations ``a = sigmoid(BN(conv(p')))``,
    3. integration ``out = ReLU(BN(conv([p', a])))``.

    The paper's formulas and the release that produced its figures read these steps differently:

    - ``routing='window'`` (release): every offset of the ``k x k`` window has its own ``w`` for each type, activations
      are computed for every offset and type from the whole window, and integrated at their own position.
    - ``routing='pointwise'`` (formulas, literally): one ``w`` per type, a type's activation is a ``k x k`` convolution
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
        residual: What the ``1`` of eq. 8 is: ``'identity'``, the identity matrix, as the paper derives it; ``'ones'``,
            the all-ones matrix, as the release computes it; ``'none'``, nothing, an ablation that leaves ``p w``.
            Defaults to ``'identity'``.
        transform_std: Standard deviation that ``w`` starts with (the release: 1). Defaults to 0.1.
        pose_only: Whether to give poses alone, for a layer whose output is read by another ResP layer: that ignores
            activations. Defaults to False.

    Shape:
        - input: ``[b, n * p * p, h, w]`` or a capsule map ``[b, n * (p * p + 1), h, w]``, whose activations are ignored
        - output: a capsule map ``[b, out_types * (p * p + 1), h', w']``, or with ``pose_only`` its poses

    Raises:
        ValueError: If a choice is unknown or a size is not positive.

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
        # Windows give activations where the output stands; points give them where the input stands.
        per_window = routing == 'window'
        self.register_buffer('own', None if per_window else torch.eye(in_types)[:, :, None], persistent=False)
        self.activation_stride = stride if per_window else 1
        self.activation_padding = self.padding if per_window else kernel_size // 2
        self.out_channels = out_types * (pose_size**2 + (0 if pose_only else 1))

        self.pose_weight = nn.Parameter(torch.empty(kernel_size**2, in_types, self.out_channels, pose_size**2))
        self.mix = nn.Conv2d(
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
        self._reset_weight(self.pose_weight, fan_in)
        self._reset_weight(self.mix.weight, fan_in)
        self.norm.reset_parameters()

    def _activation_weight(self) -> Tensor:
        """Give the weights that every activation reads all types with, ``[k, n, o, d]``.

        In the pointwise reading all but a type's own are zero. The dense convolution this makes adds a seventeenth to
        that of the poses, and takes half to nine tenths of the time of one in groups of a single output each.
        """
        return self.activation_weight if self.own is None else self.activation_weight * self.own

    def forward(self, x: Tensor) -> Tensor:
        pose = x[:, : self.pose_channels]
        if self.deployed:
            activation = torch.sigmoid(self.activation_conv(pose))
            return F.relu(self.pose_conv(pose) + self.mix(activation))
        transform = self._transform()
        channels_last = is_channels_last(x)
        activation = F.conv2d(
            pose,
            self._compose(self._activation_weight(), transform, channels_last=channels_last),
            stride=self.activation_stride,
            padding=self.activation_padding,
        )
        activation = torch.sigmoid(self.activation_norm(to_memory_format(activation, channels_last)))
        kernel = self._compose(self.pose_weight, transform, channels_last=channels_last)
        pose = to_memory_format(F.conv2d(pose, kernel, stride=self.stride, padding=self.padding), channels_last)
        return F.relu(self.norm(pose + self.mix(activation)))

    def _fold(self) -> None:
        transform = self._transform()
        self.activation_conv = conv_from_kernel(
            self._compose(self._activation_weight(), transform),
            *norm_scale_shift(self.activation_norm),
            self.activation_stride,
            self.activation_padding,
        )
        scale, shift = norm_scale_shift(self.norm)
        kernel = self._compose(self.pose_weight, transform)
        self.pose_conv = conv_from_kernel(kernel, scale, shift, self.stride, self.padding)
        self.mix.weight *= scale[:, None, None, None]
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
        log_odds: Whether the output is the log-odds of the activations, the argument of the sigmoid. Defaults to False.

    Shape:
        - input: ``[b, num_classes * p * p, 1, 1]``
        - output: ``[b, num_classes]``, activations in (0, 1)

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
        log_odds: bool = False,
    ) -> None:
        super().__init__(num_classes, 1, pose_size, routing, residual, transform_std)
        self.log_odds = log_odds
        # Dense weights would be the many that this reading is there to save.
        self.groups = 1 if routing == 'window' else num_classes
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        if self.deployed:
            logit = self.activation_conv(x)
        else:
            kernel = self._compose(self.activation_weight, self._transform(), self.groups)
            logit = self.activation_norm(F.conv2d(x, kernel, groups=self.groups))
        return (logit if self.log_odds else torch.sigmoid(logit)).flatten(1)

    def _fold(self) -> None:
        self.activation_conv = conv_from_kernel(
            self._compose(self.activation_weight, self._transform(), self.groups),
            *norm_scale_shift(self.activation_norm),
            stride=1,
            padding=0,
            groups=self.groups,
        )
        del self.weight, self.activation_weight, self.activation_norm

    def extra_repr(self) -> str:
        """Describe the layer in ``print(model)``."""
        return f'{self.capsule_types}, pose_size={self.pose_size}, routing={self.routing}, residual={self.residual}'


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
        - output: a capsule map ``[b, capsule_types * (p * p + 1), h', w']``
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
