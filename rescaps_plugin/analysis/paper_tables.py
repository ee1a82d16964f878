"""The paper's tables from the results of runs: values, published orderings, pages and plots.

A *spec* is a config such as ``configs/reproduce/cpu.py``. Values of a table are by column label, method and seed.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mmengine.config import Config, ConfigDict

from rescaps_plugin.analysis.experiments import Run

VERDICTS = ('does not hold', 'holds on average, not for every seed', 'holds')

NOTES = """\
Mean and sample standard deviation over the seeds, (n=1) where a cell has fewer seeds than others, *in italics* what the
paper published. Times are those of the model's steps, on a CPU as CPU time; memory is the peak of a training above what
was in use before it, at the batch size of the protocol. The paper measured its times and memory on an NVIDIA
RTX 3090 Ti at its own sizes.
"""

Values = Mapping[str, Mapping[str, Mapping[int, float]]]
Runs = Mapping[tuple[str, str], Sequence[Run]]


def write_table(spec: Config, table: str, runs: Runs, command: str, out: Path, plot: bool) -> None:
    """Write a table of the finished runs: ``table_<number>.md``, ``.json`` and ``.png``.

    Args:
        spec: The spec.
        table: Number of the table.
        runs: The runs, by data and method.
        command: The command line, for the record.
        out: Folder to write to.
        plot: Whether to draw the plot.
    """
    own = {
        id(run): run
        for column in spec.tables[table].columns
        for method in spec.tables[table].rows
        for run in runs.get((column.data, method), ())
    }
    results = [result for run in own.values() if (result := run.result())]
    values = collect_values(spec, table, runs)
    judged = judge_all(spec, table, values)
    machines = dict.fromkeys(
        ', '.join(f'{name} {value}' for name, value in result['machine'].items()) for result in results
    )
    about = dict(
        command=command,
        date=datetime.now().astimezone().isoformat(timespec='seconds'),
        machine='; '.join(machines) or 'no machine yet',
        runs=len(own),
        done=len(results),
    )
    out.mkdir(parents=True, exist_ok=True)
    stem = f'table_{table}'
    (out / f'{stem}.md').write_text(make_page(spec, table, values, judged, about), encoding='utf-8')
    record = dict(table=table, protocol=spec.protocol, about=about, values=values, orderings=judged, results=results)
    (out / f'{stem}.json').write_text(json.dumps(record, indent=2), encoding='utf-8')
    if plot:
        draw(spec, table, values, out / f'{stem}.png')


def _look_up(result: Any, field: Sequence[str | int], names: Mapping[str, str]) -> Any:
    """Follow a metric's field into a result; None where the result has no such field."""
    for key in field:
        if isinstance(key, int):
            result = result[key]
        else:
            result = result.get(key.format(**names))
        if result is None:
            return None
    return result


def value_of(result: dict[str, Any], metric: ConfigDict, column: ConfigDict) -> float | None:
    """Compute a metric of one run.

    Args:
        result: The run's result.
        metric: The metric: ``offset + scale * field * times / per``, of fields of the result.
        column: The column that it is for.

    Returns:
        The value; None where it was not measured.
    """
    names = dict(test=column.get('test', 'test'), set=column.get('set', ''))
    values = [_look_up(result, metric[name], names) if name in metric else 1 for name in ('field', 'times', 'per')]
    if None in values or not values[2]:
        return None
    field, times, per = values
    return metric.get('offset', 0) + metric.get('scale', 1) * field * times / per


def collect_values(spec: Config, table: str, runs: Runs) -> Values:
    """Collect the values of a table.

    Args:
        spec: The spec.
        table: Number of the table.
        runs: The runs, by data and method.

    Returns:
        The values of the finished runs.
    """
    values = {}
    for column in spec.tables[table].columns:
        metric = spec.metrics[column.metric]
        cells = values[column.label] = {}
        for method in spec.tables[table].rows:
            results = {run.seed: run.result() for run in runs.get((column.data, method), ())}
            found = {seed: value_of(result, metric, column) for seed, result in results.items() if result}
            cells[method] = {seed: value for seed, value in found.items() if value is not None}
    return values


def _summarise(values: Sequence[float], metric: ConfigDict, statistic: str) -> float:
    """Return the mean of the seeds, or with the statistic ``'best'`` the best of them."""
    if statistic == 'best':
        return (min if metric.better == 'less' else max)(values)
    return statistics.mean(values)


def judge(metric: ConfigDict, better: Mapping[int, float], worse: Mapping[int, float]) -> tuple[str, str] | None:
    """Judge a published ordering by the seeds that both methods have: by their means, and by each.

    Args:
        metric: The metric.
        better: Values by seed of the method that is better in the paper.
        worse: Values by seed of the other.

    Returns:
        The verdict and its reason; None where they have no seed in common.
    """
    common = sorted(better.keys() & worse.keys())
    if not common:
        return None
    sign = -1 if metric.better == 'less' else 1
    ours, theirs = (statistics.mean(side[seed] for seed in common) for side in (better, worse))
    ahead = sign * (ours - theirs)
    wins = sum(sign * (better[seed] - worse[seed]) > 0 for seed in common)
    verdict = VERDICTS[0 if ahead <= 0 else 2 if wins == len(common) else 1]
    means = ' against '.join(_write_value(mean, metric) for mean in (ours, theirs))
    return verdict, f'{means} {metric.unit}, ahead in {wins} of {len(common)} seeds'


