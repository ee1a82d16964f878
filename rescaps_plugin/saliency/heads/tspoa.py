"""TSPOANet: part-object relationships by two-stream capsules, with a choice of capsule routings.

Liu, Zhang, Zhang, Han, *Employing Deep Part-Object Relationships for Salient Object Detection*, ICCV 2019; with
residual pose routing Liu et al. 2024, Sec. V-C.

Levels are numbered from the finest, 1, to the deepest, as the stages of VGG.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from rescaps_plugin.layers import PrimaryCaps, ResidualPoseBlock, ResidualPoseClassifier, create_routing
from rescaps_plugin.layers.capsule_map import split_channels
from rescaps_plugin.saliency.heads.base import SaliencyHead, resize

_TWO_STREAM_EM = dict(type='em', streams=2, iterations=2)
_CE_CONTOUR = (dict(type='BCELoss'), dict(type='ContourIoULoss'))
CLASSES = 2


def _upsample(in_channels: int, out_channels: int) -> nn.Sequential:
    """Build a transposed convolution that doubles the resolution, with ReLU."""
    deconv = nn.ConvTranspose2d(in_channels, out_channels, 5, stride=2, padding=2, output_padding=1)
    return nn.Sequential(deconv, nn.ReLU())


def _keep_variance(module: nn.Module) -> None:
    """Initialise a convolution before a ReLU so that feature maps keep their variance (He et al. 2015)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        inputs = module.in_channels * module.weight[0, 0].numel()
        if isinstance(module, nn.ConvTranspose2d):
            # Each output pixel gets only 1 / stride^2 of the kernel entries.
            inputs /= module.stride[0] * module.stride[1]
        nn.init.normal_(module.weight, std=math.sqrt(2 / inputs))
        nn.init.zeros_(module.bias)


class DilatedConvs(nn.Module):
    """Parallel 3x3 convolutions with several dilations, concatenated, with ReLU.

    Args:
        in_channels: Channels of the level.
        channels: Channels of the output, divided among the dilations.
        dilations: Dilations. Defaults to (1, 3, 5, 7).

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: ``[b, channels, h, w]``
    """

    def __init__(self, in_channels: int, channels: int, dilations: Sequence[int] = (1, 3, 5, 7)) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, channels // len(dilations), 3, padding=dilation, dilation=dilation)
            for dilation in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(torch.cat([conv(x) for conv in self.convs], dim=1))


