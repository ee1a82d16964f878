"""Make the affNIST test set from the MNIST test set.

    python tools/prepare_affnist.py data/mnist data/affnist

Each of the 10,000 digits is put on a 40x40 canvas under 32 random affine transforms, in affNIST's ranges: rotation up
to 20 degrees, shear up to 0.2, scale 0.8 to 1.2 of height and width independently, and any translation that keeps the
digit inside. The images depend only on the seed, the index of the digit and the index of the transform, so --per-digit
N makes the first N transforms of the full set. The full set takes a minute and 512 MB.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.classification.datasets.affnist import PER_DIGIT
    from rescaps_plugin.classification.prepare_affnist_command import run
    from rescaps_plugin.cli.arguments import seed


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('mnist', help='folder of MNIST (downloaded if missing)')
    parser.add_argument('out', help='folder to write the set to')
    parser.add_argument(
        '--per-digit',
        type=int,
        default=PER_DIGIT,
        choices=range(1, PER_DIGIT + 1),
        metavar='N',
        help=f'transforms of each digit, 1 to {PER_DIGIT}; fewer make testing on a CPU faster',
    )
    parser.add_argument('--seed', type=seed, default=0, help='seed of the transforms')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
