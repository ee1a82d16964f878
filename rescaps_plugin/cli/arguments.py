"""Command-line arguments shared by the tools."""

import math
import os
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from rescaps_plugin.cli.errors import UserError

COMPILE_MODES = ('default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs')


def positive_int(text: str) -> int:
    """Parse a positive integer.

    Args:
        text: Value on the command line.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: The number is less than 1; argparse reports it with the argument's name.
    """
    value = int(text)
    if value < 1:
        raise ArgumentTypeError(f'must be at least 1, not {value}')
    return value


def seed(text: str) -> int:
    """Parse a random seed.

    Args:
        text: Value on the command line.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: It is not in the range of NumPy's seeds, 0 to 2**32 - 1.
    """
    value = int(text)
    if not 0 <= value < 2**32:
        raise ArgumentTypeError(f'must be from 0 to 2**32 - 1, not {value}')
    return value


def finite(text: str) -> float:
    """Parse a finite number.

    Args:
        text: Value on the command line.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: It is infinite or NaN.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ArgumentTypeError(f'must be finite, not {value}')
    return value


def fraction(text: str) -> float:
    """Read a fraction.

    Args:
        text: The argument, such as ``0.5`` or ``8/255``.

    Returns:
        The number.

    Raises:
        ArgumentTypeError: It is not a number, or not in (0, 1].
    """
    try:
        value = float(Fraction(text))
    except (ValueError, ArithmeticError) as error:
        raise ArgumentTypeError(f'must be a number or a quotient such as 8/255, not {text}') from error
    if not 0 < value <= 1:
        raise ArgumentTypeError(f'must be above 0 and at most 1, not {text}')
    return value


def colour(text: str) -> tuple[int, int, int]:
    """Read an opaque colour.

    Args:
        text: The argument: a name or ``#rrggbb``, as of ``PIL.ImageColor``.

    Returns:
        Levels of red, green and blue, from 0 to 255.

    Raises:
        ArgumentTypeError: It is not an opaque colour.
    """
    # Imported here, so that tools without colours do not need Pillow.
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)
    except ValueError as error:
        raise ArgumentTypeError(f"must be an opaque colour, such as white or '#00b140', not {text!r}") from error
    return red, green, blue


def add_device_argument(parser: ArgumentParser) -> None:
    """Add ``--device``, where models run; by default the accelerator that MMEngine finds, or the CPU.

    Args:
        parser: The tool's parser.
    """
    # Here, so that tools for timm models alone do without mmengine.
    from mmengine.device import get_device

    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')


def add_out_dir_argument(parser: ArgumentParser, default: str) -> None:
    """Add ``--out-dir``; see :func:`~rescaps_plugin.cli.outputs.choose_out_dir`.

    Args:
        parser: The tool's parser.
        default: Description of the default.
    """
    parser.add_argument('--out-dir', type=Path, help=f'folder to write to (default: {default})')


def check_predict_options(args: Namespace, classes: bool = False, maps: bool = False) -> None:
    """Refuse options of ``tools/predict.py`` that have no meaning for the model of the config.

    Args:
        args: Arguments of the tool.
        classes: Whether the model predicts classes. Defaults to False.
        maps: Whether the model predicts saliency maps. Defaults to False.

    Raises:
        UserError: Such an option is given.
    """
    if not maps and (args.overlay or args.cutout or args.refine or args.background):
        raise UserError(
            f'--overlay, --cutout, --refine and --background are of saliency maps; config {args.config} makes none.'
        )
    for option in ('refine', 'background'):
        if getattr(args, option) and not args.cutout:
            raise UserError(f'--{option} is of cut-outs; it needs --cutout.')
    if not classes and args.top_k > 1:
        raise UserError(f'--top-k is of classes; config {args.config} predicts none.')


def typed_command(tool: str, argv: Sequence[str] | None) -> str:
    """Return the command that a tool was started by, for its records.

    Args:
        tool: Name of the tool, such as ``'benchmark'``.
        argv: Its arguments; default: the command line's.
    """
    start = sys.argv[0].split() if sys.argv[0].startswith('rescaps ') else ['python', f'tools/{tool}.py']
    return shlex.join([*start, *(sys.argv[1:] if argv is None else argv)])


def add_config_options(parser: ArgumentParser) -> None:
    """Add the arguments of tools that read a config.

    Args:
        parser: The tool's parser.
    """
    # Imported here, so that tools for timm models do not need mmengine.
    from rescaps_plugin.cli.config_options import OptionAction

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionAction,
        metavar='KEY=VALUE',
        help='override config fields, e.g. train_cfg.max_epochs=5 model.head.topk="(1,5)" '
        "train_dataloader.dataset.pipeline=\"[dict(type='PackInputs')]\"; quoted numbers are strings: \"['01','02']\"",
    )


def add_config_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of tools that read a config and a checkpoint.

    Args:
        parser: The tool's parser.
    """
    add_config_options(parser)
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the given checkpoint even if it holds Python objects; they can run any code',
    )


def add_run_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of tools that run a config: work directory, config options and launcher.

    Args:
        parser: The tool's parser.
    """
    parser.add_argument('--work-dir', help="folder for logs and results; default: the config's, or work_dirs/<config>")
    add_config_arguments(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # Passed by torch.distributed.launch; torchrun sets the environment variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')


def amp_dtype(text: str) -> str:
    """Parse the value of ``--amp``.

    Raises:
        ArgumentTypeError: The value is not a dtype of mixed precision.
    """
    if text not in ('float16', 'bfloat16', 'auto'):
        raise ArgumentTypeError(f'must be float16 or bfloat16, not {text!r}; put other arguments before --amp')
    return text


def compile_mode(text: str) -> str:
    """Parse the value of ``--compile``.

    Raises:
        ArgumentTypeError: The value is not a mode of ``torch.compile``.
    """
    if text not in COMPILE_MODES:
        raise ArgumentTypeError(
            f'must be {", ".join(COMPILE_MODES)}, not {text!r}; put other arguments before --compile'
        )
    return text


def add_precision_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of precision, memory format and compilation; see :func:`set_precision`.

    Args:
        parser: The tool's parser.
    """
    parser.add_argument(
        '--amp',
        nargs='?',
        const='auto',
        type=amp_dtype,
        metavar='DTYPE',
        help='mixed precision in float16 or bfloat16; without a value bfloat16 if the device supports it, else float16',
    )
    parser.add_argument(
        '--channels-last', action='store_true', help='channels-last memory format, faster on GPUs in half precision'
    )
    parser.add_argument(
        '--compile',
        nargs='?',
        const='default',
        type=compile_mode,
        metavar='MODE',
        help='compile the networks by torch.compile, with mode default, reduce-overhead (CUDA graphs) or max-autotune; '
        'takes a minute at the start, and needs a C++ compiler',
    )


def set_precision(cfg, args: Namespace) -> None:
    """Set ``amp``, ``channels_last`` and ``compile`` in the config from the command-line arguments.

    Args:
        cfg: The runner's config, changed in place. Keys without an argument on the command line keep their values.
        args: Arguments of a parser with :func:`add_precision_arguments`.
    """
    if args.amp:
        cfg.amp = args.amp
    if args.channels_last:
        cfg.channels_last = True
    if args.compile:
        cfg.compile = dict(mode=args.compile)


def check_launcher(parser: ArgumentParser, args: Namespace) -> None:
    """Set the environment that the launcher expects, and stop if processes of a job were not started as it needs.

    Args:
        parser: A parser with :func:`add_run_arguments`.
        args: Its arguments.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        parser.error('--launcher pytorch: start the processes with torchrun or with tools/dist_*.sh')
