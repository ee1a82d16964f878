"""Capsule maps: the layout of poses and activations in the channels of a tensor.

A *capsule map* is a tensor ``[b, n * (d + 1), h, w]``: at each position ``n`` capsules, one of each type, each with a
pose of ``d`` entries and an activation.

- The first ``n * d`` channels are poses: channel ``t * d + e`` is entry ``e`` of type ``t``. A pose matrix ``p x p`` is
  stored row by row, so that channel ``t * p * p + i * p + m`` is entry ``(i, m)`` of type ``t``.
- The last ``n`` channels are activations: channel ``n * d + t`` is that of type ``t``.

Layers that ignore activations also take a map of poses alone, ``[b, n * d, h, w]``.

The range of an activation depends on the layer that computed it: (0, 1) after :class:`PrimaryCaps`, :class:`EMRouting`
and :class:`ResidualPoseClassifier`, [0, 1] after :class:`SelfRouting`, [0, 1) where it is the length of a pose, after
:class:`PrimaryVectorCaps` and :class:`DynamicRouting`. The output of :class:`ResidualPoseRouting` passes a ReLU as a
whole, so its activations are 0 or greater, without an upper bound: they are not probabilities.
"""

import math

from torch import Tensor

from rescaps_plugin.layers.checks import accepted_channels, check_channels


def split_channels(x: Tensor, pose_channels: int) -> tuple[Tensor, Tensor]:
    """Split a capsule map into the channels of its poses and those of its activations.

    Args:
        x: Capsule map ``[b, n * (d + 1), h, w]``.
        pose_channels: Number of channels of the poses, ``n * d``.

    Returns:
        Views ``[b, n * d, h, w]`` and ``[b, n, h, w]``; the second has no channels if the map holds poses alone.
    """
    return x[:, :pose_channels], x[:, pose_channels:]


def split_capsules(x: Tensor, types: int, pose_size: int | tuple[int, ...] = 4) -> tuple[Tensor, Tensor]:
    """Split a capsule map into poses and activations by capsule type.

    Args:
        x: Capsule map ``[b, n * (d + 1), h, w]``, or poses alone ``[b, n * d, h, w]``.
        types: Number of capsule types ``n``.
        pose_size: Side ``p`` of the pose matrices, or the shape of a pose: ``(d,)`` for vectors. Defaults to 4.

    Returns:
        Views of the poses ``[b, n, p, p, h, w]``, or ``[b, n, *pose_size, h, w]``, and of the activations
        ``[b, n, h, w]``. For a map of poses alone the activations are ``[b, 0, h, w]``.

    Raises:
        AssertionError: If the map has another number of channels.

    Example:
        >>> import torch
        >>> poses, activations = split_capsules(torch.zeros(2, 8 * 17, 6, 5), types=8)
        >>> poses.shape, activations.shape
        (torch.Size([2, 8, 4, 4, 6, 5]), torch.Size([2, 8, 6, 5]))
    """
    shape = (pose_size, pose_size) if isinstance(pose_size, int) else pose_size
    entries = math.prod(shape)
    check_channels(x, *accepted_channels('split_capsules', types, entries))
    poses, activations = split_channels(x, types * entries)
    return poses.unflatten(1, (types, *shape)), activations
