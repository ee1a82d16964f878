"""Tables and plots of ``tools/robustness.py``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rescaps_plugin.analysis.drawing import draw_curves
from rescaps_plugin.analysis.robustness.attacks import TITLES


def write_page(report: dict[str, Any], path: Path) -> None:
    """Write the results as Markdown.

    Args:
        report: The contents of ``robustness.json``.
        path: File to write.
    """
    results = report['results']
    names = [model['name'] for model in report['models']]
    lines = [f'# Robustness on {report["data"]}', '']
    lines += [f'- {model["name"]}: {model["config"]}, {model["checkpoint"]}' for model in report['models']]
    lines += [f'- seed {report["seed"]}, {report["device"]}, torch {report["torch"]}', '']
    if 'affine' in results:
        found = results['affine']
        rows = [[name, found['accuracy'][name]['familiar'], found['accuracy'][name]['transformed']] for name in names]
        # affNIST was transformed when it was made.
        ranges = f' Ranges: {_describe_ranges(found["ranges"])}.' if found['ranges'] else ''
        lines += ['## Affine transforms', '', f'Accuracy in per cent.{ranges}']
        lines += _table(['model', found['familiar'], found['transformed']], rows)
    if 'viewpoint' in results:
        lines += ['## Viewpoints', '', 'Accuracy in per cent.']
        rows = [
            [name, entry['trained_on'][axis], entry[axis]['familiar'], entry[axis]['novel']]
            for axis in ('azimuth', 'elevation')
            for name, entry in ((f'{name}, {axis}', results['viewpoint'][name]) for name in names)
        ]
        lines += _table(['model', 'trained on', 'familiar', 'novel'], rows)
    if 'rotation' in results:
        found = results['rotation']
        lines += ['## Rotation', '', 'Accuracy in per cent, by degrees counter-clockwise.']
        lines += _table(
            ['model', *(f'{angle:g}' for angle in found['angles'])],
            [[name, *found['accuracy'][name]] for name in names],
        )
    if 'attack' in results:
        lines += _describe_attacks(results['attack'], names)
    path.write_text('\n'.join(lines).rstrip() + '\n', encoding='utf-8')


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the lines of a Markdown table; numbers are rounded to two places."""
    cells = [[f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return ['', *(f'| {" | ".join(row)} |' for row in [head, ['---'] * len(head), *cells]), '']


def _describe_ranges(ranges: dict[str, Any]) -> str:
    """Return the ranges of :func:`~rescaps_plugin.analysis.robustness.transforms.measure_affine` in words."""
    rotation, shear, scale = ('{:g} to {:g}'.format(*ranges[key]) for key in ('rotation', 'shear', 'scale'))
    return (
        f'rotation {rotation} degrees, shear {shear}, scale {scale} in each direction, '
        f'translation up to {ranges["translation"]:g} of the image'
    )


def _describe_attacks(found: dict[str, Any], names: Sequence[str]) -> list[str]:
    """Return the lines on attacks: accuracy by attack and epsilon, transfer between models, checks."""
    epsilons = [f'eps {eps:.4g}' for eps in found['epsilons']]
    settings = ', '.join(f'{key} {value}' for key, value in found['settings'].items())
    lines = ['## Attacks', '', f'Accuracy in per cent on {found["images"]} images, pixels in [0, 1]; {settings}.']
    rows = [
        [name, TITLES[attack], found['clean'][name]['accuracy'], *(entry['accuracy'] for entry in entries)]
        for name in names
        for attack, entries in found['white_box'][name].items()
    ]
    lines += _table(['model', 'attack', 'clean', *epsilons], rows)
    if len(names) > 1:
        lines += ['### Transfer', '', 'Accuracy of a model on the images of PGD against another.']
        rows = [
            [f'{source} → {other}', *(entry['accuracy'] for entry in entries)]
            for source in names
            for other, entries in found['transfer'][source].items()
        ]
        lines += _table(['from → to', *epsilons], rows)
    return [*lines, '### Checks', '', *(f'- {line}' for line in found['lines']), '']


def draw(report: dict[str, Any], out_dir: Path) -> list[str]:
    """Draw the curves of the results.

    Args:
        report: The contents of ``robustness.json``.
        out_dir: Folder to write to, which exists.

    Returns:
        Names of the files.
    """
    files = []
    results = report['results']
    names = [model['name'] for model in report['models']]
    trainings = {model['config'] for model in report['models']}
    if 'affine' in results and len(trainings) < len(names):
        # Several checkpoints of a training are a line: its accuracy under transforms at equal accuracy without.
        found = results['affine']
        stems = [Path(config).stem for config in trainings]
        lines: dict[str, tuple[list[float], list[float]]] = {}
        for model in report['models']:
            stem = Path(model['config']).stem
            line = lines.setdefault(stem if stems.count(stem) == 1 else model['config'], ([], []))
            for values, key in zip(line, ('familiar', 'transformed'), strict=True):
                values.append(found['accuracy'][model['name']][key])
        ylabel = f'accuracy in per cent, {found["transformed"]}'
        draw_curves({'checkpoints': lines}, out_dir / 'affine.png', f'{found["familiar"]}, %', [ylabel])
        files.append('affine.png')
    if 'rotation' in results:
        found = results['rotation']
        lines = {name: (found['angles'], found['accuracy'][name]) for name in names}
        draw_curves({'rotated images': lines}, out_dir / 'rotation.png', 'angle, degrees', ['accuracy, %'])
        files.append('rotation.png')
    if 'viewpoint' in results:
        panels = {
            axis: {name: tuple(zip(*results['viewpoint'][name][axis]['curve'].items(), strict=True)) for name in names}
            for axis in ('azimuth', 'elevation')
        }
        draw_curves(panels, out_dir / 'viewpoint.png', 'degrees', ['accuracy, %'] * 2)
        files.append('viewpoint.png')
    if 'attack' in results:
        found = results['attack']
        epsilons = [0, *found['epsilons']]

        def curve(name: str, attack: str, key: str) -> tuple[list[float], list[float]]:
            entries = [found['clean'][name], *found['white_box'][name][attack]]
            return epsilons, [entry[key] for entry in entries]

        panels = {TITLES[attack]: {name: curve(name, attack, 'accuracy') for name in names} for attack in TITLES}
        panels["PGD's loss"] = {name: curve(name, 'pgd', 'loss') for name in names}
        ylabels = ['accuracy, %'] * len(TITLES) + ['margin of log-odds']
        draw_curves(panels, out_dir / 'attack.png', 'epsilon', ylabels)
        files.append('attack.png')
    return files
