"""Test a trained model from its config and a checkpoint.

python tools/test.py configs/rescaps/digits.py work_dirs/digits/epoch_40.pth
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from mmengine import dump
    from mmengine.config import ConfigDict
    from mmengine.dist import is_main_process
    from mmengine.evaluator import DumpResults

    import rescaps_plugin  # noqa: F401  (registers the models, makes mmcv-lite suffice)
    from rescaps_plugin.cli.arguments import (
        add_precision_arguments,
        add_run_arguments,
        parse_run_arguments,
        set_precision,
    )
    from rescaps_plugin.cli.config import load_config, require, set_work_dir, with_pipeline
    from rescaps_plugin.cli.config_errors import config_errors
    from rescaps_plugin.cli.outputs import check_writable
    from rescaps_plugin.training.checkpoint_loader import MatchCheckpointHook, check_exists, open_safely
    from rescaps_plugin.training.checkpoint_writer import whole_files
    from rescaps_plugin.training.runner import build_runner


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('--out', help='file for the results: .pkl, and for metrics also .json or .yaml')
    parser.add_argument('--out-item', choices=['metrics', 'pred'], help='what --out receives; default: pred')
    add_precision_arguments(parser)
    parser.add_argument('--tta', action='store_true', help="test-time augmentation by the config's tta_* fields")
    add_run_arguments(parser)
    args = parse_run_arguments(parser, argv)
    if args.out_item is not None and args.out is None:
        parser.error('--out-item needs --out FILE')
    if args.out is not None:
        suffixes = {'metrics': ('.json', '.yaml', '.yml', '.pkl', '.pickle')}.get(args.out_item, ('.pkl', '.pickle'))
        if Path(args.out).suffix not in suffixes:
            parser.error(f'--out {args.out}: {args.out_item or "pred"} can be saved as {", ".join(suffixes)}')
    return args


def configure(args):
    cfg = load_config(args.config, args.cfg_options)
    require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    set_work_dir(cfg, args.work_dir)
    cfg.launcher = args.launcher
    check_exists(args.checkpoint)
    if args.out is not None:
        check_writable(args.out, '--out')
    cfg.load_from, cfg.resume = args.checkpoint, False
    set_precision(cfg, args)
    if args.tta:
        require(cfg, 'tta_model', 'tta_pipeline')
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
        cfg.test_dataloader.dataset = with_pipeline(cfg.test_dataloader.dataset, cfg.tta_pipeline)
    return cfg


def main(argv=None):
    args = parse_args(argv)
    with user_errors():
        cfg = configure(args)
        with open_safely(args.checkpoint, trust=args.trust_checkpoint), config_errors(cfg):
            runner = build_runner(cfg, MatchCheckpointHook())
            if args.out and args.out_item != 'metrics':
                runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
            metrics = runner.test()
    if args.out and args.out_item == 'metrics' and is_main_process():
        with whole_files():
            dump(metrics, args.out)
    saved = args.out or Path(runner.log_dir, f'{runner.timestamp}.json')
    runner.logger.info(f'Testing is done. Results: {saved}. Logs: {runner.log_dir}')


if __name__ == '__main__':
    sys.exit(main())