def judge_all(spec: Config, table: str, values: Values) -> list[dict[str, str]]:
    """Judge every ordering that the paper states.

    Args:
        spec: The spec.
        table: Number of the table.
        values: The values of the table.

    Returns:
        For each ``claim`` the ``verdict`` and its ``reason``.
    """
    judged = []
    for ordering in spec.tables[table].orderings:
        column = next(column for column in spec.tables[table].columns if column.label == ordering.column)
        metric = spec.metrics[column.metric]
        for method in ordering.than:
            cells = values[column.label]
            found = judge(metric, cells.get(ordering.better, {}), cells.get(method, {}))
            claim = f'{column.label}: {spec.methods[ordering.better]} better than {spec.methods[method]}'
            verdict, reason = found or ('not measured', '')
            judged.append(dict(claim=claim, verdict=verdict, reason=reason))
    return judged


def _write_value(value: float, metric: ConfigDict) -> str:
    return f'{value:.{metric.digits}f}'


def _write_cell(column: ConfigDict, metric: ConfigDict, values: Values, method: str) -> str:
    """Write a cell: mean and standard deviation, or the best; how many seeds, if others have more; the published."""
    own = values[column.label][method]
    parts = []
    if own:
        statistic = column.get('statistic', 'mean')
        text = _write_value(_summarise(list(own.values()), metric, statistic), metric)
        if statistic == 'mean' and len(own) > 1:
            text += f' ± {_write_value(statistics.stdev(own.values()), metric)}'
        if len(own) < max(len(cell) for cells in values.values() for cell in cells.values()):
            text += f' (n={len(own)})'
        parts.append(text)
    published = column.get('published', {}).get(method)
    if published is not None:
        parts.append(f'*{published:g}*')
    return ' '.join(parts) or '–'


def make_page(
    spec: Config, table: str, values: Values, judged: Sequence[dict[str, str]], about: Mapping[str, Any]
) -> str:
    """Write a table as Markdown.

    Args:
        spec: The spec.
        table: Number of the table.
        values: The values of the table.
        judged: Return value of :func:`judge_all`.
        about: ``command``, ``date``, ``machine``, and the numbers of ``runs`` and of those ``done``.

    Returns:
        The page.
    """
    columns = spec.tables[table].columns
    metrics = [spec.metrics[column.metric] for column in columns]
    heads = [f'{column.label} [{metric.unit}]' for column, metric in zip(columns, metrics, strict=True)]
    rows = [['', *heads], ['---'] * (len(columns) + 1)]
    for method in spec.tables[table].rows:
        cells = [_write_cell(column, metric, values, method) for column, metric in zip(columns, metrics, strict=True)]
        if any(cell != '–' for cell in cells):
            rows.append([spec.methods[method], *cells])
    lines = [f'# Table {table}: {spec.tables[table].title}', '']
    lines += [f'| {" | ".join(row)} |' for row in rows]
    if judged:
        lines += ['', '| the paper says | here | |', '| --- | --- | --- |']
        lines += [f'| {entry["claim"]} | {entry["verdict"]} | {entry["reason"]} |' for entry in judged]
    data = dict.fromkeys(spec.data_names[column.data] for column in columns)
    lines += ['', f'Data: {"; ".join(data)}.', '', f'Protocol: {spec.protocol}', '', NOTES]
    lines += [f'{about["done"]} of {about["runs"]} runs are done. {about["date"]}, {about["machine"]}.', '']
    lines += [f'    {about["command"]}', '']
    return '\n'.join(lines)


def draw(spec: Config, table: str, values: Values, path: Path) -> None:
    """Draw a panel for every column: a disc for the mean of every method, a dot for every seed, a cross as published.

    Published costs are not drawn: they are of other sizes on another machine, out of the range of ours.

    Args:
        spec: The spec.
        table: Number of the table.
        values: The values of the table; without any, there is no plot.
        path: Output file, in any format that matplotlib supports.
    """
    columns = [column for column in spec.tables[table].columns if any(values[column.label].values())]
    rows = [method for method in spec.tables[table].rows if any(values[column.label][method] for column in columns)]
    if not columns:
        return
    figure = Figure(figsize=(1.6 + 2.5 * len(columns), 1.1 + 0.36 * len(rows)), layout='constrained')
    axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
    for axis, column in zip(axes, columns, strict=True):
        metric = spec.metrics[column.metric]
        for row, method in enumerate(rows):
            own = list(values[column.label][method].values())
            if own:
                centre = _summarise(own, metric, column.get('statistic', 'mean'))
                axis.plot(centre, row, 'o', color=f'C{row % 10}', markersize=11, alpha=0.6)
                axis.plot(own, [row] * len(own), 'o', color='black', markersize=3)
            published = column.get('published', {}).get(method)
            if published is not None and metric.field[0] != 'cost':
                axis.plot(published, row, 'x', color='black')
        axis.set(title=column.label, xlabel=f'{metric.unit}, {metric.better} is better')
        axis.title.set_fontsize(9)
        axis.set_yticks(range(len(rows)), [spec.methods[method] for method in rows])
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.grid(axis='y', alpha=0.3)
        axis.margins(x=0.1)
        axis.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=100)
