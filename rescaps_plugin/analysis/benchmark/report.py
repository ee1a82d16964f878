"""Tables and plots of measurements."""

import json
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from rescaps_plugin.analysis.benchmark.measure import OPERATIONS, Quantity
from rescaps_plugin.analysis.benchmark.processes import Measurements
from rescaps_plugin.analysis.benchmark.summary import summarise
from rescaps_plugin.zoo.tasks import describe_metric

UNITS = {'parameters': '', 'MACs': '', 'peak': 'FLOP/s', 'speed': 'FLOP/s', 'time': 's', 'memory': 'B'}

NOTES = """\
Medians [quartiles] of {repeats} rounds over all candidates, each in a process of its own. Ratios, in bold, are to
`{reference}` in the same round; less is better. Inputs are {input_size}; those of trained models are as in their tests.
MACs are those of convolutions and matrix products in one inference, in the deploy form. Speed is two operations for
each of them, over the time; its percentage, in bold, is of the peak: the speed of a large matrix product in the same
precision (int8 operations with +int8), process and round. A training step is forward, backward and the release of the
gradients, without loss and optimiser. Added memory is the peak during a step above what was in use before it, gradients
included.
"""

NO_MEMORY = 'Memory was not measured: that takes a GPU, or a Linux where /proc/self/clear_refs can be written.\n'


