"""Open a trained model for a tool: its config, and the model with the weights of a checkpoint."""

import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope, init_default_scope
from torch import nn

from rescaps_plugin.cli.config import load_config, require, set_work_dir
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.pipelines import check_images
from rescaps_plugin.training.checkpoint_loader import check_exists, open_safely


def open_trained(
    config: str, checkpoint: str, args: Namespace, load: Callable[[Config, str, str], nn.Module]
) -> tuple[Config, nn.Module]:
    """Read a config and load a checkpoint of its model by the arguments of a tool.

    Args:
        config: Path of the config, or ``package::path``.
        checkpoint: Path or URL.
        args: Arguments of :func:`~rescaps_plugin.cli.arguments.add_config_arguments`, and ``device``.
        load: Function of config, checkpoint and device that builds the model and loads the checkpoint.

    Returns:
        The config, with a ``work_dir``, and the model.

    Raises:
        UserError: The config or checkpoint does not exist; or from ``load``.
    """
    cfg = load_config(config, args.cfg_options)
    require(cfg, 'model')
    cfg = _prepare(cfg, checkpoint)
    with open_safely(checkpoint, trust=args.trust_checkpoint):
        return cfg, load(cfg, checkpoint, args.device)


def load_trained(
    cfg: Config, checkpoint: str, load: Callable[[Config, str, str], nn.Module], trust: bool = False
) -> tuple[Config, nn.Module]:
    """Load a checkpoint of a config's model onto the CPU, in any scope and without a work directory.

    Args:
        cfg: The config; it is not changed.
        checkpoint: Path or URL.
        load: As in :func:`open_trained`.
        trust: Whether the checkpoint may hold Python objects, which can run any code. Defaults to False.

    Returns:
        The config, with checked image loading, and the model.

    Raises:
        UserError: The config has no model, or the checkpoint does not exist; or from ``load``.
    """
    require(cfg, 'model')
    check_exists(checkpoint)
    scope = cfg.get('default_scope')
    with DefaultScope.overwrite_default_scope(scope), open_safely(checkpoint, trust=trust), _without_build_messages():
        cfg = check_images(cfg)
        return cfg, load(cfg, checkpoint, 'cpu')


@contextmanager
def _without_build_messages() -> Iterator[None]:
    """Leave out what OpenMMLab reports while it builds a model, which belongs into the log of a training."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('WARNING')
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', '``build_loss`` would be deprecated', UserWarning)
            yield
    finally:
        logger.setLevel(level)


def call_by_scope(
    args: Namespace,
    commands: Mapping[str, str],
    work_dir: str | None = None,
    read: Callable[[str, dict[str, Any] | None], Config] | None = None,
) -> Any:
    """Call the command of a tool for the domain of a config, by the config's ``default_scope``.

    Args:
        args: Arguments of the tool: ``config``, ``checkpoint`` (None for a tool that takes none), and those of
            :func:`~rescaps_plugin.cli.arguments.add_config_arguments`.
        commands: Commands as ``'package.module:name'``, by ``default_scope``. They take the config and the arguments.
        work_dir: The user's choice of the config's ``work_dir``, if any.
        read: Function that reads the config. Defaults to None:
            :func:`~rescaps_plugin.cli.config.load_config`.

    Returns:
        What the command returns.

    Raises:
        UserError: The config or checkpoint does not exist, or there is no command for its scope; or from the command.
    """
    cfg = (read or load_config)(args.config, args.cfg_options)
    require(cfg, 'model', 'test_dataloader')
    scope = cfg.get('default_scope')
    if scope not in commands:
        raise UserError(f'config {args.config} has default_scope {scope!r}; it may be {", ".join(commands)}.')
    cfg = _prepare(cfg, args.checkpoint, work_dir)
    command = resolve_name(commands[scope])
    with open_safely(args.checkpoint, trust=args.trust_checkpoint):
        return command(cfg, args)


def _prepare(cfg: Config, checkpoint: str | None, work_dir: str | None = None) -> Config:
    """Enter the scope of a config, and return it with checked image loading and a ``work_dir``."""
    init_default_scope(cfg.get('default_scope'))
    cfg = check_images(cfg)
    if checkpoint is not None:
        check_exists(checkpoint)
    set_work_dir(cfg, work_dir)
    return cfg
