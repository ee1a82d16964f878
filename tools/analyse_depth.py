"""Train capsule networks of 1 to 10 blocks of equal width, with and without residuals, and compare their gradients.

    python tools/analyse_depth.py
    python tools/analyse_depth.py --config configs/rescaps/mnist_small.py --depths 1 2 4 8 --epochs 2 --indices 3000

Compares residual pose routing (p + p w, Liu et al. 2024, eq. 14), the same without its identity (p w), and EM routing.
As batch normalisation alone can keep gradients from vanishing, rpr-no-norm and none-no-norm are the first two without
it, and scaled-no-norm is p w with a w drawn large enough to keep the scale of the poses, as the identity does. Every
network has the same types in every block, and only its first block has a stride. The norm of the loss's gradient with
respect to every block's poses is recorded at every training step. Writes depth.json, depth.md and depth.png; networks
already trained with the same config and settings are not trained again.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.analysis.analyse_depth_command import run
    from rescaps_plugin.analysis.depth import METHODS
    from rescaps_plugin.cli.arguments import positive_int, seed, typed_command


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        '--config', default='rescaps::rescaps/digits.py', help='config of data and recipe; default: %(default)s'
    )
    parser.add_argument('--depths', nargs='+', type=positive_int, default=list(range(1, 11)), metavar='N')
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=METHODS,
        default=['rpr', 'none', 'em'],
        metavar='METHOD',
        help='%(choices)s; default: rpr none em',
    )
    parser.add_argument('--types', type=positive_int, default=4, metavar='N', help='types per block; default: 4')
    parser.add_argument('--layers', type=positive_int, default=2, metavar='N', help='ResP layers per block; default: 2')
    parser.add_argument('--em-depth', type=positive_int, default=10, metavar='N', help='maximum with EM; default: 10')
    parser.add_argument('--epochs', type=positive_int, default=3, metavar='N', help='default: 3')
    parser.add_argument('--batch-size', type=positive_int, default=32, metavar='N', help='default: 32')
    parser.add_argument(
        '--indices', type=positive_int, metavar='N', help='use only the first N training samples; default: all'
    )
    parser.add_argument('--seed', type=seed, default=0)
    parser.add_argument(
        '--out-dir', type=Path, default=Path('work_dirs/depth'), help='output folder; default: %(default)s'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv), typed_command('analyse_depth', argv))


if __name__ == '__main__':
    main()
