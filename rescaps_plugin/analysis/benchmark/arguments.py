"""Command-line arguments of ``tools/benchmark.py``."""

import math
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

import torch

from rescaps_plugin.analysis.benchmark.presets import PRESETS
from rescaps_plugin.cli.arguments import add_config_options, positive_int


def size(text: str) -> str:
    """Parse one number of ``--input-size``.

    Raises:
        ArgumentTypeError: The text is neither an integer nor a product of integers and swept {KEY}s.
    """
    if not re.fullmatch(r'(\d+|{\w+})(\*(\d+|{\w+}))*', text):
        raise ArgumentTypeError(f'must be an integer, or a product like 17*{{n}}, not {text!r}')
    return text


def sweep(text: str) -> tuple[str, list[int]]:
    """Parse ``KEY=N,N,...``, a key of ``--sweep`` and its values; the first one is used while other keys grow.

    Raises:
        ArgumentTypeError: The text has another form, or fewer than two values.
    """
    key, _, values = text.partition('=')
    if not key.isidentifier() or not re.fullmatch(r'[1-9]\d*(,[1-9]\d*)+', values):
        raise ArgumentTypeError(f'must be KEY=N,N,... with two or more positive integers, not {text!r}')
    return key, [int(value) for value in values.split(',')]


def parse_args(argv: Sequence[str] | None, description: str | None = None) -> Namespace:
    """Parse the arguments.

    Args:
        argv: The arguments; None for the command line's.
        description: Text of ``--help``.

    Returns:
        The arguments, with ``targets`` of the preset.

    Raises:
        SystemExit: The arguments are invalid; the message is on stderr.
    """
    parser = _make_parser(description)
    chooser = ArgumentParser(add_help=False)
    chooser.add_argument('--loader')
    if chooser.parse_known_args(argv)[0].loader:
        add_config_options(parser)
    parser.set_defaults(targets=())
    parser.set_defaults(**PRESETS.get(parser.parse_args(argv).preset, {}))
    args = parser.parse_args(argv)
    _check(parser, args)
    args.min_time = args.min_time or (3.0 if args.loader else 0.2)
    args.device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    # Processes of many candidates on one GPU must not compete for the CPU.
    compete = args.names and args.device == 'cuda'
    args.threads = args.threads or (1 if compete else torch.get_num_threads())
    args.memory_modes = args.memory_modes or args.modes
    args.train_batch_sizes = args.train_batch_sizes or [batch for batch in args.batch_sizes if batch > 1]
    return args


def _make_parser(description: str | None) -> ArgumentParser:
    parser = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    count = dict(type=positive_int, metavar='N')
    parser.add_argument('names', nargs='*', metavar='NAME', help='candidates to compare')
    parser.add_argument('--preset', choices=PRESETS, help='predefined comparison')
    parser.add_argument('--loader', metavar='CONFIG', help="time a config's data loader; takes --cfg-options")
    parser.add_argument(
        '--pipeline', nargs='+', metavar='MODEL', help='time a detector end to end: CONFIG CHECKPOINT, NAME or FILE'
    )
    parser.add_argument('--reference', metavar='NAME', help='base of the ratios; default: the first NAME')
    parser.add_argument(
        '--input-size',
        nargs='+',
        type=size,
        metavar='N',
        default=['3', '32', '32'],
        help='shape of one input; default: 3 32 32',
    )
    parser.add_argument(
        '--sweep',
        nargs='+',
        type=sweep,
        metavar='KEY=N,N,...',
        help='vary {KEY} in a NAME or in --input-size, or the batch, with the other keys at their first N',
    )
    parser.add_argument(
        '--profile', type=positive_int, metavar='BATCH', help='also show the shares of time by kind of operation'
    )
    parser.add_argument(
        '--accuracy',
        nargs='?',
        const=0,
        type=positive_int,
        metavar='N',
        help='also measure the metrics of trained models, on N evenly spaced samples of their test sets; default: all',
    )
    parser.add_argument('--modes', nargs='+', choices=('infer', 'train'), default=['infer', 'train'])
    parser.add_argument('--batch-sizes', nargs='+', **count, default=[1, 16], help='batch sizes to time; default: 1 16')
    parser.add_argument(
        '--train-batch-sizes', nargs='+', **count, help='those of training; default: --batch-sizes above 1'
    )
    parser.add_argument('--memory-batch', **count, default=64, help='batch size for memory; default: 64')
    parser.add_argument('--memory-modes', nargs='+', choices=('infer', 'train'), help='default: --modes')
    parser.add_argument('--repeats', **count, default=7, help='rounds; default: 7')
    parser.add_argument(
        '--min-time', type=float, metavar='S', help='seconds per measurement; default: 0.2, with --loader 3'
    )
    parser.add_argument(
        '--time-limit',
        type=float,
        default=math.inf,
        metavar='S',
        help='time limit in seconds, after which finished measurements are reported; default: none',
    )
    parser.add_argument('--input-grad', action='store_true', help="train with the input's gradient, as inner layers do")
    parser.add_argument('--channels-last', action='store_true', help='+channels_last for every NAME')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='+bf16 or +fp16 for every NAME')
    parser.add_argument(
        '--device', choices=('cpu', 'cuda'), help='where NAMEs run; default: cuda if PyTorch finds a GPU, else cpu'
    )
    parser.add_argument('--threads', **count, help="CPU threads; default: PyTorch's, or 1 for NAMEs on a GPU")
    parser.add_argument(
        '--out-dir', type=Path, default=Path('work_dirs/benchmark'), help='output folder; default: %(default)s'
    )
    return parser


def _check(parser: ArgumentParser, args: Namespace) -> None:
    """Exit with a message if arguments conflict with each other or do not suit the machine."""
    for option in ('loader', 'pipeline'):
        if getattr(args, option) and (args.names or args.preset):
            parser.error(f'--{option} cannot be combined with a NAME or a --preset')
        if getattr(args, option) and args.device:
            where = 'on the CPU' if option == 'pipeline' else 'where training would'
            parser.error(f'--{option} cannot be combined with --device: it runs {where}')
    if not args.names and not args.loader and not args.pipeline:
        parser.error('give a NAME, a --preset, a --loader or a --pipeline')
    kinds = ('loader', 'pipeline', 'sweep')
    given = [option for option in (*kinds, 'accuracy', 'profile') if getattr(args, option) is not None]
    # The second would have no effect.
    if len(given) > 1 and given[0] in kinds:
        parser.error(f'--{given[0]} cannot be combined with --{given[1]}')
    keys = [key for key, _ in args.sweep or []]
    for text in [*args.names, *args.input_size]:
        for key in re.findall(r'{(\w+)}', text):
            if key not in keys:
                parser.error(f'{text}: --sweep does not define {{{key}}}')
    unused = [key for key in keys if key != 'batch' and f'{{{key}}}' not in ' '.join([*args.names, *args.input_size])]
    if unused:
        parser.error(f'--sweep: {{{unused[0]}}} is neither in a NAME nor in --input-size')
    if args.device == 'cuda' and not torch.cuda.is_available():
        parser.error('--device cuda: PyTorch finds no GPU')
