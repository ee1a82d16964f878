"""Score folders of saved saliency maps, of one or several methods, with the metrics of published tables.

    python tools/eval_sod.py MAPS/ICON MAPS/TSPOANet data/ECSSD/ground_truth_mask
    python tools/eval_sod.py work_dirs/icon/maps data/ECSSD/ground_truth_mask --common --workers 8
    python tools/eval_sod.py predictions/cutouts/ECSSD data/ECSSD/ground_truth_mask --common --alpha --boundary

Maps and masks are matched by their file names without suffix. Writes metrics.md, metrics.csv and metrics.json, a row
for each method; curves.png, precision over recall, F- and E-measure over the threshold; and <method>.npz, the curves.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rescaps_plugin.cli.arguments import positive_int
from rescaps_plugin.cli.reporting import user_errors


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('maps', nargs='+', type=Path, metavar='PRED_DIR', help="folder of a method's maps")
    parser.add_argument('masks', type=Path, metavar='GT_DIR', help='folder of the masks')
    parser.add_argument('--names', nargs='+', help="names of the methods (default: their folders')")
    parser.add_argument('--common', action='store_true', help='score only images with a mask and a map of every method')
    parser.add_argument('--resize', action='store_true', help='resize maps to the size of their masks')
    parser.add_argument('--alpha', action='store_true', help='score the alpha channels of cut-outs')
    parser.add_argument(
        '--boundary',
        action='store_true',
        help='also score the boundaries: F-measures within 1 and 2 pixels, and within 0.75%% of the diagonal',
    )
    parser.add_argument('--workers', type=positive_int, default=1, help='number of processes (default: 1)')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs', 'eval_sod'), help='default: %(default)s')
    args = parser.parse_args(argv)
    if args.names is not None and len(args.names) != len(args.maps):
        parser.error(f'--names: {len(args.maps)} names are needed, one for each PRED_DIR, not {len(args.names)}')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        args = parse_args(argv)
        # Imported here, so that --help and argument errors do not need MMSegmentation.
        from rescaps_plugin.saliency.eval_sod_command import run

        run(args)


if __name__ == '__main__':
    main()
