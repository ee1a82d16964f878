"""Report on compared methods: metrics table and curves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.tables import write_table
from rescaps_plugin.saliency.boundary import TOLERANCES
from rescaps_plugin.saliency.drawing import draw_curves
from rescaps_plugin.saliency.metric import MapScores, file_name, metrics_table, save_curves, summarise


def name_methods(methods: Sequence[tuple[Path, str | None]], names: Sequence[str] | None = None) -> Sequence[str]:
    """Name methods so that they can be told apart in the tables and by the names of their files.

    Args:
        methods: Folders of maps with None, or configs, whose suffix is removed, with the checkpoint.
        names: A name for each method. Defaults to the shortest unique endings of the paths; methods of one config are
            named by it and their checkpoints: ``icon (epoch_16)``.

    Returns:
        A name for each method.

    Raises:
        UserError: A method without a given name is given twice; a name is empty; or two methods have one name, or one
            name of their files, in which unsafe characters are replaced.
    """
    names = names or _unique_names(methods)
    _check_names(names)
    return names


def _unique_names(methods: Sequence[tuple[Path, str | None]]) -> list[str]:
    targets = [(path.resolve(), checkpoint) for path, checkpoint in methods]
    for target, (path, _) in zip(targets, methods, strict=True):
        if targets.count(target) > 1:
            raise UserError(f'METHOD {path} is given twice.')
    # A config of the package, rescaps::..., is no path of a file. Links keep their own names.
    paths = [Path(os.path.abspath(path.with_suffix('') if checkpoint else path)) for path, checkpoint in methods]
    checkpoints = [Path(checkpoint).with_suffix('') if checkpoint else Path() for _, checkpoint in methods]
    endings, runs = _unique_endings(paths), _unique_endings(checkpoints)
    return [
        f'{endings[path]} ({runs[checkpoint]})' if paths.count(path) > 1 else endings[path]
        for path, checkpoint in zip(paths, checkpoints, strict=True)
    ]


def _check_names(names: Sequence[str]) -> None:
    files: dict[str, str] = {}
    for name in names:
        if not name.strip():
            raise UserError(f'--names: {name!r} names no method')
        file = file_name(name)
        if files.get(file) == name:
            raise UserError(f'--names: {name} names two methods')
        if file in files:
            raise UserError(f'--names: {files[file]} and {name} have one file name, {file}; set --names to others')
        files[file] = name


def _unique_endings(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the shortest endings, of as many parts each, that tell paths apart, by path."""
    different = set(paths)
    for count in range(1, max(2, *(len(path.parts) + 1 for path in paths))):
        names = {path: '/'.join(path.parts[-count:]).lstrip('/') for path in different}
        if len({*names.values()}) == len(different):
            break
    return names


def write_report(
    scores: Mapping[str, Sequence[MapScores]],
    out_dir: Path,
    title: str,
    boundaries: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
) -> None:
    """Print and write the metrics of methods, and plot their curves.

    Args:
        scores: Scores of the maps, by method.
        out_dir: Folder for ``metrics.md``, ``.csv`` and ``.json``, ``curves.png``, and ``<method>.npz``.
        title: Title of the table and the figure.
        boundaries: Scores of :func:`~rescaps_plugin.saliency.boundary.score_boundary`, by method, for further columns.
    """
    rows, curves = [], {}
    for name, each in scores.items():
        metrics, curves[name] = summarise(each)
        rows.append({'method': name, 'images': len(each), **metrics})
        if boundaries:
            rows[-1] |= {key: fmean(each[key] for each in boundaries[name]) for key in TOLERANCES}
    print(title)
    print(metrics_table(rows))
    for suffix in ('md', 'csv', 'json'):
        write_table(rows, out_dir / f'metrics.{suffix}')
    for name, each in curves.items():
        print(f'wrote {save_curves(each, out_dir, name)}')
    draw_curves(curves, out_dir / 'curves.png', title)
    print(f'wrote {out_dir / "curves.png"}')
