"""Capsules of a trained network: activation maps, equivariance of poses, contributions of parts to wholes.

Inputs and outputs of capsule layers are recorded by hooks, in any network of this project's capsule layers.

Letters: ``b`` batch, ``n`` capsule type, ``d`` pose entry, ``h w`` space, ``t`` transform of the input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from rescaps_plugin.classification.transforms.warp import warp_affine
from rescaps_plugin.layers import (
    PrimaryCaps,
    PrimaryVectorCaps,
    ResidualPoseClassifier,
    ResidualPoseRouting,
    split_capsules,
)
from rescaps_plugin.layers.window import WindowRouting, full_precision

# Prefixes of mmpretrain's models, and of timm models wrapped in them, that every name has.
PREFIXES = ('backbone.', 'model.')


@dataclass
class CapsuleLayout:
    """Layout of the capsule map that a layer reads or returns, see :mod:`rescaps_plugin.layers.capsule_map`.

    Args:
        types: Capsule types ``n``.
        dim: Entries ``d`` of a pose, 0 where there are activations alone.
        activations: Whether activations follow the poses.
    """

    types: int
    dim: int
    activations: bool

    def poses(self, x: Tensor) -> Tensor:
        """Return the poses ``[b, n, d, h, w]`` of a map ``[b, n * (d + 1), h, w]``."""
        return split_capsules(x, self.types, (self.dim,))[0]

    def activation(self, x: Tensor) -> Tensor:
        """Return the activations ``[b, n, h, w]`` of a map."""
        return split_capsules(x, self.types, (self.dim,))[1]

    def capsules(self, x: Tensor) -> Tensor:
        """Return pose and activation of every type, ``[b, n, d + 1, h, w]``; fewer entries where one is missing."""
        return torch.cat([self.poses(x), self.activation(x)[:, :, None]], dim=2) if self.activations else self.poses(x)

    def channels(self, kind: int) -> list[int]:
        """List the channels of one type."""
        own = range(kind * self.dim, (kind + 1) * self.dim)
        return [*own, self.types * self.dim + kind] if self.activations else [*own]


def output_layout(layer: nn.Module) -> CapsuleLayout | None:
    """Return the layout of a layer's output; None for modules that return no capsules."""
    if isinstance(layer, ResidualPoseRouting):
        dim = layer.pose_size**2
        if layer.out_channels == layer.capsule_types * dim:  # pose_only
            return CapsuleLayout(layer.capsule_types, dim, False)
        return CapsuleLayout(layer.out_channels // (dim + 1), dim, True)
    if isinstance(layer, ResidualPoseClassifier):
        return CapsuleLayout(layer.capsule_types, 0, True)
    if isinstance(layer, WindowRouting):
        alone = layer.out_channels == layer.out_types
        return CapsuleLayout(layer.out_types, 0 if alone else layer.out_dim, True)
    if isinstance(layer, PrimaryVectorCaps):
        return CapsuleLayout(layer.capsule_types, layer.dim, True)
    if isinstance(layer, PrimaryCaps) and layer.activation is not None:
        return CapsuleLayout(layer.capsule_types, layer.pose.out_channels // layer.capsule_types, True)
    return None


def input_layout(layer: nn.Module, channels: int) -> CapsuleLayout | None:
    """Return the layout of a routing layer's input with ``channels`` channels; None for other modules."""
    if isinstance(layer, (ResidualPoseRouting, ResidualPoseClassifier)):
        return CapsuleLayout(layer.capsule_types, layer.pose_size**2, False)
    if isinstance(layer, WindowRouting):
        return CapsuleLayout(layer.in_types, layer.in_dim, channels == layer.in_types * (layer.in_dim + 1))
    return None


def short_name(name: str) -> str:
    """Strip the prefixes that every module name has."""
    prefix = next((prefix for prefix in PREFIXES if name.startswith(prefix)), '')
    return name.removeprefix(prefix)


@dataclass
class Recording:
    """Input and output of a capsule layer.

    Args:
        layer: The layer.
        layout: Layout of its output.
        read: Its input ``[b, c, h, w]``.
        given: Its output ``[b, c, h, w]``, see :func:`read_output`.
    """

    layer: nn.Module
    layout: CapsuleLayout
    read: Tensor
    given: Tensor


def read_output(layer: nn.Module, layout: CapsuleLayout, output: Tensor) -> Tensor:
    """Return the output of a capsule layer as a map.

    Args:
        layer: The layer.
        layout: Layout of its output.
        output: The output, ``[b, c, h, w]``, or ``[b, c]`` of class activations.

    Returns:
        The map ``[b, c, h, w]``, with activations where the layer returns their log-odds.
    """
    maps = output if output.dim() == 4 else output[..., None, None]
    if not getattr(layer, 'log_odds', False):
        return maps
    poses, log_odds = maps[:, : layout.types * layout.dim], maps[:, layout.types * layout.dim :]
    return torch.cat([poses, torch.sigmoid(log_odds)], dim=1)


@contextmanager
def recording(network: nn.Module) -> Iterator[dict[str, Recording]]:
    """Record the inputs and outputs of a network's capsule layers in its next forward pass.

    Args:
        network: The network.

    Yields:
        The recordings by the short names of the layers, in the order of execution.
    """
    records: dict[str, Recording] = {}

    def record(name: str, layout: CapsuleLayout) -> Callable:
        def hook(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            maps = read_output(layer, layout, output)
            records[name] = Recording(layer, layout, inputs[0].detach(), maps.detach())

        return hook

    handles = []
    for name, module in network.named_modules():
        layout = output_layout(module)
        if layout is not None:
            handles.append(module.register_forward_hook(record(short_name(name), layout)))
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def record_capsules(classifier: nn.Module, images: Tensor) -> dict[str, Recording]:
    """Run a classifier of mmpretrain on images, and record every capsule layer.

    Args:
        classifier: The classifier, with a data preprocessor.
        images: Images ``[b, c, h, w]`` as the test pipeline packs them.

    Returns:
        The recordings of :func:`recording`.
    """
    with recording(classifier) as records:
        classifier(classifier.data_preprocessor({'inputs': images})['inputs'])
    return records


def activation_maps(records: Mapping[str, Recording]) -> dict[str, Tensor]:
    """Return the activation maps ``[b, n, h, w]`` of every layer that has activations, by name."""
    return {
        name: record.layout.activation(record.given) for name, record in records.items() if record.layout.activations
    }


def whole_poses(records: Mapping[str, Recording]) -> dict[str, Tensor]:
    """Return the poses of every layer's types, each the mean over the map, ``[b, n, d]``, by name.

    The class poses of a ResPC layer are those of its input. Of each block only the last layer is included, not those
    whose poses another layer of the block reads.
    """
    poses = {}
    for name, record in records.items():
        if isinstance(record.layer, ResidualPoseClassifier):
            layout = input_layout(record.layer, record.read.shape[1])
            poses[name] = layout.poses(record.read).mean(dim=(3, 4))
        elif record.layout.activations and record.layout.dim:
            poses[name] = record.layout.poses(record.given).mean(dim=(3, 4))
    return poses


def warp_images(images: Tensor, fill: float = 0.0, **parameters) -> Tensor:
    """Transform images ``[b, c, h, w]`` by :func:`~rescaps_plugin.classification.transforms.warp.warp_affine`."""
    warped = [warp_affine(image.permute(1, 2, 0).numpy(), fill=fill, **parameters) for image in images]
    return torch.from_numpy(np.stack(warped)).permute(0, 3, 1, 2)


@dataclass
class Equivariance:
    """Change of a layer under transforms of the input; means over images, relative to the untransformed input.

    Args:
        activation: Change of the activations ``|a_t - a_0| / |a_0|``, by transform: 0 is invariant.
        pose: Change of the poses ``|p_t - p_0| / |p_0|``, by transform.
        residual: Remaining change of the poses, ``|p_t - p_0 M_t| / |p_0|``, after the best linear map ``M_t`` of the
            transform for each type, fitted on other images: 0 is equivariant. None without poses or other images.
    """

    activation: list[float]
    pose: list[float] | None
    residual: list[float] | None


def measure_equivariance(activations: Sequence[Tensor], poses: Sequence[Tensor] | None, reference: int) -> Equivariance:
    """Compare the outputs of a layer for transformed and for untransformed images.

    The maps ``M_t`` are fitted by least squares on the even images and evaluated on the odd ones. A square pose is a
    matrix that ``M_t`` multiplies from the right, as a change of viewpoint does in Hinton et al., *Matrix capsules with
    EM routing*, ICLR 2018; any other is a vector.

    Args:
        activations: By transform, ``[b, n]``.
        poses: By transform, ``[b, n, d]``; None where there are none.
        reference: Position of the identity among the transforms.

    Returns:
        The measurements.
    """
    base = activations[reference]
    changes = [relative_norm(activation - base, base) for activation in activations]
    if poses is None:
        return Equivariance(changes, None, None)
    start = poses[reference]
    moves = [relative_norm(pose - start, start) for pose in poses]
    if len(start) < 2:
        return Equivariance(changes, moves, None)
    side = math.isqrt(start.shape[2])
    rows = side if side * side == start.shape[2] else 1
    residuals = []
    for pose in poses:
        source, result = (x.unflatten(2, (rows, -1)).transpose(0, 1).double() for x in (start, pose))
        fit_source, fit_result = source[:, ::2].flatten(1, 2), result[:, ::2].flatten(1, 2)
        # The pseudoinverse also handles inactive types.
        map_ = torch.linalg.pinv(fit_source) @ fit_result
        left = result[:, 1::2] - source[:, 1::2] @ map_[:, None]
        residuals.append(relative_norm(left.transpose(0, 1), source[:, 1::2].transpose(0, 1)))
    return Equivariance(changes, moves, residuals)


def relative_norm(change: Tensor, base: Tensor) -> float:
    """Return the mean over images of ``|change| / |base|``; images on which the base is zero are left out."""
    size = base.flatten(1).norm(dim=1)
    ratio = change.flatten(1).norm(dim=1)[size > 0] / size[size > 0]
    return ratio.mean().item() if len(ratio) else float('nan')


@torch.no_grad()
def part_whole_by_input(record: Recording) -> Tensor:
    """Return the contribution of every part type to every whole type on the recorded images.

    The contribution of a part is the relative change of the whole, pose and activation, when the part is set to zero;
    it covers every path through the layer.

    Args:
        record: Recording of a routing layer.

    Returns:
        Contributions ``[wholes, parts]``, the means over images.
    """
    layout = input_layout(record.layer, record.read.shape[1])
    whole = record.layout.capsules(record.given).flatten(2)
    size = whole.norm(dim=2)
    columns = []
    for part in range(layout.types):
        without = record.read.clone()
        without[:, layout.channels(part)] = 0
        given = read_output(record.layer, record.layout, record.layer(without))
        change = (record.layout.capsules(given).flatten(2) - whole).norm(dim=2)
        columns.append(torch.where(size > 0, change / size.clamp_min(1e-12), 0).mean(dim=0))
    return torch.stack(columns, dim=1)


def part_whole_by_weight(layer: ResidualPoseRouting | ResidualPoseClassifier) -> Tensor:
    """Return the norms of the kernels by which a residual pose layer's wholes read its parts.

    The kernels are those of the deploy form: composed of pose transforms and convolutions, normalisation folded in. For
    a ResP layer it is the kernel of the poses, which leaves out the path through the window's activations.

    Args:
        layer: ResP or ResPC layer.

    Returns:
        Norms ``[wholes, parts]``.
    """
    fused = layer if layer.deployed else deepcopy(layer).fuse()
    whole, part = output_layout(layer), input_layout(layer, 0)
    conv = fused.pose_conv if isinstance(layer, ResidualPoseRouting) else fused.activation_conv
    kernel = full_precision(conv.weight.detach().cpu())
    norms = kernel.new_zeros(whole.types, part.types)
    for row in range(whole.types):
        own = kernel[whole.channels(row)]
        if conv.groups > 1:  # each class reads its own pose alone
            norms[row, row] = own.norm()
        else:
            for column in range(part.types):
                norms[row, column] = own[:, part.channels(column)].norm()
    return norms


def shares(contributions: Tensor) -> Tensor:
    """Divide contributions ``[wholes, parts]`` by their sum over the parts; rows of zeros stay zero."""
    total = contributions.sum(dim=1, keepdim=True)
    return torch.where(total > 0, contributions / total.clamp_min(1e-12), 0)