def si(value: float, unit: str = '') -> str:
    """Write a value with three digits and an SI prefix."""
    for factor, prefix in ((1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k'), (1, ''), (1e-3, 'm'), (1e-6, 'µ')):
        if value >= 0.9995 * factor:
            return f'{value / factor:#.3g}'.rstrip('.') + f' {prefix}{unit}'.rstrip()
    return f'{value:.3g} {unit}'.rstrip()


class Target(NamedTuple):
    """A figure to reach, relative to another candidate.

    Args:
        quantity: The quantity that is compared.
        candidate: Name of the candidate.
        reference: Name of the other.
        speed: Minimum speed, as a multiple of the other's; for time.
        cost: Maximum cost, as a multiple of the other's. One of the two is given.
    """

    quantity: Quantity
    candidate: str
    reference: str
    speed: float | None = None
    cost: float | None = None


def describe(quantity: Quantity, summary: dict[str, Any] | None, short: bool = False) -> str:
    """Write the cell of one candidate: median, quartiles unless it is to be short, throughput of a batch, ratio.

    The ratio of a speed is its share of the peak.
    """
    if summary is None:
        return '–'
    unit = UNITS[quantity.kind]
    text = si(summary['median'], unit)
    if quantity.mode and not short:
        text += f' [{si(summary["low"], unit)}, {si(summary["high"], unit)}]'
    if quantity.kind == 'time' and quantity.batch > 1:
        text += f', {si(quantity.batch / summary["median"])}/s'
    if quantity.kind == 'speed':
        return f'{text}, **{summary["ratio"]["median"]:.0%}**'
    return f'{text}, **{summary["ratio"]["median"]:.2f}x**' if summary['ratio'] else text


def with_speeds(quantities: Iterable[Quantity]) -> list[Quantity]:
    """List the quantities of a table: those that are measured, without metrics, and a speed after every inference."""
    shown = []
    for quantity in quantities:
        if quantity.kind != 'metrics':
            shown.append(quantity)
        if quantity.kind == 'time' and quantity.mode == 'infer':
            shown.append(quantity._replace(kind='speed'))
    return shown


def _summarise_all(values: dict[Quantity, list[Any]], base: dict[Quantity, list[Any]]) -> dict[str, dict[str, Any]]:
    """Summarise the quantities of a candidate, relative to those of the reference, and its speeds, to its peak."""
    (macs,), peak = values.get(Quantity('MACs'), [0]), values.get(Quantity('peak'))
    summaries = {}
    for quantity in with_speeds(values):
        if quantity.kind == 'speed':
            if not macs or not peak:
                continue
            speeds = [2 * macs * quantity.batch / seconds for seconds in values[quantity._replace(kind='time')]]
            summary = summarise(speeds, peak)
        else:
            summary = summarise(values[quantity], [] if quantity.kind == 'peak' else base.get(quantity, []))
        summaries[str(quantity)] = {'unit': UNITS[quantity.kind], **summary}
    return summaries


def compare(
    names: Sequence[str],
    measured: Measurements,
    reference: str,
    profiles: Sequence[dict[str, dict[str, float]]],
    targets: Iterable[Target] = (),
) -> dict[str, Any]:
    """Summarise a comparison.

    Args:
        names: The candidates.
        measured: Their measurements.
        reference: The candidate that ratios are relative to.
        profiles: Shares of time of the candidates, by mode.
        targets: Figures to reach; those of other candidates are left out.

    Returns:
        The figures of ``benchmark.json``.
    """
    base = measured.values[names.index(reference)]
    by_name = dict(zip(names, measured.values, strict=True))
    ratios = []
    for target in targets:
        values, others = (by_name.get(name, {}).get(target.quantity) for name in (target.candidate, target.reference))
        if values and others:
            over, under = (others, values) if target.speed else (values, others)
            ratio = summarise(over, under)['ratio']
            reached = ratio is not None and (
                ratio['median'] >= target.speed if target.speed else ratio['median'] <= target.cost
            )
            ratios.append({**target._asdict(), 'quantity': str(target.quantity), 'ratio': ratio, 'reached': reached})
    return {
        'reference': reference,
        'candidates': [
            {
                'name': name,
                'quantities': _summarise_all(values, base),
                'metrics': next((found for kind, (found, *_) in values.items() if kind.kind == 'metrics'), {}),
                'profile': profile,
            }
            for name, values, profile in zip(names, measured.values, profiles, strict=True)
        ],
        'targets': ratios,
        'left out': list(measured.left_out),
    }


def make_table(result: dict[str, Any], quantities: Sequence[Quantity], short: bool = False) -> str:
    """Write the costs of candidates as a table in Markdown; with many candidates each is a row.

    Args:
        result: Return value of :func:`compare`, and ``'profile batch'``.
        quantities: The quantities that are shown.
        short: Whether to leave out quartiles, and quantities other than time and memory.

    Returns:
        The table.
    """
    candidates = result['candidates']
    rows = [['', *(f'`{candidate["name"]}`' for candidate in candidates)]]
    for quantity in quantities:
        if quantity.mode or not short:
            cells = [describe(quantity, candidate['quantities'].get(str(quantity)), short) for candidate in candidates]
            rows.append([str(quantity), *cells])
    for metric in dict.fromkeys(metric for candidate in candidates for metric in candidate['metrics']):
        found = [candidate['metrics'].get(metric) for candidate in candidates]
        cells = ['–' if value is None else describe_metric(metric, value)[1] for value in found]
        rows.append([describe_metric(metric, 0)[0], *cells])
    modes = dict.fromkeys(mode for candidate in candidates for mode in candidate['profile'])
    for mode in modes:
        step = Quantity('share', mode, result['profile batch'])
        for group in [*OPERATIONS, 'rest']:
            shares = [candidate['profile'].get(mode, {}).get(group) for candidate in candidates]
            rows.append([f'{group}, {step}', *('–' if share is None else f'{share:.1%}' for share in shares)])
    if len(rows[0]) > len(rows):
        rows = list(zip(*rows, strict=True))
    rows.insert(1, ['---'] * len(rows[0]))
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def make_targets(result: dict[str, Any]) -> str:
    """Write how the candidates compare to the figures to reach, as a table in Markdown; empty without any."""
    if not result['targets']:
        return ''
    lines = ['| candidate | to | in | ratio | to reach | |', '| --- | --- | --- | --- | --- | --- |']
    for target in result['targets']:
        quantity = target['quantity']
        what, bound = (
            (f'speed, {quantity}', f'≥ {target["speed"]}x') if target['speed'] else (quantity, f'≤ {target["cost"]}x')
        )
        ratio = '–' if target['ratio'] is None else f'{target["ratio"]["median"]:.3g}x'
        verdict = 'reached' if target['reached'] else 'missed'
        lines.append(f'| `{target["candidate"]}` | `{target["reference"]}` | {what} | {ratio} | {bound} | {verdict} |')
    return '\n'.join(lines)


def make_page(result: dict[str, Any], quantities: Sequence[Quantity], short: bool = False) -> str:
    """Write the page of a comparison, see :func:`make_table`."""
    left_out = '\n'.join(f'- {message}' for message in result['left out'])
    machine = ', '.join(f'{name} {value}' for name, value in result['machine'].items())
    run = f'{result["date"]}, {machine}\n\n    {result["command"]}'
    parts = [
        make_table(result, quantities, short),
        make_targets(result),
        left_out,
        *([] if short else [result['notes']]),
        run,
    ]
    return '\n\n'.join(['# Benchmark', *(part.rstrip() for part in parts if part)]) + '\n'


def draw(result: dict[str, Any], quantities: Sequence[Quantity], path: Path) -> None:
    """Draw the ratios of every quantity as bars, with whiskers from quartile to quartile."""
    from matplotlib.figure import Figure

    names = [candidate['name'] for candidate in result['candidates']]
    figure = Figure(figsize=(11, 0.6 + len(quantities) * (0.5 + 0.3 * len(names))), layout='constrained')
    axes = figure.subplots(len(quantities), sharex=True, squeeze=False)[:, 0]
    for axis, quantity in zip(axes, quantities, strict=True):
        for row, candidate in enumerate(result['candidates']):
            summary = candidate['quantities'].get(str(quantity))
            if summary and summary['ratio']:
                median, low, high = summary['ratio'].values()
                axis.barh(row, median, xerr=[[median - low], [high - median]], color=f'C{row % 10}', capsize=3)
                text = f'{median:.2f}x, {si(summary["median"], UNITS[quantity.kind])}'
                offset = dict(xytext=(6, 0), textcoords='offset points', bbox=dict(color='white', pad=0))
                axis.annotate(text, (high, row), va='center', fontsize=8, **offset)
        axis.axvline(1, color='black', linewidth=0.8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_title(str(quantity), loc='left', fontsize=10)
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].margins(x=0.2)
    axes[-1].set_xlabel(f'ratio to {result["reference"]}')
    figure.savefig(path, dpi=120)


def save(folder: Path, result: dict[str, Any], page: str) -> None:
    """Write benchmark.json and benchmark.md."""
    folder.mkdir(parents=True, exist_ok=True)
    Path(folder, 'benchmark.json').write_text(json.dumps(result, indent=2), encoding='utf-8')
    Path(folder, 'benchmark.md').write_text(page, encoding='utf-8')


def save_plot(folder: Path, draw_plot: Callable[[Path], None]) -> None:
    """Draw benchmark.png, where matplotlib is installed, and print which files were written.

    Args:
        folder: Folder of benchmark.json and benchmark.md.
        draw_plot: Draws the plot into a file.
    """
    if find_spec('matplotlib'):
        draw_plot(folder / 'benchmark.png')
        print(f'wrote benchmark.json, benchmark.md and benchmark.png to {folder}')
    else:
        print(f'wrote benchmark.json and benchmark.md to {folder}; for the plot: pip install matplotlib')
