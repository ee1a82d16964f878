"""List the published models, or print the card of one.

python tools/zoo.py                        # all
python tools/zoo.py --task saliency
python tools/zoo.py rescaps-small_mnist    # data, results, training and limits of a model
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.zoo.list_command import run
    from rescaps_plugin.zoo.tasks import TASKS


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('name', nargs='?', help='name of a model, or its name in timm')
    parser.add_argument('--task', choices=TASKS, help='list the models of one task')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
