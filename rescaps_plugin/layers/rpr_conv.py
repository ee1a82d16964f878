"""Residual pose routing as a drop-in replacement of convolutions.

Liu, Cheng, Zhang, Xu, Han, *Capsule Networks With Residual Pose Routing*, IEEE TNNLS 2024, Sec. III: the steps of
:class:`~rescaps_plugin.layers.ResidualPoseRouting` on the channels of any feature map. The normalisation and the
activation function after the convolution replace those of the ResP layer.

Letters as in :mod:`rescaps_plugin.layers.pose_kernel`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rescaps_plugin.layers.checks import check_positive
from rescaps_plugin.layers.fusion import PaddingMode, conv_from_kernel
from rescaps_plugin.layers.memory_format import in_layout_of
from rescaps_plugin.layers.pose_kernel import PoseKernel, pose_transform, reset_uniform

# torch.fx wraps functions by their name in the calling module.
torch.fx.wrap('in_layout_of')

_RESIDUAL = ('transform', 'activation_weight', 'activation_bias', 'mix')


def _join(first: Tensor, second: Tensor, groups: int, dim: int) -> Tensor:
    """Concatenate along ``dim`` so that every group has its own part of both."""
    if groups == 1:
        return torch.cat([first, second], dim)
    first, second = (x.movedim(dim, 0).unflatten(0, (groups, -1)) for x in (first, second))
    return torch.cat([first, second], 1).flatten(0, 1).movedim(0, dim)


class RPRConv2d(PoseKernel, nn.Conv2d):
    """Convolution whose input channels are capsules, routed by residual poses (Liu et al. 2024, eqs. 8-13).

    The ``p * p`` channels from ``n * p * p`` are the pose of type ``n``. With the convolution's own ``weight`` as the
    pose part of the integration,

    1. poses ``p' = p (1 + w)``, ``1`` the identity matrix,
    2. activations ``a = sigmoid(conv(p'))``,
    3. integration ``out = conv([p', a])``: ``weight`` and ``bias`` on ``p'``, ``mix`` on ``a``.

    ``w`` and ``mix`` start at zero, so that the layer starts as the convolution it replaces, and both have gradients
    there. ``weight`` and ``bias`` are named and shaped as in ``nn.Conv2d``, of which this is a subclass: initialisers
    find them and do not change the other parameters; a state without any of the others is that of a plain convolution,
    and loading it turns the layer into that convolution.

    It deploys (``fuse()``) to two plain convolutions around a sigmoid, or without activations to one, which has the
    names and the shape of the original. Folding a batch normalisation into ``weight`` and ``bias`` before that
    (``mmcv.cnn.fuse_conv_bn``, and in every call ``ConvModule(efficient_conv_bn_eval=True)``) misses the routing; after
    deployment, there is no ``weight`` that it could be folded into. ``torch.jit.script`` compiles neither form: trace
    or export them.

    With fewer than ``p * p`` channels in a group (a stem, a depthwise convolution), or a number that is no multiple,
    there are no capsules: the layer is a plain convolution with no parameters of its own, and ``capsule_types`` is 0.

    Args:
        in_channels: As in ``nn.Conv2d``, like all arguments up to ``dtype``.
        out_channels: Channels of the output, of any number.
        kernel_size: Height and width of the window.
        stride: Stride of the output. Defaults to 1.
        padding: Padding, ``'valid'`` or ``'same'``. Defaults to 0.
        dilation: Spacing of the window. Defaults to 1.
        groups: Groups of capsules; activations are read and integrated within a group. Defaults to 1.
        bias: Whether to add a bias to the output. Defaults to True.
        padding_mode: As in ``nn.Conv2d``. Defaults to ``'zeros'``.
        device: Where to put the parameters. Defaults to None.
        dtype: Type of the parameters. Defaults to None.
        pose_size: Side ``p`` of a pose matrix. Defaults to 4.
        routing: ``'window'``: every offset of the window has its own ``w`` for each type, and activations for each
            offset and type are read from the whole window. ``'pointwise'``: one ``w`` per type, whose activation is
            read from its own pose, and integrated over the window. With 3x3 windows of 4x4 poses and as many channels
            out as in, the first takes 10/16 more multiplications than the plain convolution, the second 2/16 at stride
            1. Defaults to ``'window'``.
        activation: Whether there are activations. Without them the layer is linear: ``w`` then changes how ``weight``
            learns, not the functions it can represent. Defaults to True.
        deploy: Whether to build the deploy form, which deploy checkpoints load into. Defaults to False.

    Shape:
        - input, output: as of ``nn.Conv2d``

    Raises:
        ValueError: If ``routing`` is unknown or ``pose_size`` not positive, or from ``nn.Conv2d``.

    Example:
        >>> RPRConv2d(64, 100, 3, stride=2, padding=1)(torch.zeros(1, 64, 12, 10)).shape
        torch.Size([1, 100, 6, 5])
    """

    composed = ('weight', 'bias', *_RESIDUAL)

    if TYPE_CHECKING:
        transform: nn.Parameter

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | str | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = 'zeros',
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        pose_size: int = 4,
        routing: str = 'window',
        activation: bool = True,
        deploy: bool = False,
    ) -> None:
        check_positive(pose_size=pose_size)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        group_types, rest = divmod(in_channels // groups, pose_size**2)
        place: dict[str, Any] = dict(device=self.weight.device, dtype=self.weight.dtype)
        self._build_poses(
            0 if rest else group_types * groups,
            cast(tuple[int, int], self.kernel_size),
            pose_size,
            routing,
            groups=groups,
            activation=activation,
            name='transform',
            **place,
        )
        if self.activation_channels:
            mixed = (1, 1) if routing == 'window' else self.kernel_size
            self.activation_bias = nn.Parameter(torch.empty(self.activation_channels, **place))
            self.mix = nn.Parameter(torch.empty(out_channels, self.activation_channels // groups, *mixed, **place))
        self.reset_residual()
        if deploy:
            self.fuse()

    @torch.no_grad()
    def reset_residual(self) -> None:
        """Reset the layer to the plain convolution of ``weight`` and ``bias``; redraw activation weights."""
        if self.capsule_types:
            self.transform.zero_()
        if self.activation_channels:
            for parameter in (self.activation_weight, self.activation_bias):
                reset_uniform(parameter, self._activation_fan_in())
            self.mix.zero_()

    def reset_parameters(self) -> None:
        """Draw ``weight`` and ``bias`` as ``nn.Conv2d`` does, and reset the rest."""
        super().reset_parameters()
        if hasattr(self, 'capsule_types'):  # not while nn.Conv2d is being built
            self.reset_residual()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        expected = [name for name in _RESIDUAL if name in self._parameters]
        plain = prefix + 'weight' in state_dict and not any(prefix + name in state_dict for name in expected)
        if expected and plain:
            self.reset_residual()
            state_dict.update({prefix + name: getattr(self, name).detach() for name in expected})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _transform(self) -> Tensor:
        return pose_transform(self.transform, self.one, self.rows)

    def _pose_kernel(self, transform: Tensor, x: Tensor | None = None) -> Tensor:
        """Compose ``weight``, which reads ``p'``, into the kernel that reads ``p``."""
        weight = self.weight.unflatten(0, (self.groups, -1)).flatten(3, 4)
        weight = weight.unflatten(2, (-1, self.pose_size**2)).permute(4, 0, 2, 1, 3).flatten(1, 2)
        return self._compose(weight, transform, x)

    def _compose_kernels(self, x: Tensor | None = None) -> list[Tensor]:
        """Return what the convolutions read.

        Without activations the kernel; of windows, kernel and bias of the convolution to both integrated poses and
        activations; of points, the kernels of the activations, and of the integration of poses and activations.
        """
        transform = self._transform()
        kernel = self._pose_kernel(transform, x)
        if not self.activation_channels:
            return [kernel]
        activation_kernel = self._activation_kernel(transform, x)
        if self.routing == 'pointwise':
            return [activation_kernel, torch.cat([kernel, self.mix], 1)]
        bias = self.activation_bias.new_zeros(self.out_channels) if self.bias is None else self.bias
        return [
            _join(kernel, activation_kernel, self.groups, 0),
            _join(bias, self.activation_bias, self.groups, 0),
        ]

    def _split(self, joint: Tensor) -> tuple[Tensor, Tensor]:
        """Split the channels into poses and activations, group by group."""
        sizes = (self.out_channels // self.groups, self.activation_channels // self.groups)
        if self.groups == 1:
            return joint.split(sizes, -3)
        pose, activation = joint.unflatten(-3, (self.groups, -1)).split(sizes, -3)
        return pose.flatten(-4, -3), activation.flatten(-4, -3)

    def forward(self, x: Tensor) -> Tensor:
        if not self.capsule_types:
            return self._conv_forward(x, self.weight, self.bias)
        if self.deployed:
            return self._forward_deployed(x)
        if not self.activation_channels:
            return in_layout_of(self._conv_forward(x, self._kernels(x)[0], self.bias), x)
        if self.routing == 'window':
            joint = in_layout_of(self._conv_forward(x, *self._kernels(x)), x)
            pose, activation = self._split(joint)
            output = pose + F.conv2d(torch.sigmoid(activation), self.mix, groups=self.groups)
            # Splitting groups changes the memory format.
            return in_layout_of(output, x)
        activation_kernel, kernel = self._kernels(x)
        activation = F.conv2d(
            x, activation_kernel, self.activation_bias, padding='same', dilation=self.dilation, groups=self.groups
        )
        activation = torch.sigmoid(in_layout_of(activation, x))
        joint = _join(x, activation, self.groups, -3)
        return in_layout_of(self._conv_forward(joint, kernel, self.bias), x)

    def _forward_deployed(self, x: Tensor) -> Tensor:
        if not self.activation_channels:
            return self._conv_forward(x, self.weight, self.bias)
        if self.routing == 'window':
            pose, activation = self._split(self.joint_conv(x))
            return pose + self.mix_conv(torch.sigmoid(activation))
        return self.integration_conv(_join(x, torch.sigmoid(self.activation_conv(x)), self.groups, -3))

    def _fold(self) -> None:
        if not self.capsule_types:
            return
        place = (self.stride, self.padding, self.groups, self.dilation, self.padding_mode)
        if not self.activation_channels:
            self.weight = nn.Parameter(torch.empty_like(self.weight).copy_(self._compose_kernels()[0]))
            del self.transform
            return
        if self.routing == 'window':
            kernel, bias = self._compose_kernels()
            self.joint_conv = conv_from_kernel(kernel, None, bias, *place)
            self.mix_conv = conv_from_kernel(self.mix, None, None, 1, 0, self.groups)
        else:
            activation_kernel, kernel = self._compose_kernels()
            self.activation_conv = conv_from_kernel(
                activation_kernel, None, self.activation_bias, 1, 'same', self.groups, self.dilation
            )
            self.integration_conv = conv_from_kernel(kernel, None, self.bias, *place)
        self.bias = None
        del self.weight
        for name in _RESIDUAL:
            delattr(self, name)

    def extra_repr(self) -> str:
        """Describe the layer in ``print(model)``."""
        own = f'pose_size={self.pose_size}, routing={self.routing}' if self.capsule_types else 'no capsules'
        without = '' if self.activation_channels or not self.capsule_types else ', activation=False'
        return f'{super().extra_repr()}, {own}{without}'


class RPRPlugin(RPRConv2d):
    """Residual pose routing to insert between two layers of a network; it starts as the identity.

    An :class:`RPRConv2d` with as many output as input channels, whose ``weight`` starts as the identity, and so does
    the layer. A backbone with ``plugins=`` calls :meth:`init_weights` after initialising its convolutions, which
    restores the identity.

    Args:
        in_channels: Channels of input and output, a multiple of ``pose_size ** 2``.
        kernel_size: Side of the window, odd. Defaults to 3.
        groups: Groups of capsules that are integrated together. Defaults to None: every capsule type on its own, at
            ``pose_size ** 2`` times the cost of a depthwise convolution; 1: all types together.
        pose_size: As in :class:`RPRConv2d`, like the following arguments. Defaults to 4.
        routing: Defaults to ``'window'``.
        activation: Defaults to True.
        deploy: Defaults to False.

    Shape:
        - input, output: ``[b, in_channels, h, w]``

    Raises:
        ValueError: If the channels are not capsules or the window has no centre.

    Example:
        >>> x = torch.randn(1, 64, 5, 5)
        >>> torch.equal(RPRPlugin(64)(x), x)
        True
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: int = 3,
        groups: int | None = None,
        pose_size: int = 4,
        routing: str = 'window',
        activation: bool = True,
        deploy: bool = False,
    ) -> None:
        check_positive(kernel_size=kernel_size, pose_size=pose_size)
        if in_channels % pose_size**2:
            raise ValueError(f'in_channels must be a multiple of pose_size ** 2 = {pose_size**2}, got {in_channels!r}')
        groups = in_channels // pose_size**2 if groups is None else groups
        if groups > 0 and in_channels // groups % pose_size**2:
            raise ValueError(f'groups must leave multiples of {pose_size**2} channels, got {groups} of {in_channels}')
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size!r}')
        super().__init__(
            in_channels,
            in_channels,
            kernel_size,
            padding=kernel_size // 2,
            groups=groups,
            pose_size=pose_size,
            routing=routing,
            activation=activation,
            deploy=deploy,
        )

    def reset_parameters(self) -> None:
        """Make the layer the identity."""
        super().reset_parameters()
        nn.init.dirac_(self.weight, self.groups)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def init_weights(self) -> None:
        """Make the layer the identity, unless it is deployed; mmengine calls this after its initialisers."""
        if not self.deployed:
            self.reset_parameters()


class RPRNeck(nn.ModuleList):
    """Residual pose routing on every level of a feature pyramid.

    Without ``out_channels``, levels keep their channels and the neck starts as the identity (:class:`RPRPlugin`), so
    that it can be inserted between a trained backbone and head; with it, levels are mapped to these channels by
    :class:`RPRConv2d`.

    Args:
        in_channels: Channels of the levels; an int for one level.
        out_channels: Channels of the outputs; an int is used for all. Defaults to None.
        kernel_size: Side of the window, odd. Defaults to 3.
        **rpr: Arguments of the layers: ``groups``, ``pose_size``, ``routing``, ``activation``, ``deploy``.

    Shape:
        - input: a sequence of ``[b, in_channels[i], h_i, w_i]``
        - output: a tuple of ``[b, out_channels[i], h_i, w_i]``

    Raises:
        ValueError: If levels and channels do not match in number, or from the layers.

    Example:
        >>> neck = RPRNeck([64, 128], out_channels=32)
        >>> [x.shape[1] for x in neck((torch.zeros(1, 64, 8, 8), torch.zeros(1, 128, 4, 4)))]
        [32, 32]
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        out_channels: int | Sequence[int] | None = None,
        kernel_size: int = 3,
        **rpr,
    ) -> None:
        in_channels = [in_channels] if isinstance(in_channels, int) else list(in_channels)
        if out_channels is None:
            super().__init__(RPRPlugin(channels, kernel_size, **rpr) for channels in in_channels)
            self.out_channels = in_channels
            return
        out_channels = [out_channels] * len(in_channels) if isinstance(out_channels, int) else list(out_channels)
        if len(out_channels) != len(in_channels):
            raise ValueError(f'out_channels must be one for each of {len(in_channels)} levels, got {out_channels!r}')
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size!r}')
        super().__init__(
            RPRConv2d(channels, out, kernel_size, padding=kernel_size // 2, **rpr)
            for channels, out in zip(in_channels, out_channels, strict=True)
        )
        self.out_channels = out_channels

    def init_weights(self) -> None:
        """Initialise the levels that start as the identity; mmengine calls this after its initialisers."""
        for level in self:
            if isinstance(level, RPRPlugin):
                level.init_weights()

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if len(features) != len(self):
            raise ValueError(f'RPRNeck was built for {len(self)} levels, got {len(features)}')
        return tuple(level(x) for level, x in zip(self, features, strict=True))
