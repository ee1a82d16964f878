"""Point clouds from files: meshes sampled on their surface, clouds as they are."""

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
# Of names that other texts have too.
AMBIGUOUS = ('.csv', '.txt')


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


def is_cloud(path: str | Path) -> bool:
    """Return whether a file of a folder is meant as a cloud or mesh: by its name, of texts by their first lines too."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or is_foreign(path.name) or not path.is_file():
        return False
    if path.suffix.lower() not in AMBIGUOUS:
        return True
    with path.open('rb') as file:
        return is_table(file.read(4096))


@dataclass
class Geometry:
    """What a file holds: a cloud, or a mesh.

    Args:
        vertices: float64 ``[n, 3]``, finite.
        faces: Triangles ``[m, 3]`` of a mesh.
        source: The file's name, for error messages.
    """

    vertices: np.ndarray
    faces: np.ndarray | None
    source: str

    def draw(self, num_points: int | None, random: np.random.RandomState) -> np.ndarray:
        """Draw points of a cloud, or sample a mesh uniformly on its surface.

        Args:
            num_points: Points wanted. ``None`` is all points of a cloud; a mesh needs a number.
            random: Where the draws come from.

        Returns:
            float64 cloud ``[num_points, 3]``.

        Raises:
            CloudError: A cloud has fewer points than wanted, or the faces of a mesh have no area.
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
    """Read a cloud or mesh file; see :mod:`rescaps_plugin.pointcloud.formats` for what is read of each format.

    Args:
        path: ``.off``, ``.ply``, ``.obj``, ``.stl``, ``.glb`` (meshes; ``.ply``, ``.obj`` and ``.glb`` may also be
            clouds, without faces), ``.pcd``, ``.npy`` or ``.npz`` (``[n, 3]`` or with more columns, such as normals),
            ``.xyz``, ``.txt``, ``.csv``, ``.pts`` or ``.asc`` (rows of three numbers or more).

    Returns:
        The cloud or mesh.

    Raises:
        CloudError: The file cannot be read, is empty, holds NaNs, or has faces of vertices that it has not; names the
            file and the field.
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise CloudError(f'{path}: a cloud or mesh file must be one of {", ".join(SUFFIXES)}')
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise CloudError(f'{path}: a cloud or mesh file may have {MAX_FILE_BYTES} bytes, it has {size}')
    content = path.read_bytes()
    try:
        points, faces = READERS[path.suffix.lower()](content)
    except Exception as error:  # damage can fail a parser in any way
        reason = str(error) if isinstance(error, ValueError) else f'{type(error).__name__}: {error}'
        reason = reason.partition('\n')[0]
        raise CloudError(f'{path}: not a whole {path.suffix} file: {reason}') from error
    if not len(points):
        raise CloudError(f'{path}: it has no vertices')
    with np.errstate(over='ignore'):  # what float32 has no number for is found to be infinite
        check_finite(points.astype(np.float32), f'{path}: vertices')
    if faces is not None:
        strange = faces[(faces < 0) | (faces >= len(points))]
        if strange.size:
            raise CloudError(f'{path}: faces: vertex {strange[0]} of {len(points)} vertices, counted from 0')
    return Geometry(points, faces, str(path))


def read_points(path: str | Path, num_points: int | None, random: np.random.RandomState) -> np.ndarray:
    """Read a cloud, or sample a mesh uniformly on its surface, in float64: far from the origin, float32 has no shape.

    Faces without area get no points.

    Args:
        path: As of :func:`read_geometry`.
        num_points: Points wanted. ``None`` is all points of a cloud; a mesh needs a number.
        random: Where the draws come from.

    Returns:
        float64 cloud ``[num_points, 3]``.

    Raises:
        CloudError: As :func:`read_geometry` and :meth:`Geometry.draw`.
        FileNotFoundError: There is no such file.
        UserError: trimesh is not installed.
    """
    return read_geometry(path).draw(num_points, random)
