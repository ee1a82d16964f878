"""Plots of measurements on classifiers: curves, capsule maps, part-whole matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rescaps_plugin.cli.plots import plain_text

MARKERS = 'osD^vPX*'
COLORS = [f'C{index}' for index in range(10)]


@plain_text
def draw_curves(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float | None]]]],
    path: Path,
    xlabel: str,
    ylabels: Sequence[str],
) -> None:
    """Draw lines in panels, three side by side.

    Args:
        panels: x and y values by panel title and line name; None leaves a gap.
        path: Output file, in any format that matplotlib supports.
        xlabel: Name of the x axis.
        ylabels: Names of the y axes, one for each panel.
    """
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(0.6 + 3.1 * columns, 0.4 + 2.8 * rows), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = grid.flat[: len(panels)]
    for axis in grid.flat[len(panels) :]:
        axis.axis('off')
    for axis, (title, lines), ylabel in zip(axes, panels.items(), ylabels, strict=True):
        for (label, (xs, ys)), marker in zip(lines.items(), MARKERS * len(lines), strict=False):
            values = [float('nan') if y is None else y for y in ys]
            axis.plot(xs, values, marker=marker, markersize=3.5, linewidth=1.2, label=label)
        if ylabel.endswith('%'):
            axis.set_ylim(-2, 102)
        style_axis(axis, title, xlabel, ylabel)
    handles, labels = axes[0].get_legend_handles_labels()
    for ncols in range(min(len(labels), 5), 0, -1):
        legend = figure.legend(handles, labels, loc='outside lower center', ncols=ncols, fontsize=8, frameon=False)
        if ncols == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    figure.savefig(path, dpi=110)


def style_axis(axis: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """Set the title, labels and style of an axis."""
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(xlabel, fontsize=8)
    axis.set_ylabel(ylabel, fontsize=8)
    axis.tick_params(labelsize=7)
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.grid(color='0.92', linewidth=0.6)
    for spine in ('top', 'right'):
        axis.spines[spine].set_visible(False)


@plain_text
def draw_maps(
    images: Sequence[np.ndarray], titles: Sequence[str], maps: Mapping[str, np.ndarray], path: Path, columns: int = 16
) -> None:
    """Draw the activation maps of capsule types, a row for every image and layer.

    All types and images of a layer share one brightness scale; black is 0.

    Args:
        images: Images that the network read, uint8 ``[h, w, 3]``, red first.
        titles: Titles of the images.
        maps: Maps ``[b, n, h, w]`` of these images, by the name of a layer.
        path: Output file, in any format that matplotlib supports.
        columns: Maximum number of types to draw. Defaults to 16.
    """
    columns = min(columns, max(layer.shape[1] for layer in maps.values()))
    rows = len(images) * len(maps)
    width, height = 0.75 * (columns + 2), 0.3 + 0.75 * rows
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns + 2, squeeze=False)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=1 - 0.25 / height, wspace=0.06, hspace=0.06)
    for axis in axes.flat:
        axis.axis('off')
    for kind, axis in enumerate(axes[0, 2:]):
        axis.set_title(f'type {kind}', fontsize=8, pad=3)
    for index, (image, title) in enumerate(zip(images, titles, strict=True)):
        lines = axes[index * len(maps) : (index + 1) * len(maps)]
        lines[0, 0].imshow(image)
        lines[0, 0].text(0.5, -0.05, title, fontsize=7, ha='center', va='top', transform=lines[0, 0].transAxes)
        for line, (name, layer) in zip(lines, maps.items(), strict=True):
            types = layer.shape[1]
            size = 'x'.join(map(str, layer.shape[2:]))
            shown = '' if types <= columns else f'\n{columns} of {types} types'
            line[1].text(0.95, 0.5, f'{name}\n{size}{shown}', fontsize=6, ha='right', va='center')
            for kind in range(min(types, columns)):
                line[2 + kind].imshow(layer[index, kind], cmap='inferno', vmin=0, vmax=float(layer.max()) or 1)
    figure.savefig(path, dpi=100)


@plain_text
def draw_matrices(rows: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> None:
    """Draw matrices of shares, wholes by parts, in a row for every heading; white is an even share.

    Args:
        rows: Matrices ``[wholes, parts]`` in [0, 1], by heading and layer.
        path: Output file, in any format that matplotlib supports.
    """
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(0.4 + 1.9 * columns, 2.2 * len(rows)), layout='constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for line, (heading, matrices) in zip(axes, rows.items(), strict=True):
        for axis, (name, matrix) in zip(line, matrices.items(), strict=False):
            axis.axis('on')
            even = 1 / matrix.shape[1]
            axis.imshow(matrix, cmap='RdBu_r', vmin=0, vmax=2 * even)
            axis.set_title(f'{name}\n{heading}', fontsize=7)
            axis.set_xlabel('part type', fontsize=7)
            axis.set_ylabel('whole type', fontsize=7)
            axis.tick_params(labelsize=6)
            if max(matrix.shape) <= 8:
                axis.set(xticks=range(matrix.shape[1]), yticks=range(matrix.shape[0]))
                for (whole, part), value in np.ndenumerate(matrix):
                    color = 'white' if abs(value - even) > 0.7 * even else 'black'
                    axis.text(part, whole, f'{100 * value:.0f}', ha='center', va='center', fontsize=6, color=color)
    figure.savefig(path, dpi=100)


@plain_text
def draw_equivariance(followed: Mapping[str, Mapping], path: Path) -> None:
    """Draw how capsules follow transforms of the input, a row for every kind of transform.

    Args:
        followed: By kind and unit of the transform: ``transforms``, its values; ``example``, of one ``capsule`` the
            ``pose`` ``[transforms, d]`` and ``activation`` by transform; and ``layers``, by name the ``activation``,
            ``pose`` and ``residual`` of :class:`~rescaps_plugin.analysis.capsule_views.Equivariance`.
        path: Output file, in any format that matplotlib supports.
    """
    figure = Figure(figsize=(10, 2.9 * len(followed)), layout='constrained')
    axes = figure.subplots(len(followed), 3, squeeze=False)
    for (one, activation, pose), (xlabel, found) in zip(axes, followed.items(), strict=True):
        xs, example = found['transforms'], found['example']
        one.plot(xs, np.array(example['pose']), linewidth=0.9)
        one.plot(xs, example['activation'], color='black', linewidth=2, label='activation')
        one.legend(fontsize=7, frameon=False)
        style_axis(one, f'{example["capsule"]}: its pose, one image', xlabel, 'value')
        for (name, layer), color in zip(found['layers'].items(), COLORS * len(found['layers']), strict=False):
            activation.plot(xs, layer['activation'], color=color, linewidth=1.2, label=name)
            if layer['pose'] is not None:
                pose.plot(xs, layer['pose'], color=color, linewidth=1.2)
            if layer['residual'] is not None:
                pose.plot(xs, layer['residual'], color=color, linewidth=1.2, linestyle='--')
        activation.legend(fontsize=6, frameon=False)
        style_axis(activation, 'change of activations', xlabel, 'relative change')
        style_axis(pose, 'change of poses; dashed: less a linear map', xlabel, 'relative change')
        for axis in (activation, pose):
            axis.set_ylim(bottom=0)
    figure.savefig(path, dpi=75)
