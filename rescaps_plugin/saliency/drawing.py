"""Plots of salient object detection: overlays, grids of maps, and curves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from rescaps_plugin.cli.plots import plain_text
from rescaps_plugin.cli.tables import shorten, show
from rescaps_plugin.saliency.masks import SALIENT

# Longest row name, in characters.
NAME_LETTERS = 24
# BGR.
TINT = np.array([60.0, 60.0, 255.0])


def overlay(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """Tint the salient part of an image and draw its contour.

    Args:
        image: uint8 image ``[height, width, 3]``, BGR.
        saliency: uint8 map ``[height, width]``.

    Returns:
        uint8 image ``[height, width, 3]``.
    """
    share = saliency[..., None] / 510
    tinted = np.rint(image * (1 - share) + TINT * share).astype(np.uint8)
    contours, _ = cv2.findContours((saliency >= SALIENT).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(min(saliency.shape) / 250))
    return cv2.drawContours(tinted, contours, -1, (255, 255, 255), thickness)


@plain_text
def draw_grid(
    columns: Mapping[str, Sequence[np.ndarray]],
    path: Path,
    rows: Sequence[str] = (),
    notes: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Draw a qualitative comparison: a grid with one row per image and one column per method.

    Args:
        columns: Images by column name, such as ``'image'``, ``'mask'`` and the methods: uint8 grey
            ``[height, width]`` or RGB ``[height, width, 3]``, of one size within a row.
        path: File to write, in any format that matplotlib supports.
        rows: Names of the rows.
        notes: Captions below the images of a column, by column name.
    """
    first = next(iter(columns.values()))
    ratios = [picture.shape[0] / picture.shape[1] for picture in first]
    # Inches: 1.6 per image, plus the space of names and notes.
    width, heights = 1.6 * len(columns) + 0.3, [1.6 * ratio + 0.2 for ratio in ratios]
    figure = Figure(figsize=(width, sum(heights) + 0.3), layout='constrained')
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = figure.subplots(len(first), len(columns), squeeze=False, height_ratios=heights)
    for column, (name, pictures) in enumerate(columns.items()):
        # Names of configs are long; 18 characters are as wide as an image.
        axes[0, column].set_title(textwrap.fill(show(name), 18), fontsize=8)
        for row, picture in enumerate(pictures):
            axis = axes[row, column]
            axis.imshow(picture, cmap='gray', vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if notes and name in notes:
                axis.set_xlabel(notes[name][row], fontsize=7, labelpad=2)
    for axis, name in zip(axes[:, 0], rows, strict=False):
        axis.set_ylabel(shorten(show(name), NAME_LETTERS), fontsize=7)
    figure.savefig(path, dpi=150)


@plain_text
def draw_curves(curves: Mapping[str, Mapping[str, np.ndarray]], path: Path, title: str = '') -> None:
    """Plot precision over recall, and F- and E-measure over the threshold.

    Args:
        curves: Curves of :func:`~rescaps_plugin.saliency.metric.summarise` by method.
        path: File to write, in any format that matplotlib supports.
        title: Title of the figure.
    """
    figure = Figure(figsize=(12, 4), layout='constrained')
    figure.suptitle(title)
    recall, f_measure, e_measure = figure.subplots(1, 3)
    for index, (name, each) in enumerate(curves.items()):
        # Ten colours; after these, other line styles.
        style = dict(color=f'C{index % 10}', linestyle=('-', '--', ':', '-.')[index // 10 % 4], label=name)
        # At the lowest threshold every pixel is salient, independent of the method.
        recall.plot(each['recall'][:-1], each['precision'][:-1], **style)
        f_measure.plot(each['threshold'], each['f'], **style)
        e_measure.plot(each['threshold'], each['e'], **style)
    recall.set(xlabel='recall', ylabel='precision')
    f_measure.set(xlabel='threshold', ylabel='F-measure')
    e_measure.set(xlabel='threshold', ylabel='E-measure')
    for axis in (recall, f_measure, e_measure):
        axis.set(xlim=(0, 1 if axis is recall else 255), ylim=(0, 1))
        axis.grid(alpha=0.3)
    recall.legend(fontsize=8, loc='lower left')
    figure.savefig(path, dpi=130)
