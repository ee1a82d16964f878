"""Train a model from a config: ours, MMPretrain's, MMSegmentation's, or any other for MMEngine.

python tools/train.py configs/rescaps/digits.py
python tools/train.py mmpretrain::resnet/resnet18_8xb16_cifar10.py --amp
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    import rescaps_plugin  # noqa: F401  (registers the models, makes mmcv-lite suffice)
    from rescaps_plugin.cli.arguments import (
        add_precision_arguments,
        add_run_arguments,
        parse_run_arguments,
        set_precision,
    )
    from rescaps_plugin.cli.config import load_config, require, set_work_dir
    from rescaps_plugin.cli.config_errors import config_errors
    from rescaps_plugin.training.checkpoint_loader import MatchCheckpointHook, open_safely
    from rescaps_plugin.training.resume import configure_resume
    from rescaps_plugin.training.runner import build_runner
    from rescaps_plugin.training.work_dir import check_work_dir


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a value, from the latest in the work directory, if there is one',
    )
    add_precision_arguments(parser)
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the batch size over all processes, relative to the config's auto_scale_lr",
    )
    parser.add_argument('--seed', type=int, help="random seed; default: the config's, or a random one")
    parser.add_argument('--deterministic', action='store_true', help='only algorithms that give the same result twice')
    add_run_arguments(parser)
    return parse_run_arguments(parser, argv)


def configure(args):
    cfg = load_config(args.config, args.cfg_options)
    require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    set_work_dir(cfg, args.work_dir)
    cfg.launcher = args.launcher
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        require(cfg, 'auto_scale_lr')
        cfg.auto_scale_lr.enable = True
    cfg.setdefault('randomness', dict(seed=None))
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True
    resume = args.resume or (cfg.get('resume') and (cfg.get('load_from') or 'auto'))
    if resume:
        configure_resume(cfg, resume)
    set_precision(cfg, args)
    return cfg


def main(argv=None):
    args = parse_args(argv)
    with user_errors():
        cfg = configure(args)
        check_work_dir(cfg.work_dir, cfg.launcher)
        start = cfg.get('load_from')
        hooks = [MatchCheckpointHook(partial=not cfg.get('resume'))] if start else []
        with open_safely(start, trust=args.trust_checkpoint), config_errors(cfg):
            runner = build_runner(cfg, *hooks)
            runner.logger.info(f'Random seed: {runner.seed}')
            runner.train()
    saved = {name: runner.message_hub.get_info(key) for name, key in (('last', 'last_ckpt'), ('best', 'best_ckpt'))}
    checkpoints = ', '.join(f'{path} ({name})' for name, path in saved.items() if path) or 'none saved'
    runner.logger.info(f'Training is done. Checkpoints: {checkpoints}. Logs: {runner.log_dir}')


if __name__ == '__main__':
    sys.exit(main())
