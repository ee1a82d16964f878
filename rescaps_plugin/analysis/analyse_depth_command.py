"""Implementation of ``tools/analyse_depth.py``."""

import json
from argparse import Namespace

import torch

from rescaps_plugin.analysis.depth import METHODS, draw, make_page, train_once
from rescaps_plugin.analysis.machine import describe_run
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import check_folder_writable


def run(args: Namespace, command: str) -> None:
    """Train networks of every method and depth, and write their accuracy and gradients.

    Args:
        args: Arguments of ``tools/analyse_depth.py``.
        command: The command line, for the record.

    Raises:
        UserError: The folder cannot be written, the config cannot be used, or nothing is to be trained.
    """
    chosen = [
        (method, depth)
        for depth in sorted(set(args.depths))
        for method in args.methods
        if method != 'em' or depth <= args.em_depth
    ]
    if not chosen:
        raise UserError('--em-depth: nothing is left to train.')
    check_folder_writable(args.out_dir, '--out-dir')
    runs = []
    for method, depth in chosen:
        runs.append(train_once(args, method, depth))
        print(f'{METHODS[method].label}, {depth} blocks: accuracy {runs[-1]["accuracy"]:.2f} %', flush=True)
    about = describe_run('cuda' if torch.cuda.is_available() else 'cpu', torch.get_num_threads(), command)
    about['protocol'] = (
        f'{args.config}, {args.epochs} epochs, batches of {args.batch_size}, {args.types} capsule types, '
        f'{args.layers} ResP layers a block, seed {args.seed}.'
    )
    (args.out_dir / 'depth.json').write_text(json.dumps(dict(about=about, runs=runs)), encoding='utf-8')
    page = make_page(runs, about)
    (args.out_dir / 'depth.md').write_text(page, encoding='utf-8')
    draw(runs, args.out_dir / 'depth.png')
    print(page)
