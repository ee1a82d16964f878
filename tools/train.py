"""Train a model from a config: ours, MMPretrain's, MMSegmentation's, or any other for MMEngine.

python tools/train.py configs/rescaps/digits.py
python tools/train.py mmpretrain::resnet/resnet18_8xb16_cifar10.py --amp
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import add_precision_arguments, add_run_arguments, check_launcher, seed
    from rescaps_plugin.training.train_command import run


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint; without a value, from the latest in the work directory, if there is one',
    )
    add_precision_arguments(parser)
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size over all processes, relative to the config's auto_scale_lr",
    )
    parser.add_argument('--seed', type=seed, help="random seed; default: the config's, or a random one")
    parser.add_argument('--deterministic', action='store_true', help='use deterministic algorithms only')
    add_run_arguments(parser)
    args = parser.parse_args(argv)
    check_launcher(parser, args)
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
