"""Test a trained model from its config and a checkpoint, or a published model by its name.

python tools/test.py configs/rescaps/digits.py work_dirs/digits/epoch_40.pth
python tools/test.py rescaps-tiny_digits
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import (
        add_precision_arguments,
        add_run_arguments,
        check_launcher,
    )
    from rescaps_plugin.training.model_arguments import add_model_arguments, parse_model_arguments
    from rescaps_plugin.training.test_command import run


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument('--out', help='file for the results: .pkl, and for metrics also .json or .yaml')
    parser.add_argument('--out-item', choices=['metrics', 'pred'], help='results to write to --out; default: pred')
    add_precision_arguments(parser)
    parser.add_argument(
        '--prepack', action='store_true', help='deploy form with weights packed for the processor: faster on a CPU'
    )
    parser.add_argument('--tta', action='store_true', help="test-time augmentation by the config's tta_* fields")
    add_run_arguments(parser)
    args = parse_model_arguments(parser, argv)
    check_launcher(parser, args)
    if args.out_item is not None and args.out is None:
        parser.error('--out-item needs --out FILE')
    if args.prepack and args.compile:
        parser.error('--prepack does not go with --compile')
    if args.out is not None:
        suffixes = {'metrics': ('.json', '.yaml', '.yml', '.pkl', '.pickle')}.get(args.out_item, ('.pkl', '.pickle'))
        if Path(args.out).suffix not in suffixes:
            parser.error(f'--out {args.out}: {args.out_item or "pred"} can be saved as {", ".join(suffixes)}')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
