"""Implementation of ``tools/test.py``."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from mmengine import dump
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from rescaps_plugin.cli.arguments import set_precision
from rescaps_plugin.cli.config import load_config, require, set_work_dir, with_pipeline
from rescaps_plugin.cli.config_errors import config_errors
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import check_writable
from rescaps_plugin.models.prepack import prepack
from rescaps_plugin.training.checkpoint_loader import MatchCheckpointHook, check_exists, open_safely
from rescaps_plugin.training.checkpoint_writer import whole_files
from rescaps_plugin.training.runner import build_runner


class PrepackHook(Hook):
    """Test a copy of the model in its deploy form with packed weights."""

    # After hooks that change the weights, such as EMAHook.
    priority = 'LOWEST'

    def before_test_epoch(self, runner: Runner) -> None:
        """Replace the model."""
        self._model = runner.model
        runner.model = prepack(runner.model.module if is_model_wrapper(runner.model) else runner.model)

    def after_test_epoch(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Restore the model."""
        runner.model = self._model


def run(args: Namespace) -> None:
    """Test a trained model.

    Args:
        args: Arguments of ``tools/test.py``.

    Raises:
        UserError: The config or the checkpoint cannot be used, or the results cannot be written.
    """
    cfg = _configure(args)
    with open_safely(args.checkpoint, trust=args.trust_checkpoint), config_errors(cfg):
        runner = build_runner(cfg, MatchCheckpointHook(), *[PrepackHook()] * args.prepack)
        if args.out and args.out_item != 'metrics':
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        metrics = runner.test()
    if args.out and args.out_item == 'metrics' and is_main_process():
        with whole_files():
            dump(metrics, args.out)
    saved = args.out or Path(runner.log_dir, f'{runner.timestamp}.json')
    runner.logger.info(f'Testing is done. Results: {saved}. Logs: {runner.log_dir}')


def _configure(args: Namespace) -> Config:
    """Read the config, and apply the arguments to it."""
    cfg = load_config(args.config, args.cfg_options)
    require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator')
    set_work_dir(cfg, args.work_dir)
    cfg.launcher = args.launcher
    if args.prepack and (get_device() != 'cpu' or not torch.backends.mkldnn.is_available()):
        raise UserError(f'--prepack needs a CPU and a PyTorch with oneDNN; the device is {get_device()}.')
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
