"""Implementation of ``tools/reproduce.py``."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from mmengine.config import Config

from rescaps_plugin.analysis.experiments import Experiment, Run, RunError
from rescaps_plugin.analysis.paper_tables import write_table
from rescaps_plugin.cli.config import load_config, require
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.main import ROOT
from rescaps_plugin.cli.outputs import check_folder_writable

BUDGETS = {path.stem: path for path in (ROOT / 'configs/reproduce').glob('*.py') if path.stem != 'tables'}


def run(args: Namespace, command: str) -> None:
    """Run the experiments behind tables, and write the tables after each of them.

    Args:
        args: Arguments of ``tools/reproduce.py``.
        command: The command line, for the record.

    Raises:
        UserError: A budget, table, method or data set is unknown; a budget of the user's has the name of another; a
            package or a file that a run needs is missing; a folder cannot be written; or runs failed.
        SystemExit: Interrupted by Ctrl-C.
    """
    spec = load_config(str(BUDGETS.get(args.budget, args.budget)))
    require(spec, 'tables', 'metrics', 'methods', 'experiments', 'protocol', 'data_names')
    tables = _choose_tables(spec, args.table)
    _check_names('--methods', args.methods, spec.methods)
    _check_names('--data', args.data, spec.experiments)
    runs = _build_runs(spec, tables, args.seeds, args.runs)
    chosen = [
        own
        for (data, method), own in runs.items()
        if data in (args.data or [data]) and method in (args.methods or [method])
    ]
    # Seed by seed, so that all tables have results early.
    queue = list(dict.fromkeys(own[seed] for seed in range(args.seeds) for own in chosen))
    if args.dry_run:
        for each in queue:
            print(f'{each.state:>6}  {each.name}  {each.folder}')
        return
    out = args.out_dir or _default_folder(spec)
    check_folder_writable(out, '--out-dir')
    failures = []
    if not args.write_only:
        check_folder_writable(args.runs, '--runs')
        for each in queue:
            if each.state != 'done':
                each.experiment.check_packages()
        try:
            for number, each in enumerate(queue, 1):
                if each.state == 'done':
                    continue
                print(f'{datetime.now():%H:%M:%S} {number} of {len(queue)}: {each.name}', flush=True)
                try:
                    each.execute()
                except RunError as error:
                    failures.append(error)
                    print(f'  {error}', file=sys.stderr, flush=True)
                for table in tables:
                    write_table(spec, table, runs, command, out, plot=False)
        except KeyboardInterrupt:
            sys.exit('interrupted: run the same command again to resume.')
    for table in tables:
        write_table(spec, table, runs, command, out, plot=True)
        print((out / f'table_{table}.md').read_text(encoding='utf-8'))
    if failures:
        raise UserError(f'{len(failures)} of {len(queue)} runs are missing: ' + ' '.join(map(str, failures)))


def _default_folder(spec: Config) -> Path:
    path = Path(spec.filename)
    if path.stem in BUDGETS and path.resolve() != BUDGETS[path.stem].resolve():
        raise UserError(
            f'--budget {path} has the name of the budget {path.stem}, whose tables it would replace: set --out-dir.'
        )
    return Path('work_dirs/reproduce', path.stem)


def _choose_tables(spec: Config, names: Sequence[str]) -> list[str]:
    if 'all' in names:
        return list(spec.tables)
    for name in names:
        if name not in spec.tables:
            raise UserError(f'--table {name}: must be one of {", ".join(spec.tables)}, or all.')
    return list(dict.fromkeys(names))


def _check_names(option: str, names: Sequence[str] | None, known: Iterable[str]) -> None:
    for name in names or ():
        if name not in known:
            raise UserError(f'{option} {name}: must be one of {", ".join(known)}.')


def _build_runs(spec: Config, tables: Sequence[str], seeds: int, folder: Path) -> dict[tuple[str, str], list[Run]]:
    """Build the runs for the data and method of every cell: those of the seeds, and all that are done.

    An experiment that cells share is built once, with the name of the first of them in the spec.
    """
    runs, built, names = {}, {}, {}
    for data, methods in spec.experiments.items():
        for method, definition in methods.items():
            names.setdefault(json.dumps(definition, default=str), f'{data}-{method}')
    for table in tables:
        for column in spec.tables[table].columns:
            for method in spec.tables[table].rows:
                definition = spec.experiments.get(column.data, {}).get(method)
                key = column.data, method
                if definition is None or key in runs:
                    continue
                text = json.dumps(definition, default=str)
                if text not in built:
                    built[text] = Experiment(names[text], definition).find_runs(seeds, folder)
                runs[key] = built[text]
    return runs
