"""Point clouds from files: meshes sampled on their surface, clouds as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.extras import import_extra

SUFFIXES = ('.npy', '.obj', '.off', '.ply', '.stl', '.xyz')


class CloudError(UserError, ValueError):
    """A cloud or mesh that cannot be used; names the file and what of it is wrong."""


def check_finite(points: np.ndarray, source: str) -> None:
    """Refuse NaN and infinite coordinates.

    Args:
        points: Coordinates ``[..., n, 3]``.
        source: File and field that they come from, for the error message.

    Raises:
        CloudError: Some are not finite; says how many, and the indices of the first.
    """
    if not np.isfinite(points).all():
        wrong = np.argwhere(~np.isfinite(points))
        raise CloudError(f'{source}: {len(wrong)} coordinates are NaN or infinite, the first at {wrong[0].tolist()}')


def choose_points(points: np.ndarray, count: int | None, random: np.random.RandomState, source: str) -> np.ndarray:
    """Draw points of a cloud, without replacement.

    Args:
        points: Cloud ``[n, 3]``.
        count: How many; ``None`` or ``n`` leaves the cloud as it is.
        random: Where the draw comes from.
        source: File and field of the cloud, for the error message.

    Returns:
        Cloud ``[count, 3]``.

    Raises:
        CloudError: The cloud has fewer points.
    """
    if count is None or count == len(points):
        return points
    if count > len(points):
        raise CloudError(f'{source}: {count} points were asked for (num_points), it has {len(points)}')
    return points[random.permutation(len(points))[:count]]


def read_points(path: str | Path, num_points: int | None, random: np.random.RandomState) -> np.ndarray:
    """Read a cloud, or sample a mesh uniformly on its surface.

    ModelNet's ``.off`` files with the counts on the line of ``OFF`` are read as they are meant. Faces without area get
    no points.

    Args:
        path: ``.off``, ``.ply``, ``.obj``, ``.stl`` (meshes; ``.ply`` and ``.obj`` may also be clouds, without faces),
            ``.xyz`` (three columns or more, of which the first three are read) or ``.npy`` (``[n, 3]``).
        num_points: Points wanted. ``None`` is all points of a cloud; a mesh needs a number.
        random: Where the draws come from.

    Returns:
        float32 cloud ``[num_points, 3]``.

    Raises:
        CloudError: The file cannot be read, is empty, holds NaNs, has fewer points than wanted, or is a mesh whose
            faces have no area; names the file and the field.
        FileNotFoundError: There is no such file.
        UserError: trimesh is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CloudError(f'{path}: a cloud or mesh file must be one of {", ".join(SUFFIXES)}')
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    try:
        points, faces = _read(path)
    except UserError:
        raise
    except Exception as error:  # damage can fail a parser in any way
        raise CloudError(f'{path}: not a whole {path.suffix} file: {error}') from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise CloudError(f'{path}: points must be [n, 3], found {list(points.shape)}')
    if not len(points):
        raise CloudError(f'{path}: it has no vertices')
    with np.errstate(over='ignore'):  # what float32 has no number for is found to be infinite
        points = points.astype(np.float32)
    check_finite(points, f'{path}: vertices')
    if faces is None:
        return choose_points(points, num_points, random, f'{path}: vertices')
    if not len(faces):
        raise CloudError(f'{path}: faces: the mesh has none, only {len(points)} vertices')
    strange = faces[(faces < 0) | (faces >= len(points))]
    if strange.size:
        raise CloudError(f'{path}: faces: vertex {strange[0]} of {len(points)} vertices, counted from 0')
    trimesh = import_extra('trimesh', 'pointcloud')
    mesh = trimesh.Trimesh(points, faces, process=False)
    if not mesh.area > 0:
        raise CloudError(f'{path}: faces: none of the {len(faces)} has an area')
    if num_points is None:
        raise CloudError(f'{path}: a mesh has no points of its own; num_points must say how many to sample, got None')
    return trimesh.sample.sample_surface(mesh, num_points, seed=random.randint(2**31))[0].astype(np.float32)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the vertices ``[n, 3]`` and, of a mesh, the triangles ``[m, 3]``."""
    if path.suffix.lower() == '.npy':
        return np.load(path, allow_pickle=False).astype(np.float64), None
    if path.suffix.lower() == '.xyz':
        return np.loadtxt(path, usecols=(0, 1, 2), ndmin=2), None
    scene = import_extra('trimesh', 'pointcloud').load_scene(path, process=False)
    clouds = [geometry for geometry in scene.geometry.values() if not hasattr(geometry, 'faces')]
    if clouds:
        return np.concatenate([cloud.vertices for cloud in clouds]), None
    if not scene.geometry:
        return np.empty((0, 3)), None
    mesh = scene.to_mesh()
    return mesh.vertices, mesh.faces
