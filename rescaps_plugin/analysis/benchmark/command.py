"""Implementation of ``tools/benchmark.py``."""

import time
from argparse import Namespace

import torch

from rescaps_plugin.analysis.benchmark.comparison import run_comparison
from rescaps_plugin.analysis.benchmark.report import save
from rescaps_plugin.analysis.benchmark.sweep import run_sweep
from rescaps_plugin.analysis.machine import describe_run
from rescaps_plugin.cli.outputs import check_folder_writable


def run(args: Namespace, command: str) -> None:
    """Time a data loader or a detector end to end, measure the growth of cost, or compare candidates.

    Args:
        args: Arguments of ``tools/benchmark.py``.
        command: The command line, for the record.

    Raises:
        UserError: The folder cannot be written, the config cannot be used, a candidate is unknown, or nothing could be
            measured.
    """
    deadline = time.monotonic() + args.time_limit
    check_folder_writable(args.out_dir, '--out-dir')
    if args.loader or args.pipeline:  # the others measure in processes of their own
        torch.set_num_threads(args.threads)
    if args.loader:
        _run_loader(args, command)
        return
    if args.pipeline:
        _run_pipeline(args, command)
        return
    forms = ('+channels_last' if args.channels_last else '') + (f'+{args.amp}' if args.amp else '')
    names = [name + forms for name in args.names]
    if args.sweep:
        run_sweep(args, names, command, deadline)
        return
    reference = (args.reference or args.names[0]) + forms
    if reference not in names:
        names.insert(0, reference)
    run_comparison(args, names, reference, command, deadline)


def _run_loader(args: Namespace, command: str) -> None:
    # Imported here, so that a comparison of timm models does not need mmengine.
    from rescaps_plugin.analysis.benchmark.loader import make_loader_page, measure_loader

    speed = measure_loader(args.loader, args.cfg_options, str(args.out_dir), args.min_time)
    page = make_loader_page(args.loader, speed)
    save(args.out_dir, {**describe_run(speed.device, args.threads, command), **speed._asdict()}, page)
    print(page, end='')


def _run_pipeline(args: Namespace, command: str) -> None:
    # Imported here, so that a comparison of timm models does not need mmsegmentation.
    from rescaps_plugin.analysis.pipeline import make_pipeline_page, measure_pipeline

    speed = measure_pipeline(args.pipeline, args.repeats)
    page = make_pipeline_page(args.pipeline, speed)
    save(args.out_dir, {**describe_run('cpu', args.threads, command), **speed._asdict()}, page)
    print(page, end='')
