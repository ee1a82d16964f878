"""Point cloud transforms, registered in mmengine's root ``TRANSFORMS``.

All transform a result dict with ``points`` ``[n, 3]`` and ``source``, the name of the cloud. Points of float64 files
stay float64 until :class:`NormalizePoints` has centred them: far from the origin, float32 cannot represent the shape.
Random transforms use NumPy's global state, which mmengine seeds in every worker.
"""

from __future__ import annotations

import numpy as np
import torch
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

from rescaps_plugin.pointcloud.files import CloudError, check_finite

AXES = 'xyz'


def normalize_points(points: np.ndarray, source: str = 'points') -> tuple[np.ndarray, np.ndarray, float]:
    """Centre a cloud on the mean of its points and scale it so that its farthest point is on the unit sphere.

    Args:
        points: Cloud ``[n, 3]``.
        source: File and field of the cloud, for the error message. Defaults to ``'points'``.

    Returns:
        The cloud, its centre ``[3]`` and its radius, in float64: ``points * radius + centre`` is the input cloud.

    Raises:
        CloudError: All points are equal, or some are not finite.

    Example:
        >>> normalize_points(np.array([[2.0, 0, 0], [4, 0, 0]]))[0]
        array([[-1.,  0.,  0.],
               [ 1.,  0.,  0.]])
    """
    check_finite(points, source)
    points = np.asarray(points, np.float64)
    centre = points.mean(axis=0)
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    if not radius > 0:
        raise CloudError(f'{source}: a cloud needs an extent to be scaled by, all {len(points)} points are {points[0]}')
    return (points - centre) / radius, centre, radius


@TRANSFORMS.register_module()
class NormalizePoints:
    """Centre a cloud and scale it to the unit sphere; see :func:`normalize_points`."""

    def __call__(self, results: dict) -> dict:
        """Normalise ``points`` to float32, and set ``centre`` and ``radius`` in float64."""
        normalized, results['centre'], results['radius'] = normalize_points(results['points'], results['source'])
        results['points'] = normalized.astype(np.float32)
        return results


@TRANSFORMS.register_module()
class RandomRotatePoints:
    """Rotate a cloud about an axis, by an angle uniform in ``[-max_angle, max_angle]``.

    Args:
        max_angle: Largest angle, in degrees. Defaults to 180.
        axis: The axis, ``'x'``, ``'y'`` or ``'z'``. Defaults to ``'y'``, up in most data sets.

    Raises:
        ValueError: The axis is unknown.
    """

    def __init__(self, max_angle: float = 180.0, axis: str = 'y') -> None:
        if axis not in tuple(AXES):
            raise ValueError(f'axis must be one of {tuple(AXES)}, got {axis!r}')
        self.max_angle = max_angle
        # Plane of rotation, from the first axis towards the second.
        self.plane = [(AXES.index(axis) + 1) % 3, (AXES.index(axis) + 2) % 3]

    def __call__(self, results: dict) -> dict:
        """Rotate ``points``."""
        angle = np.deg2rad(np.random.uniform(-self.max_angle, self.max_angle))
        cos, sin = np.cos(angle), np.sin(angle)
        points = results['points']
        rotation = np.array([[cos, sin], [-sin, cos]], points.dtype)
        points[:, self.plane] = points[:, self.plane] @ rotation
        return results


@TRANSFORMS.register_module()
class RandomJitterPoints:
    """Add Gaussian noise to every point.

    Args:
        std: Standard deviation along each axis, in the cloud's unit. Defaults to 0.01.
        clip: Largest displacement along an axis. Defaults to 0.05.
    """

    def __init__(self, std: float = 0.01, clip: float = 0.05) -> None:
        self.std = std
        self.clip = clip

    def __call__(self, results: dict) -> dict:
        """Jitter ``points``."""
        points = results['points']
        points += np.clip(np.random.normal(0, self.std, points.shape), -self.clip, self.clip).astype(points.dtype)
        return results


@TRANSFORMS.register_module()
class RandomScalePoints:
    """Scale a cloud by a factor uniform in a range.

    Clouds in the unit sphere should not be enlarged, as decoders end in tanh.

    Args:
        scale: Smallest and largest factor. Defaults to (0.8, 1.0).
    """

    def __init__(self, scale: tuple[float, float] = (0.8, 1.0)) -> None:
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f'scale must be (low, high) with 0 < low <= high, got {scale}')
        self.scale = scale

    def __call__(self, results: dict) -> dict:
        """Scale ``points``."""
        results['points'] *= np.random.uniform(*self.scale)
        return results


@TRANSFORMS.register_module()
class RandomDropPoints:
    """Replace a random fraction of the points by copies of a kept point, so that clouds keep their size.

    Args:
        max_ratio: Largest fraction; the fraction is uniform in ``[0, max_ratio]``. Defaults to 0.5.

    Raises:
        ValueError: ``max_ratio`` is not in [0, 1).
    """

    def __init__(self, max_ratio: float = 0.5) -> None:
        if not 0 <= max_ratio < 1:
            raise ValueError(f'max_ratio must be in [0, 1), got {max_ratio}')
        self.max_ratio = max_ratio

    def __call__(self, results: dict) -> dict:
        """Drop some of ``points``."""
        points = results['points']
        order = np.random.permutation(len(points))
        dropped = int(len(points) * np.random.uniform(0, self.max_ratio))
        points[order[:dropped]] = points[order[-1]]
        return results


@TRANSFORMS.register_module()
class PackPoints:
    """Pack a sample for the model: ``inputs``, the cloud in float32, and ``data_samples`` with its label and meta data.

    Raises:
        CloudError: Rounding to float32 moves points by more than a thousandth of the cloud's extent.
    """

    meta_keys = ('sample_idx', 'path', 'centre', 'radius')

    def __call__(self, results: dict) -> dict:
        """Pack ``points``, ``gt_label``, and the meta keys."""
        sample = BaseDataElement(metainfo={key: results[key] for key in self.meta_keys if key in results})
        if 'gt_label' in results:
            sample.set_data(dict(gt_label=torch.tensor([results['gt_label']])))
        points = results['points'].astype(np.float32)
        moved, extent = np.abs(points - results['points']).max(), np.ptp(results['points'], axis=0).max()
        if moved > extent / 1000 > 0:
            raise CloudError(
                f'{results["source"]}: rounding to float32 would move points by {moved:.2g} of an extent of '
                f'{extent:.2g}, as the cloud is far from the origin; put NormalizePoints first into the pipeline'
            )
        return dict(inputs=torch.from_numpy(points), data_samples=sample)
