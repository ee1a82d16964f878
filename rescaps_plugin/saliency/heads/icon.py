"""ICON: salient object detection by integrity learning, with a choice of capsule routings.

Zhuge, Fan, Liu, Zhang, Xu, Shao, *Salient Object Detection via Integrity Learning*, IEEE TPAMI 2022; with residual pose
routing Liu et al. 2024, Sec. V-C.

Levels are numbered from the deepest, 1, to the finest, 4, as the paper does.
"""

from collections.abc import Sequence

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from rescaps_plugin.layers import ResidualPoseBlock, ResidualPoseBlocks, create_routing
from rescaps_plugin.layers.capsule_map import split_channels
from rescaps_plugin.layers.fusion import Deployable, conv_from_kernel, norm_scale_shift
from rescaps_plugin.layers.window import full_precision
from rescaps_plugin.saliency.heads.base import SaliencyHead, conv_norm_relu, resize

_RPR = dict(type='rpr')
_BCE_IOU = dict(type='BCEIoULoss')
LEVELS = 4
POSE_ENTRIES = 16


class AsymmetricConv(Deployable):
    """Sum of a 3x3, a 3x1 and a 1x3 convolution, each with its batch normalisation; one 3x3 convolution once deployed.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: ``[b, out_channels, h, w]``
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(in_channels, out_channels, size, padding=(size[0] // 2, size[1] // 2), bias=False),
                nn.BatchNorm2d(out_channels),
            )
            for size in ((3, 3), (3, 1), (1, 3))
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.deployed:
            return self.conv(x)
        square, column, row = self.branches
        return square(x) + column(x) + row(x)

    def _fold(self) -> None:
        kernel, bias = 0, 0
        for conv, norm in self.branches:
            scale, shift = norm_scale_shift(norm)
            margin = [(3 - side) // 2 for side in conv.kernel_size]
            weight = nn.functional.pad(conv.weight, (margin[1], margin[1], margin[0], margin[0]))
            kernel = kernel + scale[:, None, None, None] * weight
            bias = bias + shift
        self.conv = conv_from_kernel(kernel, torch.ones_like(bias), bias, stride=1, padding=1)
        del self.branches


class DiverseFeatureAggregation(nn.Module):
    """DFA: a plain, an asymmetric and a dilated convolution of a level, concatenated and fused (Zhuge et al. 2022).

    Args:
        in_channels: Channels of the level.
        channels: Channels of each convolution and of the output.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: ``[b, channels, h, w]``
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.asymmetric = AsymmetricConv(in_channels, channels)
        self.dilated = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(),
        )
        self.fuse_branches = conv_norm_relu(3 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse_branches(torch.cat([self.plain(x), self.asymmetric(x), self.dilated(x)], dim=1))


class IntegrityChannelEnhancement(nn.Module):
    """ICE: a level fused with its neighbours, channels reweighted by their L2 norm over the map (Zhuge et al. 2022).

    Args:
        channels: Channels of a level.
        reduction: Channel reduction of the bottleneck that computes the weights. Defaults to 8.

    Shape:
        - level, deeper, shallower: ``[b, channels, h, w]``, each of its own size
        - output: ``[b, channels, h, w]``, of the level's size
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.merge = conv_norm_relu(3 * channels, channels)
        self.weigh = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.LayerNorm(channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
        )

    def forward(self, level: Tensor, deeper: Tensor, shallower: Tensor) -> Tensor:
        size = level.shape[2:]
        x = self.merge(torch.cat([level, resize(deeper, size), resize(shallower, size)], dim=1))
        # The sum of squares over a map overflows half precision.
        length = torch.sqrt(full_precision(x).square().sum(dim=(2, 3)) + 1e-5)
        return x * self.weigh(length)[:, :, None, None]


class PartCapsules(nn.Module):
    """Primary part capsules by a 5x5 convolution and batch normalisation, with a sigmoid on the activations.

    Args:
        in_channels: Channels of the input.
        capsule_types: Capsule types ``n``, with poses of 4x4.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: a capsule map ``[b, n * 17, h, w]``
    """

    def __init__(self, in_channels: int, capsule_types: int) -> None:
        super().__init__()
        self.pose_channels = capsule_types * POSE_ENTRIES
        # Poses and activations are channels of one convolution.
        out_channels = self.pose_channels + capsule_types
        self.conv = nn.Conv2d(in_channels, out_channels, 5, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        pose, activation = split_channels(x, self.pose_channels)
        return torch.cat([pose, torch.sigmoid(activation)], dim=1)


def whole_capsules(in_channels: int, capsule_types: int, routing: dict) -> nn.Module:
    """Build the whole capsules, at half the size of the part map.

    Residual pose routing uses two residual pose blocks with their own primary capsules, the second with stride 2
    (Liu et al. 2024, Sec. V-C). Other routings route :class:`PartCapsules` over 3x3 windows with stride 2.

    Args:
        in_channels: Channels of the feature map.
        capsule_types: Capsule types.
        routing: ``type``, one of ``'rpr'``, ``'em'``, ``'dynamic'`` and ``'self'``, and arguments of the routing layer,
            or of :class:`~rescaps_plugin.layers.ResidualPoseBlock` for ``'rpr'``.

    Returns:
        A module from ``[b, in_channels, h, w]`` to a capsule map ``[b, capsule_types * 17, ceil(h / 2), ceil(w / 2)]``.
    """
    routing = dict(routing)
    name = routing.pop('type')
    if name == 'rpr':
        parts = ResidualPoseBlock(in_channels, capsule_types, primary_stride=1, **routing)
        return ResidualPoseBlocks(
            parts, ResidualPoseBlock(parts.out_channels, capsule_types, primary_stride=2, norm=True, **routing)
        )
    return nn.Sequential(
        PartCapsules(in_channels, capsule_types), create_routing(name, capsule_types, stride=2, **routing)
    )


class PartWholeVerification(nn.Module):
    """First part of PWV: verify wholes by the agreement of their parts (Zhuge et al. 2022).

    Features of three levels are merged and routed as capsules, at half the size of level 2.

    Args:
        channels: Channels of a level and of the output.
        capsule_types: Capsule types.
        routing: ``routing`` of :func:`whole_capsules`, or None to use a convolution with stride 2 instead of capsules.

    Shape:
        - level1, level2, level3: ``[b, channels, h, w]``, each of its own size
        - output: ``[b, channels, ceil(h / 2), ceil(w / 2)]`` of level 2's size
    """

    def __init__(self, channels: int, capsule_types: int, routing: dict | None) -> None:
        super().__init__()
        self.merge = conv_norm_relu(3 * channels, channels)
        self.pose_channels = channels if routing is None else capsule_types * POSE_ENTRIES
        self.capsules = None if routing is None else whole_capsules(channels, capsule_types, routing)
        self.pose_norm = None if routing is None else nn.BatchNorm2d(self.pose_channels)
        self.project = conv_norm_relu(self.pose_channels, channels, stride=2 if routing is None else 1)

    def forward(self, level1: Tensor, level2: Tensor, level3: Tensor) -> Tensor:
        size = level2.shape[2:]
        x = self.merge(torch.cat([resize(level1, size), level2, resize(level3, size)], dim=1))
        if self.capsules is not None:
            pose, _ = split_channels(self.capsules(x), self.pose_channels)
            x = self.pose_norm(pose)
        return self.project(x)


class Refinement(nn.Module):
    """Refine a level by a deeper one: ``fuse(x * resize(y)) + x`` (Zhuge et al. 2022).

    Args:
        channels: Channels of both levels.

    Shape:
        - level, deeper: ``[b, channels, h, w]``, each of its own size
        - output: ``[b, channels, h, w]`` of the level's size
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(channels, channels, 1), conv_norm_relu(channels, channels))

    def forward(self, level: Tensor, deeper: Tensor) -> Tensor:
        return self.layers(level * resize(deeper, level.shape[2:])) + level


