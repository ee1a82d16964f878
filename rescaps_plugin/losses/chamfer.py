"""Chamfer distance between point clouds."""

from collections.abc import Callable
from functools import cache, reduce

import torch
from torch import Tensor, nn

# Pairs of points in one chunk: few enough for the cache of a CPU, many enough to keep a GPU busy.
CPU_PAIRS = 2**18
GPU_PAIRS = 2**25


def chamfer_distance(points: Tensor, target: Tensor) -> Tensor:
    """Chamfer distance of every pair of clouds.

    ``mean_x min_y |x - y|^2 + mean_y min_x |x - y|^2``, in at least float32, whatever the dtype of the clouds or of
    autocast. The nearest neighbours are found by exact differences, some pairs at a time (by PyTorch3D where it is
    installed); only the distances between neighbours are kept for the backward pass.

    Args:
        points: Clouds ``[b, n, d]``.
        target: Clouds ``[b, m, d]``.

    Returns:
        Distances ``[b]``, in the square of the clouds' unit.

    Raises:
        ValueError: If the shapes do not match, or a cloud is empty.

    Example:
        >>> chamfer_distance(torch.zeros(1, 1, 3), torch.tensor([[[0.0, 0.0, 2.0], [0.0, 1.0, 0.0]]]))
        tensor([3.5000])
    """
    batch, size, dims = points.shape if points.dim() == 3 else (0, 0, 0)
    if target.dim() != 3 or target.shape[::2] != (batch, dims) or 0 in (size, target.shape[1]):
        raise ValueError(
            'Chamfer distance takes clouds [b, n, d] and [b, m, d] of one point or more, got '
            f'{tuple(points.shape)} and {tuple(target.shape)}'
        )
    with torch.autocast(points.device.type, enabled=False):
        dtype = torch.promote_types(torch.promote_types(points.dtype, target.dtype), torch.float32)
        points, target = points.to(dtype), target.to(dtype)
        return _squared_distance(points, target).mean(dim=1) + _squared_distance(target, points).mean(dim=1)


def _squared_distance(points: Tensor, others: Tensor) -> Tensor:
    """Return the squared distance of every point to the nearest of the others, ``[b, n]``."""
    index = _nearest(points.detach(), others.detach())
    nearest = others.gather(1, index[:, :, None].expand(-1, -1, others.shape[2]))
    return (points - nearest).square().sum(dim=2)


@cache
def _pytorch3d_knn() -> Callable | None:
    """Return PyTorch3D's search of nearest neighbours, or None where it is not installed.

    Python caches imported modules but not failed imports, so without a cache every step would search for the package.
    """
    try:
        from pytorch3d.ops import knn_points
    except ModuleNotFoundError:
        return None
    return knn_points


def _nearest(points: Tensor, others: Tensor) -> Tensor:
    """Return the index of the nearest of the others to every point, ``[b, n]``."""
    knn_points = _pytorch3d_knn()
    if knn_points is not None:
        return knn_points(points, others).idx[:, :, 0]
    pairs = CPU_PAIRS if points.device.type == 'cpu' else GPU_PAIRS
    rows = max(1, pairs // max(1, others.shape[0] * others.shape[1]))
    coordinates = others.unbind(dim=2)
    index = []
    for chunk in points.split(rows, dim=1):
        # Axis by axis: vector units are slow at sums over three adjacent values.
        axes = zip(chunk.unbind(dim=2), coordinates, strict=True)
        distance = reduce(Tensor.add_, ((x[:, :, None] - y[:, None]).square_() for x, y in axes))
        index.append(distance.argmin(dim=2))
    return torch.cat(index, dim=1)


class ChamferLoss(nn.Module):
    """Chamfer distance, averaged over the batch; arguments and shapes as in :func:`chamfer_distance`."""

    def forward(self, points: Tensor, target: Tensor) -> Tensor:
        return chamfer_distance(points, target).mean()
