"""ResCaps: deep capsule networks with residual pose routing.

Paper: *Capsule Networks With Residual Pose Routing*, Liu, Cheng, Zhang, Xu, Han, IEEE TNNLS 2024.

A stem, blocks of primary capsules and ResP layers at strides 2, 4, 8, ..., and a classifier of primary capsules over
the whole last map and a ResPC layer. The networks return class *activations* in (0, 1), for the spread or margin loss
of ``rescaps_plugin.losses``; with ``output='logit'`` their log-odds, for cross-entropy and other losses on logits.

The paper's batch normalisation after a block is placed here before the primary capsules that read the block, where it
computes the same and can be folded into them; the features between blocks are the capsule maps themselves.
"""

from collections.abc import Sequence
from functools import partial
from math import prod

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import to_2tuple
from timm.models import checkpoint_seq, register_model
from torch import Tensor, nn

from rescaps_plugin.layers import PrimaryCaps, ResidualPoseBlock, ResidualPoseBlocks, ResidualPoseClassifier
from rescaps_plugin.layers.capsule_map import split_capsules
from rescaps_plugin.layers.checks import check_choice
from rescaps_plugin.layers.fusion import Deployable, conv_from_kernel, fuse_layers, norm_scale_shift
from rescaps_plugin.models.build import build_network
from rescaps_plugin.models.cfgs import affnist_cfg, cifar_cfg, list_cfgs, mnist_cfg, smallnorb_cfg, untrained_cfg
from rescaps_plugin.models.network import (
    OUTPUTS,
    CapsuleClassifierNetwork,
    CapsuleLevel,
    CapsuleNetwork,
    resample_positions,
)

__all__ = ['CapsuleClassifier', 'ResCaps', 'ResCapsTrunk']

GLOBAL_POOLS = ('flatten', 'avg', '')
STEMS = ('conv5', 'conv7_pool')


class Stem(Deployable):
    """Convolution, batch normalisation, ReLU and, for large images, a max-pool.

    Args:
        in_chans: Channels of the image.
        channels: Channels of the features.
        kind: ``'conv5'``: 5x5 at stride 1 (the paper); ``'conv7_pool'``: 7x7 at stride 2, then a max-pool at stride 2.
    """

    def __init__(self, in_chans: int, channels: int, kind: str) -> None:
        super().__init__()
        if kind not in STEMS:
            raise ValueError(f'stem must be one of {STEMS}, got {kind!r}')
        large = kind == 'conv7_pool'
        kernel_size, stride = (7, 2) if large else (5, 1)
        self.conv = nn.Conv2d(in_chans, channels, kernel_size, stride, padding=kernel_size // 2)
        self.norm: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels, eps=1e-3)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity()
        self.reduction = 4 if large else 1

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.act(self.norm(self.conv(x))))

    def _fold(self) -> None:
        assert not isinstance(self.norm, nn.Identity) and self.conv.bias is not None
        scale, shift = norm_scale_shift(self.norm)
        bias = scale * self.conv.bias + shift
        self.conv = conv_from_kernel(self.conv.weight, scale, bias, self.conv.stride, self.conv.padding)
        self.norm = nn.Identity()


