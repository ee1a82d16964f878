"""Try the published models on a page in the browser: classes, salient objects, point clouds, attacks.

    python tools/demo.py
    python tools/demo.py --port 8000
    python tools/demo.py --host 0.0.0.0    # also from other machines: there is no password

The page works without a network. Files that it writes are in a temporary folder, which is removed at the end.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import positive_int
    from rescaps_plugin.demo.command import run


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--port', type=positive_int, help='port (default: the first free one from 7860)')
    parser.add_argument('--host', default='127.0.0.1', help='address (default: 127.0.0.1, this machine only)')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... (default: an accelerator if there is one, else cpu)')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
