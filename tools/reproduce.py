"""Run the experiments behind the paper's tables, and write the tables.

    python tools/reproduce.py --table I --budget cpu --seeds 3
    python tools/reproduce.py --table IV VII --budget paper
    python tools/reproduce.py --table all --budget cpu --dry-run

Every experiment is a training by tools/train.py and a test by tools/test.py. What is done is skipped, what was
interrupted goes on from its last checkpoint, and tables that share an experiment share its runs: stop whenever you
like, and give the same command again. Two of these commands may run side by side. Writes for every table Markdown, JSON
and a plot to work_dirs/reproduce/<budget>/.

--budget paper: the configs as they are, on the whole data, for GPUs. --budget cpu: a reduced protocol, the same for
every method, see configs/reproduce/README.md. --budget PATH: your own, a config like configs/reproduce/cpu.py.
"""

import json
import shlex
import statistics
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import datetime
from pathlib import Path

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from matplotlib.figure import Figure

    import rescaps_plugin  # noqa: F401  (registers the models, makes mmcv-lite suffice)
    from rescaps_plugin.analysis.experiments import ROOT, Experiment, Run, RunError
    from rescaps_plugin.cli.arguments import positive_int
    from rescaps_plugin.cli.config import load_config, require

BUDGETS = {path.stem: path for path in (ROOT / 'configs/reproduce').glob('*.py') if path.stem != 'tables'}
VERDICTS = ('does not hold', 'holds on average, not for every seed', 'holds')

NOTES = """\
Mean and standard deviation over the seeds, *in italics* what the paper published. Times are those of the model's steps,
on a CPU as CPU time; memory is the peak of a training above what was in use before it, at the batch size of the
protocol. The paper measured its times and memory on an NVIDIA RTX 3090 Ti at its own sizes.
"""


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--table', nargs='+', required=True, metavar='N', help='numbers of tables, or all')
    parser.add_argument('--budget', default='paper', metavar='B', help=f'{", ".join(sorted(BUDGETS))} or a path')
    parser.add_argument('--seeds', type=positive_int, default=1, metavar='N', help='seeds 0 to N-1; default: 1')
    parser.add_argument('--methods', nargs='+', metavar='M', help='run only these rows; default: all')
    parser.add_argument('--data', nargs='+', metavar='D', help='run only on these data; default: all')
    parser.add_argument('--dry-run', action='store_true', help='say what would be run and what is done')
    parser.add_argument('--write-only', action='store_true', help='run nothing, write the tables of what is done')
    parser.add_argument('--runs', type=Path, default=Path('work_dirs/reproduce/runs'), help='folder of the runs')
    parser.add_argument('--out', type=Path, help='folder of the tables; default: work_dirs/reproduce/<budget>')
    return parser.parse_args(argv)


def choose_tables(spec, names):
    if 'all' in names:
        return list(spec.tables)
    for name in names:
        if name not in spec.tables:
            raise UserError(f'--table {name}: there are {", ".join(spec.tables)}, or all.')
    return list(dict.fromkeys(names))


def check_choice(option, names, known):
    for name in names or ():
        if name not in known:
            raise UserError(f'{option} {name}: there are {", ".join(known)}.')


def collect_runs(spec, tables, seeds, folder):
    """Give for every cell's data and method the runs of all seeds; an experiment is built once."""
    runs, built = {}, {}
    for table in tables:
        for column in spec.tables[table].columns:
            for method in spec.tables[table].rows:
                definition = spec.experiments.get(column.data, {}).get(method)
                key = column.data, method
                if definition is None or key in runs:
                    continue
                # Data of two names may be the same experiment.
                text = json.dumps(definition, default=str)
                if text not in built:
                    experiment = Experiment(f'{column.data}-{method}', definition)
                    built[text] = [Run(experiment, seed, folder) for seed in range(seeds)]
                runs[key] = built[text]
    return runs


def look_up(result, field, names):
    """Follow a metric's field into a result; None where the result has nothing there."""
    for key in field:
        if isinstance(key, int):
            result = result[key]
        else:
            result = result.get(key.format(**names))
        if result is None:
            return None
    return result


def value_of(result, metric, column):
    """Compute a metric of one run; None where it was not measured."""
    names = dict(test=column.get('test', 'test'), set=column.get('set', ''))
    values = [look_up(result, metric[name], names) if name in metric else 1 for name in ('field', 'times', 'per')]
    if None in values or not values[2]:
        return None
    field, times, per = values
    return metric.get('offset', 0) + metric.get('scale', 1) * field * times / per


def measure(spec, table, runs):
    """Give the values of every column and method, by seed."""
    values = {}
    for column in spec.tables[table].columns:
        metric = spec.metrics[column.metric]
        cells = values[column.label] = {}
        for method in spec.tables[table].rows:
            results = {run.seed: run.result() for run in runs.get((column.data, method), ())}
            found = {seed: value_of(result, metric, column) for seed, result in results.items() if result}
            cells[method] = {seed: value for seed, value in found.items() if value is not None}
    return values