class ResCapsTrunk(CapsuleNetwork):
    """Stem and residual pose blocks, shared by the timm model and the OpenMMLab backbone.

    Feature levels are the stem and the blocks. A network of one block would have too few levels for a pyramid, so its
    levels are the stem and the capsule layers of the block.

    Args:
        in_chans: Channels of the image. Defaults to 3.
        capsule_types: Capsule types of each block. Defaults to (32, 32, 16, 16).
        num_layers: ResP layers in a block. Defaults to 2.
        pose_size: Side of the pose matrices. Defaults to 4.
        kernel_size: Window of the ResP layers, odd. Defaults to 3.
        stem: ``'conv5'`` (the paper) or ``'conv7_pool'``, which divides height and width by 4. Defaults to ``'conv5'``.
        stem_channels: Channels of the stem. Defaults to 32.
        routing: ``'window'`` or ``'pointwise'``, see :class:`~rescaps_plugin.layers.ResidualPoseRouting`.
        residual: ``'identity'``, ``'ones'`` or ``'none'``, as for ``routing``.
        transform_std: Initial standard deviation of the pose transforms. Defaults to 0.1.
        strides: Stride of each block's primary capsules; None: 2, which halves height and width. Defaults to None.

    Raises:
        ValueError: If there is no block, or strides and blocks differ in number.
    """

    def __init__(
        self,
        in_chans: int = 3,
        capsule_types: Sequence[int] = (32, 32, 16, 16),
        num_layers: int = 2,
        pose_size: int = 4,
        kernel_size: int = 3,
        stem: str = 'conv5',
        stem_channels: int = 32,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
        strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.in_chans = in_chans
        if not capsule_types or isinstance(capsule_types, str):
            raise ValueError(f'capsule_types must name the capsule types of at least one block, got {capsule_types!r}')
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size must be odd, got {kernel_size}')
        strides = (2,) * len(capsule_types) if strides is None else strides
        if len(strides) != len(capsule_types):
            raise ValueError(f'strides must be one for each of {len(capsule_types)} blocks, got {strides!r}')
        self.grad_checkpointing = False
        self.pose_size = pose_size
        self.capsule_types = tuple(capsule_types)
        self.stem = Stem(in_chans, stem_channels, stem)
        reduction = self.stem.reduction
        levels = [dict(num_chs=stem_channels, reduction=reduction, module='stem')]
        blocks = []
        channels = stem_channels
        for index, (types, stride) in enumerate(zip(capsule_types, strides, strict=True)):
            block = ResidualPoseBlock(
                channels,
                types,
                num_layers,
                primary_stride=stride,
                kernel_size=kernel_size,
                pose_size=pose_size,
                norm=index > 0,
                routing=routing,
                residual=residual,
                transform_std=transform_std,
            )
            blocks.append(block)
            channels = block.out_channels
            reduction *= stride
            if len(capsule_types) > 1:
                levels.append(dict(num_chs=channels, reduction=reduction, module=f'blocks.{index}'))
            else:
                for name, layer in block.named_children():
                    levels.append(dict(num_chs=layer.out_channels, reduction=reduction, module=f'blocks.0.{name}'))
        self.blocks = ResidualPoseBlocks(*blocks)
        self.feature_info = levels
        self.num_features = channels

    @torch.jit.ignore
    def capsule_levels(self) -> list[CapsuleLevel]:
        """The blocks, and the types and poses of their capsule maps."""
        return [(f'blocks.{index}', types, self.pose_size) for index, types in enumerate(self.capsule_types)]

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the capsule map of the last block, ``[b, num_features, h, w]``."""
        x = self.stem(x)
        if self.grad_checkpointing and not torch.jit.is_scripting():
            return checkpoint_seq(self.blocks, x)
        return self.blocks(x)

    @torch.jit.ignore
    def fuse(self) -> nn.Module:
        """Turn every layer into its deploy form, in place, and return the network, in eval mode."""
        return fuse_layers(self)


class CapsuleClassifier(nn.Module):
    """Primary capsules of the classes over a whole feature map, then ResPC (Liu et al. 2024, block 5 of Fig. 3).

    Args:
        in_channels: Channels of the feature map.
        num_classes: Number of classes; 0 leaves only the pooling.
        feature_size: Height and width of the feature map, which ``global_pool='flatten'`` needs.
        global_pool: ``'flatten'``: the class capsules have separate weights for every position (the paper); ``'avg'``:
            they read the mean over positions, of maps of any size; ``''``: no pooling, without classes only.
        pose_size: Side of the pose matrices. Defaults to 4.
        routing: As in :class:`~rescaps_plugin.layers.ResidualPoseClassifier`. Defaults to ``'window'``.
        residual: As in :class:`~rescaps_plugin.layers.ResidualPoseClassifier`. Defaults to ``'identity'``.
        transform_std: As in :class:`~rescaps_plugin.layers.ResidualPoseClassifier`. Defaults to 0.1.
        drop_rate: Probability that an entry of the pooled map is dropped in training. Defaults to 0.
        output: ``'activation'``, or ``'logit'`` for the log-odds of the activations. Defaults to ``'activation'``.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: ``[b, num_classes]``, activations in (0, 1) or their log-odds; without classes the pooled features
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        feature_size: int | tuple[int, int] | None = None,
        global_pool: str = 'flatten',
        pose_size: int = 4,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
        drop_rate: float = 0.0,
        output: str = 'activation',
    ) -> None:
        super().__init__()
        check_choice('global_pool', global_pool, GLOBAL_POOLS)
        check_choice('output', output, OUTPUTS)
        if global_pool == 'flatten' and feature_size is None:
            raise ValueError("feature_size must be given with global_pool='flatten', got None")
        if num_classes > 0 and not global_pool:
            raise ValueError("global_pool='' goes with num_classes=0 only: class capsules need one location")
        self.global_pool = global_pool
        self.num_classes = num_classes
        self.pose_size = pose_size
        self.in_channels = in_channels
        self.avg_pool = nn.AdaptiveAvgPool2d(1) if global_pool == 'avg' else nn.Identity()
        self._set_feature_size(feature_size)
        if num_classes > 0:
            self.drop: nn.Module = nn.Dropout(drop_rate)
            # A kernel of the map's own size is the flattened map times one matrix.
            self.primary: nn.Module = PrimaryCaps(
                in_channels, num_classes, pose_size, self.feature_size or 1, norm=True
            )
            self.routing: nn.Module = ResidualPoseClassifier(
                num_classes, pose_size, routing, residual, transform_std, log_odds=output == 'logit'
            )
        else:
            self.drop = nn.Identity()
            self.primary = nn.Identity()
            self.routing = nn.Flatten() if global_pool else nn.Identity()

    def _set_feature_size(self, feature_size: int | tuple[int, int] | None) -> None:
        self.feature_size = to_2tuple(feature_size) if self.global_pool == 'flatten' else None
        height, width = self.feature_size or (1, 1)
        self.num_features = self.in_channels * height * width
        self.size_error = (
            f"global_pool='flatten' reads feature maps of {height}x{width} only: pass images of the size that the "
            "network was built for, build it for these (img_size=...), or use global_pool='avg'"
        )

    @torch.jit.ignore
    def fuse(self) -> nn.Module:
        """Turn every layer into its deploy form, in place, and return the classifier, in eval mode."""
        return fuse_layers(self)

    @torch.jit.ignore
    def position_dims(self) -> dict[str, tuple[int, ...]]:
        """Return the dimensions of weights that are positions of the feature map, by the name of the weight."""
        return {} if self.feature_size is None or self.num_classes == 0 else {'primary.pose.weight': (2, 3)}

    @torch.jit.ignore
    def resize(self, feature_size: tuple[int, int]) -> None:
        """Read feature maps of another size, in place; weights per position are resampled."""
        before = self.feature_size
        self._set_feature_size(feature_size)
        if before is not None and isinstance(self.primary, PrimaryCaps):
            pose = self.primary.pose
            weight = resample_positions(pose.weight.data, feature_size)
            pose.weight.data = prod(before) / prod(feature_size) * weight
            pose.kernel_size = feature_size

    def _pool(self, x: Tensor) -> Tensor:
        if self.feature_size is not None:
            torch._assert(x.shape[-2] == self.feature_size[0], self.size_error)
            torch._assert(x.shape[-1] == self.feature_size[1], self.size_error)
        return self.avg_pool(x)

    @torch.jit.ignore
    def forward_capsules(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return poses ``[b, num_classes, p, p]`` and activations ``[b, num_classes]`` of the class capsules."""
        x = self.primary(self.drop(self._pool(x)))
        poses, _ = split_capsules(x, self.num_classes, self.pose_size)
        output = self.routing(x)
        return poses.flatten(3), torch.sigmoid(output) if self.routing.log_odds else output

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self._pool(x)
        if pre_logits:
            return x.flatten(1) if self.global_pool else x
        return self.routing(self.primary(self.drop(x)))


class ResCaps(ResCapsTrunk, CapsuleClassifierNetwork):
    """ResCaps classifier (Liu et al. 2024, Fig. 3).

    Args:
        num_classes: Number of classes; 0 for features. Defaults to 10.
        img_size: Image height and width, in pixels. Defaults to 32.
        global_pool: How the classifier reads the last map, see :class:`CapsuleClassifier`. Defaults to ``'flatten'``.
        classifier_routing: ``routing`` of the ResPC layer, see :class:`CapsuleClassifier`. Defaults to ``'window'``.
        deploy: Whether to build the deploy form, which deploy checkpoints load into. Defaults to False.
        in_chans: Channels of the image. Defaults to 3.
        capsule_types: Capsule types of each block. Defaults to (32, 32, 16, 16).
        num_layers: ResP layers in a block. Defaults to 2.
        pose_size: Side of the pose matrices. Defaults to 4.
        kernel_size: Window of the ResP layers, odd. Defaults to 3.
        stem: ``'conv5'`` (the paper) or ``'conv7_pool'``, which divides height and width by 4. Defaults to ``'conv5'``.
        stem_channels: Channels of the stem. Defaults to 32.
        routing: ``'window'`` or ``'pointwise'``, see :class:`~rescaps_plugin.layers.ResidualPoseRouting`. Defaults to
            ``'window'``.
        residual: ``'identity'``, ``'ones'`` or ``'none'``, as for ``routing``. Defaults to ``'identity'``.
        transform_std: Initial standard deviation of the pose transforms. Defaults to 0.1.
        strides: Stride of each block's primary capsules; None: 2, which halves height and width. Defaults to None.
        output: ``'activation'``, or ``'logit'`` for the log-odds of the activations, for losses on logits
            (cross-entropy, binary cross-entropy, distillation). Defaults to ``'activation'``.
        drop_rate: Dropout before the class capsules, see :class:`CapsuleClassifier`. Defaults to 0.
        drop_path_rate: Must be 0: there is no stochastic depth. Defaults to 0.
        device: Device of the parameters; None is PyTorch's default. Defaults to None.
        dtype: Data type of the parameters; None is PyTorch's default. Defaults to None.

    Shape:
        - input: ``[b, in_chans, *img_size]``
        - output: ``[b, num_classes]``, class activations in (0, 1) or their log-odds

    Raises:
        ValueError: If a choice is unknown, or ``drop_path_rate`` is not 0.
    """

    def __init__(
        self,
        num_classes: int = 10,
        img_size: int | tuple[int, int] = 32,
        global_pool: str = 'flatten',
        classifier_routing: str = 'window',
        deploy: bool = False,
        in_chans: int = 3,
        capsule_types: Sequence[int] = (32, 32, 16, 16),
        num_layers: int = 2,
        pose_size: int = 4,
        kernel_size: int = 3,
        stem: str = 'conv5',
        stem_channels: int = 32,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
        strides: Sequence[int] | None = None,
        output: str = 'activation',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_chans,
            capsule_types,
            num_layers,
            pose_size,
            kernel_size,
            stem,
            stem_channels,
            routing,
            residual,
            transform_std,
            strides,
        )
        head = partial(
            CapsuleClassifier,
            self.num_features,
            pose_size=pose_size,
            routing=classifier_routing,
            residual=residual,
            transform_std=transform_std,
            drop_rate=drop_rate,
            output=output,
        )
        self.build_head(head, num_classes, img_size, global_pool, drop_path_rate, device, dtype)
        if deploy:
            self.fuse()

    @torch.jit.ignore
    def feature_size_of(self, img_size: int | tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the last capsule map for images of a size; raise if that is not positive."""
        # Every block rounds up: its primary capsules are 1x1 with a stride.
        reduction = self.feature_info[-1]['reduction']
        height, width = to_2tuple(img_size)
        if min(height, width) < 1:
            raise ValueError(f'img_size must be positive, got {img_size!r}')
        return -(-height // reduction), -(-width // reduction)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Group parameters by depth, for layer-wise learning rates."""
        layers = [(r'^blocks\.(\d+)\.primary', (0,)), (r'^blocks\.(\d+)\.routing(\d+)', None)]
        return dict(stem=r'^stem', blocks=r'^blocks\.(\d+)' if coarse else layers)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Return the parameters without decay: none, since decay draws pose transforms to the residual's identity."""
        return set()


_CLASSIFIER = dict(classifier=('head.primary.pose', 'head.routing'))
# Four blocks, each rounding up.
_mnist = partial(mnist_cfg, **_CLASSIFIER, pool_size=(2, 2))
_affnist = partial(affnist_cfg, **_CLASSIFIER, pool_size=(3, 3))
_smallnorb = partial(smallnorb_cfg, **_CLASSIFIER, pool_size=(2, 2))
_cifar = partial(cifar_cfg, **_CLASSIFIER, pool_size=(2, 2))

default_cfgs = list_cfgs(
    {
        'rescaps_mnist': _mnist(),
        'rescaps_mnist_2b': _mnist(pool_size=(14, 14)),
        'rescaps_mnist_3l': _mnist(),
        'rescaps_mnist_2b_3l': _mnist(pool_size=(14, 14)),
        'rescaps_affnist': _affnist(),
        'rescaps_affnist_2b': _affnist(pool_size=(20, 20)),
        'rescaps_affnist_3l': _affnist(),
        'rescaps_affnist_2b_3l': _affnist(pool_size=(20, 20)),
        'rescaps_smallnorb': _smallnorb(),
        'rescaps_smallnorb_2b': _smallnorb(pool_size=(16, 16)),
        'rescaps_smallnorb_3l': _smallnorb(),
        'rescaps_smallnorb_2b_3l': _smallnorb(pool_size=(16, 16)),
        'rescaps_cifar': _cifar(),
        'rescaps_cifar_2b': _cifar(pool_size=(16, 16)),
        'rescaps_cifar_3l': _cifar(),
        'rescaps_cifar_2b_3l': _cifar(pool_size=(16, 16)),
        'rescaps_tiny': _cifar(),
        'rescaps_small': _cifar(),
        'rescaps_imagenet': untrained_cfg(
            (3, 224, 224),
            IMAGENET_DEFAULT_MEAN,
            IMAGENET_DEFAULT_STD,
            **_CLASSIFIER,
            num_classes=1000,
            pool_size=(4, 4),
            crop_pct=0.875,
            fixed_input_size=False,
        ),
    }
)


def _create_rescaps(variant: str, pretrained: bool = False, **kwargs) -> ResCaps:
    blocks = len(kwargs['capsule_types'])
    levels = 1 + blocks if blocks > 1 else 2 + kwargs.get('num_layers', 2)
    return build_network(
        ResCaps,
        variant,
        pretrained,
        feature_cfg=dict(out_indices=tuple(range(levels)), feature_cls='getter'),
        **kwargs,
    )


@register_model
def rescaps_mnist(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 28x28 MNIST digits: blocks of 32, 32, 16, 16 types."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=2)
    return _create_rescaps('rescaps_mnist', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_mnist_2b(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 28x28 MNIST digits: ResCaps-2B, one block of 32 types and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=2)
    return _create_rescaps('rescaps_mnist_2b', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_mnist_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 28x28 MNIST digits: ResCaps-3L, three ResP layers a block."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=3)
    return _create_rescaps('rescaps_mnist_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_mnist_2b_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 28x28 MNIST digits: ResCaps-2B-3L, one block of three ResP layers and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=3)
    return _create_rescaps('rescaps_mnist_2b_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_affnist(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 40x40 affNIST digits: blocks of 32, 32, 16, 16 types."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=2)
    return _create_rescaps('rescaps_affnist', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_affnist_2b(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 40x40 affNIST digits: ResCaps-2B, one block of 32 types and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=2)
    return _create_rescaps('rescaps_affnist_2b', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_affnist_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 40x40 affNIST digits: ResCaps-3L, three ResP layers a block."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=3)
    return _create_rescaps('rescaps_affnist_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_affnist_2b_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 40x40 affNIST digits: ResCaps-2B-3L, one block of three ResP layers and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=3)
    return _create_rescaps('rescaps_affnist_2b_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_smallnorb(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 crops of smallNORB views: blocks of 32, 32, 16, 16 types."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=2)
    return _create_rescaps('rescaps_smallnorb', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_smallnorb_2b(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 crops of smallNORB views: ResCaps-2B, one block of 32 types and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=2)
    return _create_rescaps('rescaps_smallnorb_2b', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_smallnorb_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 crops of smallNORB views: ResCaps-3L, three ResP layers a block."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=3)
    return _create_rescaps('rescaps_smallnorb_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_smallnorb_2b_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 crops of smallNORB views: ResCaps-2B-3L, one block of three ResP layers and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=3)
    return _create_rescaps('rescaps_smallnorb_2b_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_cifar(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 CIFAR images: blocks of 32, 32, 16, 16 types."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=2)
    return _create_rescaps('rescaps_cifar', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_cifar_2b(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 CIFAR images: ResCaps-2B, one block of 32 types and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=2)
    return _create_rescaps('rescaps_cifar_2b', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_cifar_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 CIFAR images: ResCaps-3L, three ResP layers a block."""
    model_args = dict(capsule_types=(32, 32, 16, 16), num_layers=3)
    return _create_rescaps('rescaps_cifar_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_cifar_2b_3l(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 32x32 CIFAR images: ResCaps-2B-3L, one block of three ResP layers and the classifier."""
    model_args = dict(capsule_types=(32,), num_layers=3)
    return _create_rescaps('rescaps_cifar_2b_3l', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_tiny(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps of 4 types in every block, which a CPU trains in a minute on small images."""
    model_args = dict(capsule_types=(4, 4, 4, 4))
    return _create_rescaps('rescaps_tiny', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_small(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps of 4, 8, 8, 8 types, which a CPU trains on MNIST in minutes."""
    model_args = dict(capsule_types=(4, 8, 8, 8))
    return _create_rescaps('rescaps_small', pretrained, **dict(model_args, **kwargs))


@register_model
def rescaps_imagenet(pretrained: bool = False, **kwargs) -> ResCaps:
    """ResCaps for 224x224 images and 1000 classes.

    It differs from the paper's networks, which would need 210 M weights in the classifier alone: a 7x7 stem at stride 2
    with a max-pool reduces the image to 56x56 before the first block; the class capsules read the mean over positions;
    and each class is read from its own pose.
    """
    model_args = dict(
        img_size=224,
        capsule_types=(16, 32, 32, 32),
        stem='conv7_pool',
        stem_channels=64,
        global_pool='avg',
        classifier_routing='pointwise',
    )
    return _create_rescaps('rescaps_imagenet', pretrained, **dict(model_args, **kwargs))