class CapsuleStreams(nn.Module):
    """Part capsules routed to whole capsules in one stream, or in two that divide the types (Liu et al. 2019).

    Each stream has a capsule layer of 3x3 windows with stride 2, which keeps the number of types, and one with stride
    1, which halves it.

    Args:
        in_channels: Channels of the feature map.
        capsule_types: Primary capsule types, of all streams together.
        routing: Name of the routing: ``'em'``, ``'dynamic'`` or ``'self'``.
        streams: Number of streams; must divide ``capsule_types``. Defaults to 1.
        **kwargs: Arguments of the routing's layers.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: a capsule map ``[b, capsule_types / 2 * 17, ceil(h / 2), ceil(w / 2)]``

    Raises:
        ValueError: The types of a stream are not an even integer.
    """

    def __init__(self, in_channels: int, capsule_types: int, routing: str, streams: int = 1, **kwargs) -> None:
        super().__init__()
        types, rest = divmod(capsule_types, streams)
        if rest or types % 2:
            raise ValueError(f'streams must share {capsule_types} capsule types in even numbers, got {streams}')
        self.primary = nn.ModuleList(PrimaryCaps(in_channels, types, activation=True) for _ in range(streams))
        self.streams = nn.ModuleList(
            nn.Sequential(
                create_routing(routing, types, stride=2, **kwargs), create_routing(routing, types, types // 2, **kwargs)
            )
            for _ in range(streams)
        )
        wholes = self.streams[0][-1]
        self.pose_channels = wholes.out_types * wholes.out_dim

    def forward(self, x: Tensor) -> Tensor:
        maps = [stream(primary(x)) for primary, stream in zip(self.primary, self.streams, strict=True)]
        # Poses of all streams first, then their activations.
        poses, activations = zip(*(split_channels(m, self.pose_channels) for m in maps), strict=True)
        return torch.cat([*poses, *activations], dim=1)


class VotedObjects(nn.Module):
    """Activations of background and salient capsules by voting-based routing: capsule streams and a class layer.

    Args:
        in_channels: Channels of the feature map.
        capsule_types: Primary capsule types, of all streams together.
        routing: Name of the routing: ``'em'``, ``'dynamic'`` or ``'self'``.
        streams: Number of streams. Defaults to 1.
        **kwargs: Arguments of the routing's layers.

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: ``[b, 2, ceil(h / 2), ceil(w / 2)]``, in (0, 1)
    """

    def __init__(self, in_channels: int, capsule_types: int, routing: str, streams: int = 1, **kwargs) -> None:
        super().__init__()
        self.streams = CapsuleStreams(in_channels, capsule_types, routing, streams, **kwargs)
        self.classes = create_routing(routing, capsule_types // 2, CLASSES, kernel_size=1, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        return split_channels(self.classes(self.streams(x)), CLASSES * self.classes.out_dim)[1]


class ResidualPoseObjects(nn.Module):
    """Activations of background and salient capsules by residual pose routing: two blocks and a ResPC layer.

    The first block has stride 2. The ResPC layer is applied at every position of the map (Liu et al. 2024, Sec. IV-A,
    V-C).

    Args:
        in_channels: Channels of the feature map.
        capsule_types: Capsule types of the first block; the second has half of them.
        **kwargs: Arguments of :class:`~rescaps_plugin.layers.ResidualPoseBlock`: ``num_layers``, ``routing``, ...

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: ``[b, 2, ceil(h / 2), ceil(w / 2)]``, in (0, 1)
    """

    def __init__(self, in_channels: int, capsule_types: int, **kwargs) -> None:
        super().__init__()
        parts = ResidualPoseBlock(in_channels, capsule_types, primary_stride=2, **kwargs)
        wholes = ResidualPoseBlock(parts.out_channels, capsule_types // 2, primary_stride=1, norm=True, **kwargs)
        self.blocks = nn.Sequential(parts, wholes, PrimaryCaps(wholes.out_channels, CLASSES, norm=True))
        self.classes = ResidualPoseClassifier(CLASSES, per_position=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.blocks(x))


def object_capsules(in_channels: int, capsule_types: int, routing: dict) -> nn.Module:
    """Build :class:`ResidualPoseObjects` for ``dict(type='rpr', ...)`` and :class:`VotedObjects` for other routings."""
    routing = dict(routing)
    name = routing.pop('type')
    if name == 'rpr':
        return ResidualPoseObjects(in_channels, capsule_types, **routing)
    return VotedObjects(in_channels, capsule_types, name, **routing)


@MODELS.register_module()
class TSPOAHead(SaliencyHead):
    """Decoder of TSPOANet: top-down feature fusion and capsules of part-object relationships (Liu et al. 2019).

    Args:
        in_channels: Channels of two or more feature levels, finest first, each half the size of the previous one.
        channels: Channels of the features, a quarter for each of four dilations. Defaults to 128.
        primary_channels: Input channels of the primary capsules. Defaults to 16.
        capsule_types: Primary capsule types. Defaults to 16.
        decoder_channels: Channels of the transposed convolutions after the capsules. Defaults to 32.
        routing: Capsule routing. ``dict(type='em' | 'dynamic' | 'self', streams=1 | 2, ...)`` with arguments of its
            layers, or ``dict(type='rpr', ...)`` with those of two residual pose blocks. Defaults to two streams of EM
            routing, 2 iterations.
        loss_decode: Losses. Defaults to cross-entropy and contour IoU.
        **kwargs: Other arguments of :class:`~rescaps_plugin.saliency.heads.base.SaliencyHead`.

    Shape:
        - input: outputs of the backbone, of which the selected levels are ``[b, in_channels[i], h, w]``
        - output: logits ``[b, 1, h, w]`` of the finest level's size: the salient class's minus the background's, whose
          sigmoid is the softmax over both

    Raises:
        ValueError: The sizes are inconsistent, or the routing is unknown.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 128,
        primary_channels: int = 16,
        capsule_types: int = 16,
        decoder_channels: int = 32,
        routing: dict = _TWO_STREAM_EM,
        loss_decode: dict | Sequence[dict] = _CE_CONTOUR,
        **kwargs,
    ) -> None:
        super().__init__(in_channels, channels, loss_decode, **kwargs)
        self.laterals = nn.ModuleList(DilatedConvs(size, channels) for size in in_channels)
        self.ups = nn.ModuleList(_upsample(channels, channels) for _ in in_channels[1:])
        self.merges = nn.ModuleList(nn.Conv2d(2 * channels, channels, 1) for _ in in_channels[1:])
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, primary_channels, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.capsules = object_capsules(primary_channels, capsule_types, routing)
        self.decoder = nn.Sequential(
            _upsample(CLASSES, decoder_channels), *(_upsample(decoder_channels, decoder_channels) for _ in range(2))
        )
        self.predictor = nn.Conv2d(decoder_channels, CLASSES, 1)
        for part in (self.laterals, self.ups, self.reduce, self.decoder):
            part.apply(_keep_variance)

    def object_activations(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Sequence[int]]:
        """Return the activations of background and salient capsules, ``[b, 2, h, w]``, and the finest level's size."""
        *finer, level = (
            layer(level) for layer, level in zip(self.laterals, self._transform_inputs(inputs), strict=True)
        )
        for lateral, up, merge in zip(finer[::-1], self.ups, self.merges, strict=True):
            level = merge(torch.cat([resize(up(level), lateral.shape[2:]), lateral], dim=1))
        return self.capsules(self.reduce(level)), level.shape[2:]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        activation, size = self.object_activations(inputs)
        background, salient = self.predictor(self.decoder(activation)).split(1, dim=1)
        return resize(salient - background, size)

    def side_outputs(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        return dict(saliency=self.forward(inputs))