def summarise(values, metric, statistic):
    """Give what stands for the seeds: their mean, or the best."""
    if statistic == 'best':
        return (min if metric.better == 'less' else max)(values)
    return statistics.mean(values)


def judge(metric, better, worse):
    """Judge a published ordering by the means, and by the seeds that both have.

    Returns:
        The verdict and its reason; None where one side has no values.
    """
    if not better or not worse:
        return None
    sign = -1 if metric.better == 'less' else 1
    ahead = sign * (statistics.mean(better.values()) - statistics.mean(worse.values()))
    common = sorted(better.keys() & worse.keys())
    wins = sum(sign * (better[seed] - worse[seed]) > 0 for seed in common)
    verdict = VERDICTS[0 if ahead <= 0 else 2 if wins == len(common) else 1]
    means = ' against '.join(write_value(statistics.mean(side.values()), metric) for side in (better, worse))
    return verdict, f'{means} {metric.unit}, ahead in {wins} of {len(common)} seeds'


def judge_all(spec, table, values):
    """Judge every ordering that the paper states and that both sides were measured for."""
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


def write_value(value, metric):
    return f'{value:.{metric.digits}f}'


def write_cell(column, metric, values, method):
    """Write a cell: mean and deviation, or the best, and what was published."""
    own = values[column.label][method]
    parts = []
    if own:
        statistic = column.get('statistic', 'mean')
        text = write_value(summarise(list(own.values()), metric, statistic), metric)
        if statistic == 'mean' and len(own) > 1:
            text += f' ± {write_value(statistics.stdev(own.values()), metric)}'
        parts.append(text)
    published = column.get('published', {}).get(method)
    if published is not None:
        parts.append(f'*{published:g}*')
    return ' '.join(parts) or '–'


def make_page(spec, table, values, judged, about):
    columns = spec.tables[table].columns
    metrics = [spec.metrics[column.metric] for column in columns]
    heads = [f'{column.label} [{metric.unit}]' for column, metric in zip(columns, metrics, strict=True)]
    rows = [['', *heads], ['---'] * (len(columns) + 1)]
    for method in spec.tables[table].rows:
        cells = [write_cell(column, metric, values, method) for column, metric in zip(columns, metrics, strict=True)]
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


def draw(spec, table, values, path):
    """Draw a panel for every column: a disc for the mean of every method, a dot for every seed, a cross as published.

    Published costs stay in the table: they are of other sizes on another machine, and would leave no room for ours.
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
                centre = summarise(own, metric, column.get('statistic', 'mean'))
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


def write_table(spec, table, runs, command, out, plot):
    """Write a table as it stands."""
    own = {
        id(run): run
        for column in spec.tables[table].columns
        for method in spec.tables[table].rows
        for run in runs.get((column.data, method), ())
    }
    results = [result for run in own.values() if (result := run.result())]
    values = measure(spec, table, runs)
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


def main(argv=None):
    args = parse_args(argv)
    command = shlex.join(['python', 'tools/reproduce.py', *(sys.argv[1:] if argv is None else argv)])
    with user_errors():
        spec = load_config(str(BUDGETS.get(args.budget, args.budget)))
        require(spec, 'tables', 'metrics', 'methods', 'experiments', 'protocol', 'data_names')
        tables = choose_tables(spec, args.table)
        out = args.out or Path('work_dirs/reproduce', Path(args.budget).stem)
        check_choice('--methods', args.methods, spec.methods)
        check_choice('--data', args.data, spec.experiments)
        runs = collect_runs(spec, tables, args.seeds, args.runs)
        chosen = [
            own
            for (data, method), own in runs.items()
            if data in (args.data or [data]) and method in (args.methods or [method])
        ]
        # Seed by seed, so that all tables have something early.
        queue = list(dict.fromkeys(own[seed] for seed in range(args.seeds) for own in chosen))
        if args.dry_run:
            for run in queue:
                print(f'{run.state:>6}  {run.name}  {run.folder}')
            return
        failures = []
        try:
            for number, run in enumerate([] if args.write_only else queue, 1):
                if run.state == 'done':
                    continue
                print(f'{datetime.now():%H:%M:%S} {number} of {len(queue)}: {run.name}', flush=True)
                try:
                    run.execute()
                except RunError as error:
                    failures.append(error)
                    print(f'  {error}', file=sys.stderr, flush=True)
                for table in tables:
                    write_table(spec, table, runs, command, out, plot=False)
        except KeyboardInterrupt:
            sys.exit('interrupted: the same command goes on from here.')
        for table in tables:
            write_table(spec, table, runs, command, out, plot=True)
            print((out / f'table_{table}.md').read_text(encoding='utf-8'))
        if failures:
            raise UserError(f'{len(failures)} of {len(queue)} runs are missing: ' + ' '.join(map(str, failures)))


if __name__ == '__main__':
    main()
