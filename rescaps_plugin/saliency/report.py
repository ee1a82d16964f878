"""Report on compared methods: metrics table and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rescaps_plugin.cli.tables import write_table
from rescaps_plugin.saliency.drawing import draw_curves
from rescaps_plugin.saliency.metric import MapScores, metrics_table, save_curves, summarise


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Return the shortest unique path endings as method names.

    Args:
        paths: Folders, or configs, whose suffix is removed.

    Returns:
        A name for each path.
    """
    parts = [path.resolve().with_suffix('' if path.is_file() else path.suffix).parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names


def write_report(scores: Mapping[str, Sequence[MapScores]], out_dir: Path, title: str) -> None:
    """Print and write the metrics of methods, and plot their curves.

    Args:
        scores: Scores of the maps, by method.
        out_dir: Folder for ``metrics.md``, ``.csv`` and ``.json``, ``curves.png``, and ``<method>.npz``.
        title: Title of the table and the figure.
    """
    rows, curves = [], {}
    for name, each in scores.items():
        metrics, curves[name] = summarise(each)
        rows.append({'method': name, 'images': len(each), **metrics})
    print(title)
    print(metrics_table(rows))
    for suffix in ('md', 'csv', 'json'):
        write_table(rows, out_dir / f'metrics.{suffix}')
    for name, each in curves.items():
        print(f'wrote {save_curves(each, out_dir, name)}')
    draw_curves(curves, out_dir / 'curves.png', title)
    print(f'wrote {out_dir / "curves.png"}')