@MODELS.register_module()
class ICONHead(SaliencyHead):
    """Decoder of ICON: feature aggregation, channel enhancement and part-whole verification (Zhuge et al. 2022).

    Args:
        in_channels: Channels of four feature levels, finest first.
        channels: Channels of the head. Defaults to 64.
        capsule_types: Capsule types of parts and of wholes. Defaults to 8.
        routing: Capsule routing: ``dict(type='rpr' | 'em' | 'dynamic' | 'self', ...)`` with arguments of its layer
            (``iterations`` of EM, ``residual`` of the residual pose blocks, ...), or None to use no capsules. Defaults
            to ``dict(type='rpr')``.
        loss_decode: Losses of each of the five maps. Defaults to ``dict(type='BCEIoULoss')``.
        **kwargs: Other arguments of :class:`~rescaps_plugin.saliency.heads.base.SaliencyHead`.

    Shape:
        - input: outputs of the backbone, of which the four selected are ``[b, in_channels[i], h, w]``
        - output: logits ``[b, 1, h, w]`` of the finest level's size

    Raises:
        ValueError: There are not four levels, or the routing is unknown.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 64,
        capsule_types: int = 8,
        routing: dict | None = _RPR,
        loss_decode: dict | Sequence[dict] = _BCE_IOU,
        **kwargs,
    ) -> None:
        if len(in_channels) != LEVELS:
            raise ValueError(f'ICONHead reads {LEVELS} levels of features, got in_channels of {len(in_channels)}')
        super().__init__(in_channels, channels, loss_decode, **kwargs)
        self.aggregations = nn.ModuleList(DiverseFeatureAggregation(size, channels) for size in in_channels[::-1])
        # Shared by levels 1 and 2, and by levels 3 and 4.
        self.enhancements = nn.ModuleList(IntegrityChannelEnhancement(channels) for _ in range(2))
        self.verification = PartWholeVerification(channels, capsule_types, routing)
        self.verified = nn.ModuleList(conv_norm_relu(2 * channels, channels) for _ in range(LEVELS - 1))
        self.refinements = nn.ModuleList(Refinement(channels) for _ in range(LEVELS - 1))
        self.predictors = nn.ModuleDict(
            {name: nn.Conv2d(channels, 1, 3, padding=1) for name in ('pose', 'level1', 'level2', 'level3', 'saliency')}
        )

    def _decode(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Compute the features ``[b, channels, h, w]`` of each map, by its name."""
        levels = self._transform_inputs(inputs)[::-1]
        x1, x2, x3, x4 = (layer(level) for layer, level in zip(self.aggregations, levels, strict=True))
        deep, shallow = self.enhancements
        x1 = deep(x1, x1, x2)
        x2 = deep(x2, x1, x3)
        x3 = shallow(x3, x2, x4)
        x4 = shallow(x4, x3, x4)
        pose = self.verification(x1, x2, x3)
        o1, o2, o3 = (
            layer(torch.cat([x, resize(pose, x.shape[2:])], dim=1))
            for layer, x in zip(self.verified, (x1, x2, x3), strict=True)
        )
        o2 = self.refinements[0](o2, o1)
        o3 = self.refinements[1](o3, o2)
        x4 = self.refinements[2](x4, o3)
        return dict(pose=pose, level1=o1, level2=o2, level3=o3, saliency=x4)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return self.predictors['saliency'](self._decode(inputs)['saliency'])

    def side_outputs(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        return {name: self.predictors[name](features) for name, features in self._decode(inputs).items()}
