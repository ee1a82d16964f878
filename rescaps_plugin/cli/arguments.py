"""Command-line arguments shared by the tools."""

import os
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence

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


def parse_run_arguments(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Parse the arguments and check the launcher.

    Args:
        parser: A parser with :func:`add_run_arguments`.
        argv: The arguments. Defaults to those of the command line.

    Returns:
        The parsed arguments.
    """
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.launcher == 'pytorch' and 'RANK' not in os.environ:
        parser.error('--launcher pytorch: start the processes with torchrun or with tools/dist_*.sh')
    return args
