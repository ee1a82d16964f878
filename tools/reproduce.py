"""Run the experiments behind the paper's tables, and write the tables.

    python tools/reproduce.py --table I --budget cpu --seeds 3
    python tools/reproduce.py --table IV VII --budget paper
    python tools/reproduce.py --table all --budget cpu --dry-run
    python tools/reproduce.py --table viewpoints --budget viewpoints --seeds 3

Every experiment is trained with tools/train.py and tested with tools/test.py. Finished steps are skipped, interrupted
trainings resume from their last checkpoint, and tables that share an experiment share its runs, so the command can be
stopped at any time and run again. Two of these commands may run at the same time. Writes Markdown, JSON and a plot for
every table to work_dirs/reproduce/<budget>/.

--budget paper: the configs as they are, on the whole data, for GPUs. --budget cpu: a reduced protocol, the same for
every method, see configs/reproduce/README.md. --budget viewpoints: only the table viewpoints, accuracy on novel
viewpoints of CPU-sized networks. --budget learning_rates: the table learning_rates, errors of the cpu budget at four
learning rates on training images that are not trained on. --budget PATH: a config of your own, like
configs/reproduce/cpu.py.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.analysis.reproduce_command import BUDGETS, run
    from rescaps_plugin.cli.arguments import positive_int, typed_command


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--table', nargs='+', required=True, metavar='N', help='numbers of tables, or all')
    parser.add_argument('--budget', default='paper', metavar='B', help=f'{", ".join(sorted(BUDGETS))} or a path')
    parser.add_argument('--seeds', type=positive_int, default=1, metavar='N', help='seeds 0 to N-1; default: 1')
    parser.add_argument('--methods', nargs='+', metavar='M', help='run only these rows; default: all')
    parser.add_argument('--data', nargs='+', metavar='D', help='run only these data sets; default: all')
    parser.add_argument('--dry-run', action='store_true', help='run nothing, list the runs and their state')
    parser.add_argument('--write-only', action='store_true', help='run nothing, write the tables from finished runs')
    parser.add_argument('--runs', type=Path, default=Path('work_dirs/reproduce/runs'), help='folder of the runs')
    parser.add_argument('--out-dir', type=Path, help='folder of the tables; default: work_dirs/reproduce/<budget>')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv), typed_command('reproduce', argv))


if __name__ == '__main__':
    main()
