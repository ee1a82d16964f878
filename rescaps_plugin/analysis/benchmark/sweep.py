"""Growth of cost with the size of candidates, of inputs, or of the batch."""

import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rescaps_plugin.analysis.benchmark.measure import Conditions, Quantity
from rescaps_plugin.analysis.benchmark.processes import measure_all
from rescaps_plugin.analysis.benchmark.report import NO_MEMORY, UNITS, save, save_plot, si
from rescaps_plugin.analysis.benchmark.summary import growth, summarise
from rescaps_plugin.analysis.machine import describe_run

SWEEP_NOTES = """\
Held at {held} while one of {keys} grows; cost ~ size^exponent, in bold, fitted by least squares to the logarithms of
the medians of {repeats} rounds. A training step is forward, backward and the release of the gradients. Added memory is
the peak during a step above what was in use before it. Missing values ran out of memory, or cannot be trained at
batch 1.
"""


def run_sweep(args: Namespace, names: Sequence[str], command: str, deadline: float) -> None:
    """Measure all candidates at every point of a sweep, and write how their cost grows.

    At the first point all keys have their first values; then one key after another grows.

    Args:
        args: Arguments of ``tools/benchmark.py``.
        names: Names of the candidates, with ``{KEY}`` for each swept value.
        command: The command line, for the record.
        deadline: As of :func:`~rescaps_plugin.analysis.benchmark.processes.measure_all`.
    """
    held = {'batch': args.batch_sizes[0], **{key: values[0] for key, values in args.sweep}}
    costs, units, memory = {}, {}, True
    for key, values in args.sweep:
        for value in values:
            point = {**held, key: value}
            if str(point) in costs:
                continue
            print(', '.join(f'{name} {number}' for name, number in point.items()), file=sys.stderr)
            conditions = make_conditions(args, point)
            memory = conditions.measures_memory
            steps = [(kind, mode) for kind in ('time', 'memory') for mode in args.modes if kind == 'time' or memory]
            quantities = [
                Quantity(kind, mode, point['batch']) for kind, mode in steps if mode == 'infer' or point['batch'] > 1
            ]
            filled = [fill(name, point) for name in names]
            measured = measure_all(filled, quantities, conditions, args.repeats, deadline)
            costs[str(point)] = [
                {step.label: summarise(found, [])['median'] for step, found in values.items()}
                for values in measured.values
            ]
            units.update({quantity.label: UNITS[quantity.kind] for quantity in quantities})
    candidates = []
    for index, name in enumerate(names):
        curves = {label: {} for label in units}
        for label in units:
            for key, values in args.sweep:
                found = {value: costs[str({**held, key: value})][index].get(label) for value in sorted(values)}
                medians = {value: cost for value, cost in found.items() if cost}
                exponent = growth(list(medians), list(medians.values())) if len(medians) > 1 else None
                curves[label][key] = {'exponent': exponent, 'medians': medians}
        candidates.append({'name': name, 'curves': curves})
    notes = SWEEP_NOTES.format(
        keys=', '.join(key for key, _ in args.sweep),
        held=', '.join(f'{key} {value}' for key, value in held.items()),
        repeats=args.repeats,
    )
    result = {
        **describe_run(args.device, args.threads, command),
        'notes': notes + ('' if memory else NO_MEMORY),
        'sweep': {key: sorted(values) for key, values in args.sweep},
        'units': units,
        'candidates': candidates,
    }
    page = make_sweep_page(result)
    save(args.out_dir, result, page)
    save_plot(args.out_dir, lambda path: draw_sweep(result, path))
    print(page)


def make_conditions(args: Namespace, point: dict[str, int]) -> Conditions:
    """Make the conditions of measurements from the arguments of ``tools/benchmark.py``, at a point of a sweep."""
    input_size = tuple(math.prod(int(factor) for factor in fill(text, point).split('*')) for text in args.input_size)
    return Conditions(input_size, args.device, args.threads, args.min_time, args.input_grad)


def make_sweep_page(result: dict[str, Any]) -> str:
    """Write the page of a sweep: how every quantity grows with every key."""
    keys = list(result['sweep'])
    lines = ['# Growth of cost', '']
    for quantity, unit in result['units'].items():
        lines += [f'| {quantity} | {" | ".join(keys)} |', f'| --- {"| --- " * len(keys)}|']
        for curves in result['candidates']:
            cells = []
            for curve in curves['curves'][quantity].values():
                fit = '–' if curve['exponent'] is None else f'**{curve["exponent"]:.2f}**'
                points = (f'{x}: {si(cost, unit)}' for x, cost in curve['medians'].items())
                cells.append(f'{fit} ({", ".join(points)})')
            lines.append(f'| `{curves["name"]}` | {" | ".join(cells)} |')
        lines.append('')
    machine = ', '.join(f'{name} {value}' for name, value in result['machine'].items())
    lines += [result['notes'], f'{result["date"]}, {machine}', '', f'    {result["command"]}', '']
    return '\n'.join(lines)


def draw_sweep(result: dict[str, Any], path: Path) -> None:
    """Draw the growth of every quantity with every key, on logarithmic axes."""
    from matplotlib.figure import Figure

    keys, quantities = list(result['sweep']), list(result['units'])
    figure = Figure(figsize=(4 * len(keys), 3.2 * len(quantities) + 0.5), layout='constrained')
    for row, axes in zip(quantities, figure.subplots(len(quantities), len(keys), squeeze=False), strict=True):
        for key, axis in zip(keys, axes, strict=True):
            for number, candidate in enumerate(result['candidates']):
                curve = candidate['curves'][row][key]
                fit = '' if curve['exponent'] is None else f', exponent {curve["exponent"]:.2f}'
                label = candidate['name'].partition('(')[0] + fit
                axis.plot(curve['medians'].keys(), curve['medians'].values(), 'o-', color=f'C{number}', label=label)
            axis.set(xscale='log', yscale='log', xlabel=key, title=f'{row} [{result["units"][row]}]')
            axis.set_xticks(result['sweep'][key], map(str, result['sweep'][key]))
            axis.minorticks_off()
            axis.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def fill(template: str, point: dict[str, int]) -> str:
    """Replace the {KEY}s of a name by the values of a point."""
    for key, value in point.items():
        template = template.replace(f'{{{key}}}', str(value))
    return template
