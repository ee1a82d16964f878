"""Implementation of ``tools/train.py``."""

from argparse import Namespace

from mmengine.config import Config

from rescaps_plugin.cli.arguments import set_precision
from rescaps_plugin.cli.config import load_config, require, set_work_dir
from rescaps_plugin.cli.config_errors import config_errors
from rescaps_plugin.training.checkpoint_loader import MatchCheckpointHook, open_safely
from rescaps_plugin.training.precision import suggest_precision
from rescaps_plugin.training.resume import configure_resume, restore_seed
from rescaps_plugin.training.runner import build_runner
from rescaps_plugin.training.work_dir import check_work_dir


def run(args: Namespace) -> None:
    """Train a model.

    Args:
        args: Arguments of ``tools/train.py``.

    Raises:
        UserError: The config or a checkpoint cannot be used, or the work directory cannot be written.
    """
    cfg = _configure(args)
    check_work_dir(cfg.work_dir, cfg.launcher)
    start = cfg.get('load_from')
    hooks = [MatchCheckpointHook(partial=not cfg.get('resume'))] if start else []
    with open_safely(start, trust=args.trust_checkpoint), config_errors(cfg):
        if cfg.get('resume'):
            restore_seed(cfg)
        runner = build_runner(cfg, *hooks)
        runner.logger.info(f'Random seed: {runner.seed}')
        advice = suggest_precision(cfg)
        if advice:
            runner.logger.info(advice)
        runner.train()
    saved = {name: runner.message_hub.get_info(key) for name, key in (('last', 'last_ckpt'), ('best', 'best_ckpt'))}
    checkpoints = ', '.join(f'{path} ({name})' for name, path in saved.items() if path) or 'none saved'
    runner.logger.info(f'Training is done. Checkpoints: {checkpoints}. Logs: {runner.log_dir}')


def _configure(args: Namespace) -> Config:
    """Read the config, and apply the arguments to it."""
    cfg = load_config(args.config, args.cfg_options)
    require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    set_work_dir(cfg, args.work_dir)
    cfg.launcher = args.launcher
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.auto_scale_lr:
        require(cfg, 'auto_scale_lr')
        cfg.auto_scale_lr.enable = True
    cfg.randomness = cfg.get('randomness') or dict(seed=None)
    if args.seed is not None:
        cfg.randomness.seed = args.seed
    if args.deterministic:
        cfg.randomness.deterministic = True
    resume = args.resume or (cfg.get('resume') and (cfg.get('load_from') or 'auto'))
    if resume:
        configure_resume(cfg, resume)
    set_precision(cfg, args)
    return cfg
