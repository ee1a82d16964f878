"""Plots of point clouds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.plots import plain_text

# By the axis that points up: coordinates, and their signs, shown to the right, away from the viewer, and up.
VIEWS = {'y': ((0, 2, 1), (1, -1, 1)), 'z': ((0, 1, 2), (1, 1, 1))}
# Distance between the centres of adjacent clouds in a page, in radii.
SPACING = 2.4


def capsule_colors(count: int, capsules: int) -> np.ndarray:
    """Return the colours of reconstructed points by their latent capsule.

    Args:
        count: Number of points of a :class:`~rescaps_plugin.pointcloud.point_caps.PointGenerators`.
        capsules: Number of latent capsules.

    Returns:
        uint8 colours ``[count, 3]``.
    """
    hues = colormaps['hsv'](np.arange(capsules) / capsules)[:, :3]
    return np.rint(255 * hues[np.arange(count) % capsules]).astype(np.uint8)


def height_colors(points: np.ndarray, up: str) -> np.ndarray:
    """Return uint8 colours ``[n, 3]`` of points ``[n, 3]`` by height."""
    height = points[:, 'xyz'.index(up)]
    low, high = height.min(), height.max()
    return np.rint(255 * colormaps['viridis']((height - low) / max(high - low, 1e-12))[:, :3]).astype(np.uint8)


@plain_text
def draw_clouds(
    rows: Mapping[str, Sequence[np.ndarray]],
    path: Path,
    colors: Mapping[str, np.ndarray] | None = None,
    titles: Mapping[str, Sequence[str]] | None = None,
    up: str = 'y',
) -> None:
    """Plot a grid of clouds, viewed from above and from the right.

    Args:
        rows: Clouds ``[n, 3]`` in the unit sphere, by row name.
        path: File to write, in any format that matplotlib supports.
        colors: uint8 colours ``[n, 3]`` of the points, by row name. Rows without colours are coloured by height.
        titles: Titles of the clouds, by row name.
        up: Axis that points up, ``'y'`` or ``'z'``.
    """
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(2 * columns + 0.4, 2.3 * len(rows)))
    axes = figure.subplots(len(rows), columns, squeeze=False, subplot_kw=dict(projection='3d'))
    figure.subplots_adjust(
        left=0.4 / (2 * columns + 0.4), right=1, bottom=0, top=1 - 0.1 / len(rows), wspace=0, hspace=0.12
    )
    order, signs = VIEWS[up]
    for line, (name, clouds) in zip(axes, rows.items(), strict=True):
        for column, (axis, cloud) in enumerate(zip(line, clouds, strict=False)):
            color = (colors or {}).get(name)
            color = (height_colors(cloud, up) if color is None else color) / 255
            axis.scatter(*(cloud[:, order] * signs).T, s=2, c=color, linewidths=0)
            axis.set(xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
            axis.set_box_aspect((1, 1, 1), zoom=1.5)
            axis.view_init(elev=15, azim=-70)
            axis.set_title((titles or {}).get(name, [''] * columns)[column], fontsize=8, y=1)
        place = line[0].get_position()
        figure.text(0.05 / figure.get_figwidth(), (place.y0 + place.y1) / 2, name, rotation=90, va='center', fontsize=9)
    for axis in axes.flat:
        axis.axis('off')
    figure.savefig(path, dpi=130)


def write_page(
    rows: Mapping[str, Sequence[np.ndarray]],
    path: Path,
    colors: Mapping[str, np.ndarray] | None = None,
    up: str = 'y',
) -> None:
    """Write a self-contained HTML page with an interactive 3D view of a grid of clouds.

    Args:
        rows: Clouds ``[n, 3]`` in the unit sphere, by row name, from the top.
        path: HTML file to write.
        colors: uint8 colours ``[n, 3]`` of the points, by row name. Rows without colours are coloured by height.
        up: Axis that points up, ``'y'`` or ``'z'``.

    Raises:
        UserError: trimesh is not installed.
    """
    trimesh = import_extra('trimesh', 'pointcloud')
    viewer = import_extra('trimesh.viewer.notebook', 'pointcloud')
    # Browsers draw points one pixel wide, so each point is a small tetrahedron.
    corner = 0.012 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    face = np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]])
    scene = trimesh.Scene()
    for line, (name, clouds) in enumerate(rows.items()):
        for column, cloud in enumerate(clouds):
            color = (colors or {}).get(name)
            color = height_colors(cloud, up) if color is None else color
            # glTF has y up and z towards the viewer.
            shown = cloud if up == 'y' else cloud[:, [0, 2, 1]] * (1, 1, -1)
            shown = shown + SPACING * np.array([column, -line, 0])
            scene.add_geometry(
                trimesh.Trimesh(
                    vertices=(shown[:, None] + corner).reshape(-1, 3),
                    faces=(4 * np.arange(len(shown))[:, None, None] + face).reshape(-1, 3),
                    vertex_colors=color.repeat(4, axis=0),
                    process=False,
                ),
                geom_name=f'{name} {column}',
            )
    path.write_text(viewer.scene_to_html(scene), encoding='utf-8')
