"""Capsule networks that ResCaps is compared with: one architecture, with its routing selected by name.

- EM-Caps: Hinton, Sabour, Frosst, *Matrix capsules with EM routing*, ICLR 2018, Fig. 1.
- RCCaps: Gugglberger, Peer, Rodríguez-Sánchez, *Training deep capsule networks with residual connections*, ICANN 2021:
  a layer's input capsules are added to its output, over EM or dynamic routing.
- SRCaps: Hahn, Pyeon, Kim, *Self-routing capsule networks*, NeurIPS 2019, behind a ResNet-20.

All are a stem, primary capsules, convolutional capsule layers and a layer of class capsules that cover the whole last
map and whose activations are the scores.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import to_2tuple
from timm.models import checkpoint_seq, register_model
from timm.models.resnet import BasicBlock, make_blocks
from torch import Tensor, nn

from rescaps_plugin.layers import EMRouting, PrimaryCaps, PrimaryVectorCaps, create_routing
from rescaps_plugin.layers.capsule_map import split_channels
from rescaps_plugin.layers.checks import check_choice
from rescaps_plugin.layers.window import WindowRouting
from rescaps_plugin.models.build import build_network
from rescaps_plugin.models.cfgs import cifar_cfg, list_cfgs, mnist_cfg, smallnorb_cfg
from rescaps_plugin.models.network import OUTPUTS, CapsuleClassifierNetwork, CapsuleLevel, resample_positions

__all__ = ['RoutedCaps', 'RoutedClassifier', 'RoutedNetwork']

# Networks with residual pose routing are in rescaps_plugin.models.rescaps.
ROUTINGS = ('em', 'dynamic', 'self')
STEMS = ('conv5', 'resnet20')
GLOBAL_POOLS = ('flatten', '')
# EM-Caps of the paper: the inverse temperature, and the children of a class, 32 types at 4x4 positions.
PAPER_INVERSE_TEMPERATURE = 0.01
PAPER_CHILDREN = 32 * 4 * 4


class ConvStem(nn.Sequential):
    """5x5 convolution at stride 2, batch normalisation, ReLU."""

    def __init__(self, in_chans: int, channels: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, channels, 5, stride=2, padding=padding)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()
        self.padding = padding
        self.out_channels = channels
        self.reduction = 2

    def out_size(self, side: int) -> int:
        """Return the side of the output for a side of the image."""
        return (side + 2 * self.padding - 5) // 2 + 1


class ResNet20Stem(nn.Sequential):
    """Trunk of the ResNet-20 for CIFAR: 3x3 convolution, three stages of three basic blocks at strides 1, 2, 4."""

    def __init__(self, in_chans: int, channels: int = 16) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()
        widths = (channels, 2 * channels, 4 * channels)
        stages, _ = make_blocks((BasicBlock,) * 3, widths, (3, 3, 3), inplanes=channels)
        for name, stage in stages:
            self.add_module(name, stage)
        self.out_channels = widths[-1]
        self.reduction = 4

    def out_size(self, side: int) -> int:
        """Return the side of the output for a side of the image."""
        return -(-side // 4)


class PoseNorm(nn.Module):
    """Batch normalisation of the poses of a capsule map; activations are unchanged.

    Args:
        pose_channels: Channels of the poses.
    """

    def __init__(self, pose_channels: int) -> None:
        super().__init__()
        self.pose_channels = pose_channels
        self.norm = nn.BatchNorm2d(pose_channels)

    def forward(self, x: Tensor) -> Tensor:
        pose, activation = split_channels(x, self.pose_channels)
        return torch.cat([self.norm(pose), activation], dim=1)


class CapsuleLayer(nn.Module):
    """A routing layer with an optional residual connection and normalisation of poses.

    Args:
        routing: The routing layer.
        residual: Whether the poses of the input are added to those of the output, which must be as many. Activations
            are those of the routing, since sums of probabilities are not probabilities.
        norm: Whether to batch-normalise the poses of the output.
    """

    def __init__(self, routing: WindowRouting, residual: bool, norm: bool) -> None:
        super().__init__()
        self.routing = routing
        self.residual = residual
        self.pose_channels = routing.out_types * routing.out_dim
        self.out_channels = routing.out_channels
        self.norm = PoseNorm(self.pose_channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.routing(x)
        if self.residual:
            pose, activation = split_channels(y, self.pose_channels)
            y = torch.cat([split_channels(x, self.pose_channels)[0] + pose, activation], dim=1)
        return self.norm(y)


class CapsuleDropout(nn.Module):
    """Dropout of whole capsules; the weight of the others is scaled by ``1 / (1 - rate)``.

    Args:
        types: Capsule types of the map.
        rate: Probability that a capsule is dropped in training.
        weight_is_pose: Whether routing weights a vote by the length of the pose that casts it (dynamic routing) instead
            of the activation.
    """

    def __init__(self, types: int, rate: float, weight_is_pose: bool) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f'drop_rate must be at least 0 and less than 1, got {rate}')
        self.types = types
        self.rate = rate
        self.weight_is_pose = weight_is_pose

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        pose, activation = split_channels(x, x.shape[1] - self.types)
        kept = F.dropout(torch.ones_like(activation), self.rate)
        if self.weight_is_pose:
            pose = (pose.unflatten(1, (self.types, -1)) * kept[:, :, None]).flatten(1, 2)
        return torch.cat([pose, activation * kept], dim=1)


class RoutedClassifier(nn.Module):
    """Class capsules over a whole capsule map.

    Args:
        in_channels: Channels of the map.
        in_types: Capsule types of the map.
        num_classes: Number of classes; 0 leaves only the pooling.
        feature_size: Height and width of the map.
        routing: ``'em'`` (transforms shared by the positions, coordinate addition), ``'dynamic'`` or ``'self'``.
        global_pool: ``'flatten'``: the classes read every position; ``''``: no pooling, without classes only. Defaults
            to ``'flatten'``.
        drop_rate: Probability that a capsule of the map is dropped in training. Defaults to 0.
        output: ``'activation'``, or ``'logit'`` for the log-odds of the activations: exact for EM, whose activations
            are sigmoids, and bounded for the others. Defaults to ``'activation'``.
        **kwargs: Arguments of the routing layer, such as ``pose_size`` or ``iterations``.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: activations in [0, 1], or their log-odds, ``[b, num_classes]``; without classes the features
    """

    def __init__(
        self,
        in_channels: int,
        in_types: int,
        num_classes: int,
        feature_size: tuple[int, int],
        routing: str,
        global_pool: str = 'flatten',
        drop_rate: float = 0.0,
        output: str = 'activation',
        **kwargs,
    ) -> None:
        super().__init__()
        check_choice('global_pool', global_pool, GLOBAL_POOLS)
        check_choice('output', output, OUTPUTS)
        if num_classes > 0 and not global_pool:
            raise ValueError("global_pool='' goes with num_classes=0 only: class capsules need one location")
        self.global_pool = global_pool
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.routing_name = routing
        self.drop = CapsuleDropout(in_types, drop_rate, weight_is_pose=routing == 'dynamic')
        self._set_feature_size(feature_size)
        if num_classes > 0:
            own: dict[str, dict[str, Any]] = dict(
                em=dict(coordinate_addition=True), dynamic=dict(transform_std=0.1), self=dict(activation_only=True)
            )
            layer = create_routing(
                routing,
                in_types,
                num_classes,
                kernel_size=feature_size,
                padding=0,
                log_odds=output == 'logit',
                **(own[routing] | kwargs),
            )
            assert isinstance(layer, WindowRouting)
            self.routing: nn.Module = layer
            self.pose_shape = layer.pose_shape
            self.pose_channels = layer.out_channels - num_classes
        else:
            self.routing = nn.Flatten() if global_pool else nn.Identity()

    def _set_feature_size(self, feature_size: tuple[int, int]) -> None:
        self.feature_size = feature_size
        self.num_features = self.in_channels * (prod(feature_size) if self.global_pool else 1)
        self.size_error = (
            f'class capsules read capsule maps of {feature_size[0]}x{feature_size[1]} only: pass images of the size '
            'that the network was built for, or build it for these (img_size=...)'
        )

    def capsules(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return poses ``[b, num_classes * d]`` and outputs ``[b, num_classes]`` of the class capsules."""
        torch._assert(x.shape[-2] == self.feature_size[0], self.size_error)
        torch._assert(x.shape[-1] == self.feature_size[1], self.size_error)
        return split_channels(self.routing(self.drop(x)).flatten(1), self.pose_channels)

    @torch.jit.ignore
    def forward_capsules(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return the class capsules' poses (None with self-routing) and activations ``[b, num_classes]``."""
        poses, output = self.capsules(x)
        activations = torch.sigmoid(output) if self.routing.log_odds else output
        if self.pose_channels == 0:
            return None, activations
        return poses.unflatten(1, (self.num_classes, *self.pose_shape)), activations

    @torch.jit.ignore
    def position_dims(self) -> dict[str, tuple[int, ...]]:
        """Return the dimensions of weights that are positions of the map, by the name of the weight."""
        # Those of EM are shared by the positions.
        return {} if self.routing_name == 'em' or self.num_classes == 0 else {'routing.weight': (0,)}

    @torch.jit.ignore
    def resize(self, feature_size: tuple[int, int]) -> None:
        """Read capsule maps of another size, in place; weights per position are resampled."""
        before, routing = self.feature_size, self.routing
        self._set_feature_size(feature_size)
        if not isinstance(routing, WindowRouting):
            return
        routing.kernel_size, routing.window = feature_size, prod(feature_size)
        if isinstance(routing, EMRouting):
            routing.init_non_persistent_buffers()
        if self.position_dims():
            parameter = routing.get_parameter('weight')
            weight = parameter.data.movedim(0, -1).unflatten(-1, before)
            weight = resample_positions(weight, feature_size).flatten(-2).movedim(-1, 0)
            # Votes of dynamic routing are summed over the positions, routing weights of self-routing are not.
            area = prod(before) / prod(feature_size) if self.routing_name == 'dynamic' else 1
            parameter.data = area * weight

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits:
            return x.flatten(1) if self.global_pool else x
        if self.num_classes == 0:
            return self.routing(x)
        return self.capsules(x)[1]


class RoutedNetwork(CapsuleClassifierNetwork):
    """A network with a :class:`RoutedClassifier` as its head."""

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Return the parameters without weight decay: the costs of EM routing."""
        return {name for name, _ in self.named_parameters() if name.endswith(('beta_u', 'beta_a'))}


class RoutedCaps(RoutedNetwork):
    """Convolutional capsule network with EM, dynamic or self-routing.

    Args:
        num_classes: Number of classes; 0 for features. Defaults to 10.
        in_chans: Channels of the image. Defaults to 3.
        img_size: Image height and width, in pixels. Defaults to 32.
        global_pool: ``'flatten'``, or ``''`` for unpooled features without classes. Defaults to ``'flatten'``.
        routing: ``'em'``, ``'dynamic'`` or ``'self'``. Defaults to ``'em'``.
        capsule_types: Types of the primary capsules and of every capsule layer. Defaults to (32, 32, 32).
        strides: Stride of every capsule layer, whose windows are 3x3. Defaults to (2, 1).
        padding: Zero padding of the capsule layers; None is 1. Defaults to 0.
        residual: Whether capsule layers that keep types and size add their input (RCCaps). Defaults to False.
        norm: Whether to batch-normalise poses after every layer of capsules. Defaults to False.
        pose_size: Side of the pose matrices. Defaults to 4.
        stem: ``'conv5'``, 5x5 at stride 2, or ``'resnet20'``, which divides height and width by 4. Defaults to
            ``'conv5'``.
        stem_channels: Channels of the stem's first convolution. Defaults to 32.
        stem_padding: Zero padding of the stem ``'conv5'``. Defaults to 0.
        iterations: Iterations of EM and dynamic routing; None is the routing's default, 3. Defaults to None.
        inverse_temperature: Final inverse temperature of EM routing; None is the routing's default, 0.01. ``'scaled'``
            multiplies that by the number of children of a class in the paper, 512, over the number here, as their mass
            is part of the cost of a class. Defaults to None.
        coupling_grad: Whether gradients of dynamic routing flow through the couplings; None is the routing's default,
            True. Defaults to None.
        output: ``'activation'``, or ``'logit'`` for the log-odds of the activations, for losses on logits
            (cross-entropy, binary cross-entropy, distillation). Defaults to ``'activation'``.
        drop_rate: Dropout of capsules before the class capsules, see
            :class:`~rescaps_plugin.models.routed_caps.CapsuleDropout`. Defaults to 0.
        drop_path_rate: Must be 0: there is no stochastic depth. Defaults to 0.
        device: Device of the parameters; None is PyTorch's default. Defaults to None.
        dtype: Data type of the parameters; None is PyTorch's default. Defaults to None.

    Shape:
        - input: ``[b, in_chans, *img_size]``
        - output: ``[b, num_classes]``, class activations in (0, 1) or their log-odds

    Raises:
        ValueError: If a choice is unknown, the image too small for the layers, or ``drop_path_rate`` not 0.
        TypeError: If an argument of another routing is given.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 32,
        global_pool: str = 'flatten',
        routing: str = 'em',
        capsule_types: Sequence[int] = (32, 32, 32),
        strides: Sequence[int] = (2, 1),
        padding: int | None = 0,
        residual: bool = False,
        norm: bool = False,
        pose_size: int = 4,
        stem: str = 'conv5',
        stem_channels: int = 32,
        stem_padding: int = 0,
        iterations: int | None = None,
        inverse_temperature: float | str | None = None,
        coupling_grad: bool | None = None,
        output: str = 'activation',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_choice('routing', routing, ROUTINGS)
        check_choice('stem', stem, STEMS)
        self.scaled_temperature = isinstance(inverse_temperature, str)
        if isinstance(inverse_temperature, str):
            check_choice('inverse_temperature', inverse_temperature, ('scaled',))
            inverse_temperature = PAPER_INVERSE_TEMPERATURE  # until the head, and so the number of children, is known
        given: dict[str, Any] = dict(
            iterations=iterations, inverse_temperature=inverse_temperature, coupling_grad=coupling_grad
        )
        routing_args = {name: value for name, value in given.items() if value is not None}
        self.in_chans = in_chans
        if len(capsule_types) != len(strides) + 1:
            raise ValueError(
                'capsule_types must name the types of the primary capsules and of a layer for each of '
                f'strides={strides!r}, got {capsule_types!r}'
            )
        self.grad_checkpointing = False
        wide = stem == 'resnet20'
        self.stem = ResNet20Stem(in_chans, stem_channels) if wide else ConvStem(in_chans, stem_channels, stem_padding)
        primary: dict[str, Any] = dict(kernel_size=3, padding=1) if wide else dict(kernel_size=1)
        channels = self.stem.out_channels
        types = capsule_types[0]
        pose_channels = types * pose_size**2
        capsules: PrimaryCaps | PrimaryVectorCaps
        if routing == 'dynamic':
            capsules = PrimaryVectorCaps(channels, types, pose_size**2, **dict(primary, stride=1))
        else:
            capsules = PrimaryCaps(channels, types, pose_size, activation=True, **primary)
        self.capsule_types = tuple(capsule_types)
        self.pose_shape = capsules.pose_shape
        reduction = self.stem.reduction
        self.feature_info = [
            dict(num_chs=channels, reduction=reduction, module='stem'),
            dict(num_chs=capsules.out_channels, reduction=reduction, module='primary'),
        ]
        self.primary = nn.Sequential(capsules, PoseNorm(pose_channels)) if norm else capsules

        layers = []
        for index, (out_types, stride) in enumerate(zip(capsule_types[1:], strides, strict=True)):
            layer = create_routing(
                routing, types, out_types, stride=stride, padding=padding, pose_size=pose_size, **routing_args
            )
            assert isinstance(layer, WindowRouting)
            keeps = out_types == types and stride == 1 and layer.padding[0] == 1
            layers.append(CapsuleLayer(layer, residual and keeps, norm))
            types = out_types
            reduction *= stride
            self.feature_info.append(dict(num_chs=layer.out_channels, reduction=reduction, module=f'layers.{index}'))
        self.layers = nn.Sequential(*layers)
        self.num_features = self.feature_info[-1]['num_chs']
        head = partial(
            RoutedClassifier,
            self.num_features,
            types,
            routing=routing,
            pose_size=pose_size,
            drop_rate=drop_rate,
            output=output,
            **routing_args,
        )
        self.build_head(head, num_classes, img_size, global_pool, drop_path_rate, device, dtype)

    def _set_head(self, num_classes: int, global_pool: str) -> None:
        super()._set_head(num_classes, global_pool)
        self._scale_temperature()

    @torch.jit.ignore
    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Change the size of the images that the network reads, in place, and with it a scaled temperature."""
        super().set_input_size(img_size)
        self._scale_temperature()

    def _scale_temperature(self) -> None:
        if self.scaled_temperature:
            children = self.capsule_types[-1] * prod(self.feature_size)
            for module in self.modules():
                if isinstance(module, EMRouting):
                    module.inverse_temperature = PAPER_INVERSE_TEMPERATURE * PAPER_CHILDREN / children

    @torch.jit.ignore
    def feature_size_of(self, img_size: int | tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the last capsule map for images of a size; raise if they are too small."""
        size = [self.stem.out_size(side) for side in to_2tuple(img_size)]
        for layer in self.layers:
            routing: Any = layer.routing
            size = [(side + 2 * routing.padding[0] - 3) // routing.stride + 1 for side in size]
        if min(size) < 1:
            raise ValueError(
                f'img_size must leave room for the capsule layers, got {img_size!r}, which ends as {size[0]}x{size[1]}'
            )
        return size[0], size[1]

    @torch.jit.ignore
    def capsule_levels(self) -> list[CapsuleLevel]:
        """The primary capsules and the capsule layers, with types and poses."""
        names = ['primary', *(f'layers.{index}' for index in range(len(self.capsule_types) - 1))]
        return [(name, types, self.pose_shape) for name, types in zip(names, self.capsule_types, strict=True)]

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Group parameters by depth, for layer-wise learning rates."""
        return dict(stem=r'^stem|^primary', blocks=r'^layers\.(\d+)')

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last capsule map, ``[b, num_features, h, w]``."""
        x = self.primary(self.stem(x))
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.layers, x)
        return self.layers(x)


_mnist = partial(mnist_cfg, classifier='head.routing')
_smallnorb = partial(smallnorb_cfg, classifier='head.routing')
_cifar = partial(cifar_cfg, classifier='head.routing')

default_cfgs = list_cfgs(
    {
        'em_caps_mnist': _mnist(pool_size=(3, 3)),
        'em_caps_smallnorb': _smallnorb(pool_size=(4, 4)),
        'em_caps_cifar': _cifar(pool_size=(4, 4)),
        'em_caps_tiny': _cifar(pool_size=(8, 8)),
        'rccaps_em_mnist': _mnist(pool_size=(6, 6)),
        'rccaps_em_smallnorb': _smallnorb(pool_size=(7, 7)),
        'rccaps_em_cifar': _cifar(pool_size=(7, 7)),
        'rccaps_em_tiny': _cifar(pool_size=(8, 8)),
        'rccaps_dynamic_mnist': _mnist(pool_size=(6, 6)),
        'rccaps_dynamic_smallnorb': _smallnorb(pool_size=(7, 7)),
        'rccaps_dynamic_cifar': _cifar(pool_size=(7, 7)),
        'rccaps_dynamic_tiny': _cifar(pool_size=(8, 8)),
        'srcaps_resnet20_mnist': _mnist(pool_size=(4, 4)),
        'srcaps_resnet20_smallnorb': _smallnorb(pool_size=(4, 4)),
        'srcaps_resnet20_cifar': _cifar(pool_size=(4, 4)),
        'srcaps_tiny': _cifar(pool_size=(8, 8)),
    }
)


def _create(variant: str, pretrained: bool = False, **kwargs) -> RoutedCaps:
    return build_network(
        RoutedCaps,
        variant,
        pretrained,
        feature_cfg=dict(out_indices=tuple(range(1 + len(kwargs['capsule_types']))), feature_cls='getter'),
        **kwargs,
    )


_EM_CAPS = dict(routing='em', capsule_types=(32, 32, 32), strides=(2, 1))
_RCCAPS = dict(capsule_types=(32, 32, 32, 32, 32), strides=(2, 1, 1, 1), padding=1, residual=True)
_RCCAPS_TINY = dict(capsule_types=(4, 4, 4, 4), strides=(2, 1, 1), padding=1, stem_padding=2, residual=True)
_SRCAPS = dict(
    routing='self', capsule_types=(32, 32), strides=(2,), padding=1, norm=True, stem='resnet20', stem_channels=16
)


@register_model
def em_caps_mnist(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """EM-Caps for 28x28 MNIST digits: 32 types in every layer (B = C = D = 32 of the paper)."""
    return _create('em_caps_mnist', pretrained, **(_EM_CAPS | kwargs))


@register_model
def em_caps_smallnorb(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """EM-Caps for 32x32 crops of smallNORB views: 32 types in every layer (B = C = D = 32 of the paper)."""
    return _create('em_caps_smallnorb', pretrained, **(_EM_CAPS | kwargs))


@register_model
def em_caps_cifar(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """EM-Caps for 32x32 CIFAR images: 32 types in every layer (B = C = D = 32 of the paper)."""
    return _create('em_caps_cifar', pretrained, **(_EM_CAPS | kwargs))


@register_model
def em_caps_tiny(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """EM-Caps of 4 types, padded for small images, which a CPU trains in minutes.

    The inverse temperature is scaled by the number of children of a class: 0.08 at 16x16, 0.02 at 32x32.
    """
    model_args = dict(
        routing='em', capsule_types=(4, 4, 4), strides=(2, 1), padding=1, stem_padding=2, inverse_temperature='scaled'
    )
    return _create('em_caps_tiny', pretrained, **dict(model_args, **kwargs))


@register_model
def rccaps_em_mnist(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps over EM routing for 28x28 MNIST digits: four capsule layers, three with residuals."""
    return _create('rccaps_em_mnist', pretrained, **(_RCCAPS | dict(routing='em') | kwargs))


@register_model
def rccaps_em_smallnorb(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps over EM routing for 32x32 crops of smallNORB views: four capsule layers, three with residuals."""
    return _create('rccaps_em_smallnorb', pretrained, **(_RCCAPS | dict(routing='em') | kwargs))


@register_model
def rccaps_em_cifar(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps over EM routing for 32x32 CIFAR images: four capsule layers, three with residuals."""
    return _create('rccaps_em_cifar', pretrained, **(_RCCAPS | dict(routing='em') | kwargs))


@register_model
def rccaps_em_tiny(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps of 4 types over EM routing, padded for small images, which a CPU trains in minutes.

    The inverse temperature is scaled as that of ``em_caps_tiny``.
    """
    return _create(
        'rccaps_em_tiny',
        pretrained,
        **(_RCCAPS_TINY | dict(routing='em', inverse_temperature='scaled') | kwargs),
    )


@register_model
def rccaps_dynamic_mnist(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps over dynamic routing for 28x28 MNIST digits: four capsule layers, three with residuals."""
    return _create('rccaps_dynamic_mnist', pretrained, **(_RCCAPS | dict(routing='dynamic') | kwargs))


@register_model
def rccaps_dynamic_smallnorb(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps over dynamic routing for 32x32 crops of smallNORB views: four capsule layers, three with residuals."""
    return _create('rccaps_dynamic_smallnorb', pretrained, **(_RCCAPS | dict(routing='dynamic') | kwargs))


@register_model
def rccaps_dynamic_cifar(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps over dynamic routing for 32x32 CIFAR images: four capsule layers, three with residuals."""
    return _create('rccaps_dynamic_cifar', pretrained, **(_RCCAPS | dict(routing='dynamic') | kwargs))


@register_model
def rccaps_dynamic_tiny(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """RCCaps of 4 types over dynamic routing, padded for small images, which a CPU trains in minutes."""
    return _create('rccaps_dynamic_tiny', pretrained, **(_RCCAPS_TINY | dict(routing='dynamic') | kwargs))


@register_model
def srcaps_resnet20_mnist(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """Self-routing behind a ResNet-20 for 28x28 MNIST digits: 32 types of primary and other capsules."""
    return _create('srcaps_resnet20_mnist', pretrained, **(_SRCAPS | kwargs))


@register_model
def srcaps_resnet20_smallnorb(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """Self-routing behind a ResNet-20 for 32x32 crops of smallNORB views: 32 types of primary and other capsules."""
    return _create('srcaps_resnet20_smallnorb', pretrained, **(_SRCAPS | kwargs))


@register_model
def srcaps_resnet20_cifar(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """Self-routing behind a ResNet-20 for 32x32 CIFAR images: 32 types of primary and other capsules."""
    return _create('srcaps_resnet20_cifar', pretrained, **(_SRCAPS | kwargs))


@register_model
def srcaps_tiny(pretrained: bool = False, **kwargs) -> RoutedCaps:
    """Self-routing of 4 types behind a convolution, which a CPU trains in minutes."""
    model_args = dict(routing='self', capsule_types=(4, 4, 4), strides=(2, 1), padding=1, stem_padding=2, norm=True)
    return _create('srcaps_tiny', pretrained, **dict(model_args, **kwargs))
