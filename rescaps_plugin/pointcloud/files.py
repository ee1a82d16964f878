"""Read point clouds, and sample them from the surface of meshes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.data.folders import is_foreign
from rescaps_plugin.pointcloud.formats import READERS, is_table

SUFFIXES = tuple(sorted(READERS))
MAX_FILE_BYTES = 2**31
# Suffixes that other text files have too.
AMBIGUOUS = ('.csv', '.txt')


class CloudError(UserError, ValueError):
    """A cloud or mesh that cannot be used; names the file and the fault."""


def check_finite(points: np.ndarray, source: str) -> None:
    """Check that coordinates are finite.

    Args:
        points: Coordinates ``[..., n, 3]``.
        source: File and field of the coordinates, for the error message.

    Raises:
        CloudError: Some are NaN or infinite; states their number and the indices of the first.
    """
    if not np.isfinite(points).all():
        wrong = np.argwhere(~np.isfinite(points))
        raise CloudError(f'{source}: {len(wrong)} coordinates are NaN or infinite, the first at {wrong[0].tolist()}')


def choose_points(points: np.ndarray, count: int | None, random: np.random.RandomState, source: str) -> np.ndarray:
    """Sample points of a cloud without replacement.

    Args:
        points: Cloud ``[n, 3]``.
        count: Number of points; ``None`` or ``n`` returns the cloud unchanged.
        random: Random number generator.
        source: File and field of the cloud, for the error message.

    Returns:
        Cloud ``[count, 3]``.

    Raises:
        CloudError: The cloud has fewer points.
    """
    if count is None or count == len(points):
        return points
    if count > len(points):
        raise CloudError(f'{source}: {count} points requested (num_points), found {len(points)}')
    return points[random.permutation(len(points))[:count]]


def is_cloud(path: str | Path) -> bool:
    """Return whether a file is a cloud or mesh, by its name and, for ambiguous text files, by its first lines."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or is_foreign(path.name) or not path.is_file():
        return False
    if path.suffix.lower() not in AMBIGUOUS:
        return True
    with path.open('rb') as file:
        return is_table(file.read(4096))


@dataclass
class Geometry:
    """A cloud or mesh read from a file.

    Args:
        vertices: float64 ``[n, 3]``, finite.
        faces: Triangles ``[m, 3]`` of a mesh, or None for a cloud.
        source: Name of the file, for error messages.
    """

    vertices: np.ndarray
    faces: np.ndarray | None
    source: str

    def draw(self, num_points: int | None, random: np.random.RandomState) -> np.ndarray:
        """Sample points of a cloud without replacement, or of a mesh uniformly on its surface.

        Args:
            num_points: Number of points. ``None`` returns all points of a cloud; it is invalid for a mesh.
            random: Random number generator.

        Returns:
            float64 cloud ``[num_points, 3]``.

        Raises:
            CloudError: A cloud has fewer points, a mesh has no surface area, or ``num_points`` is None for a mesh.
            UserError: trimesh is not installed.
        """
        if self.faces is None:
            return choose_points(self.vertices, num_points, random, f'{self.source}: vertices')
        if not len(self.faces):
            raise CloudError(f'{self.source}: faces: the mesh has none, only {len(self.vertices)} vertices')
        trimesh = import_extra('trimesh', 'pointcloud')
        mesh = trimesh.Trimesh(self.vertices, self.faces, process=False)
        if not mesh.area > 0:
            raise CloudError(f'{self.source}: faces: none of the {len(self.faces)} has an area')
        if num_points is None:
            raise CloudError(
                f'{self.source}: a mesh has no points of its own; num_points must say how many to sample, got None'
            )
        return trimesh.sample.sample_surface(mesh, num_points, seed=random.randint(2**31))[0]


def read_geometry(path: str | Path) -> Geometry:
    """Read a cloud or mesh file; :mod:`rescaps_plugin.pointcloud.formats` describes the supported formats.

    Args:
        path: ``.off``, ``.ply``, ``.obj``, ``.stl``, ``.glb`` (meshes; ``.ply``, ``.obj`` and ``.glb`` may also be
            clouds, without faces), ``.pcd``, ``.npy`` or ``.npz`` (``[n, 3]`` or with more columns, such as normals),
            ``.xyz``, ``.txt``, ``.csv``, ``.pts`` or ``.asc`` (rows of three numbers or more).

    Returns:
        The cloud or mesh.

    Raises:
        CloudError: The file cannot be read, is empty, holds NaNs, or has faces with missing vertices; names the file
            and the field.
        FileNotFoundError: The file does not exist.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CloudError(f'{path}: a cloud or mesh file must be one of {", ".join(SUFFIXES)}')
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise CloudError(f'{path}: cloud and mesh files are limited to {MAX_FILE_BYTES} bytes, found {size}')
    content = path.read_bytes()
    try:
        points, faces = READERS[path.suffix.lower()](content)
    except Exception as error:  # parsers raise arbitrary exceptions on damaged files
        reason = str(error) if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'
        reason = reason.partition('\n')[0]
        raise CloudError(f'{path}: not a valid {path.suffix} file: {reason}') from error
    if not len(points):
        raise CloudError(f'{path}: it has no vertices')
    with np.errstate(over='ignore'):  # values beyond the float32 range become infinite and are found below
        check_finite(points.astype(np.float32), f'{path}: vertices')
    if faces is not None:
        strange = faces[(faces < 0) | (faces >= len(points))]
        if strange.size:
            raise CloudError(f'{path}: faces: vertex {strange[0]} of {len(points)} vertices, counted from 0')
    return Geometry(points, faces, str(path))


def read_points(path: str | Path, num_points: int | None, random: np.random.RandomState) -> np.ndarray:
    """Read a cloud, or sample a mesh uniformly on its surface.

    Coordinates are float64: far from the origin, float32 cannot represent the shape. Faces without area get no points.

    Args:
        path: As in ``read_geometry``.
        num_points: Number of points. ``None`` returns all points of a cloud; it is invalid for a mesh.
        random: Random number generator.

    Returns:
        float64 cloud ``[num_points, 3]``.

    Raises:
        CloudError: As in ``read_geometry`` and ``Geometry.draw``.
        FileNotFoundError: The file does not exist.
        UserError: trimesh is not installed.
    """
    return read_geometry(path).draw(num_points, random)
