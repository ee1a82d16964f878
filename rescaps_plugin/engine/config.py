"""Reading a config the way the tools need it: any OpenMMLab library's, with its own tools' defaults."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from rescaps_plugin.engine.compat import find_packages
from rescaps_plugin.engine.errors import UserError

find_packages()


class ConfigError(UserError):
    """A config that is missing, or that lacks what a tool needs."""


def load_config(config: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file.

    Args:
        config: Its path, or ``package::path`` for a config that an OpenMMLab package brings, for instance
            ``mmpretrain::resnet/resnet18_8xb16_cifar10.py``.
        options: Dotted keys and values that override the file's.

    Returns:
        The config, with dataloaders completed by :func:`complete_dataloaders`.

    Raises:
        ConfigError: No such file or package, or the file is not valid Python.
    """
    path = Path(config)
    if '::' in config:
        package, _, name = config.partition('::')
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None:
            raise ConfigError(f'config {config} names the package {package}, which is not installed.')
        path = Path(spec.submodule_search_locations[0], '.mim', 'configs', name)
    if not path.is_file():
        raise ConfigError(f'config {config} does not exist' + ('.' if path == Path(config) else f': no file {path}.'))
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:
        raise ConfigError(f'config {config} is not valid Python: {error}') from error
    if options:
        cfg.merge_from_dict(options)
    complete_dataloaders(cfg)
    return cfg


def complete_dataloaders(cfg: Config) -> None:
    """Fill in what the dataloaders leave to their library's own tools, and mend a contradiction.

    MMPretrain's configs rely on its tools for the collate function and for persistent workers. PyTorch refuses
    persistent workers where there are none, so ``num_workers=0`` (as by ``--cfg-options``) turns them off.

    Args:
        cfg: The runner's config; its dataloaders are changed in place.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if not isinstance(loader, dict):
            continue
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('pin_memory', torch.cuda.is_available())
            loader.setdefault('persistent_workers', True)
        if loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Decide where logs and checkpoints go: the argument, else the config's ``work_dir``, else one named after it.

    Args:
        cfg: The runner's config; ``work_dir`` is changed in place.
        work_dir: The user's choice, if any.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(cfg.filename).stem))


def require(cfg: Config, *keys: str) -> None:
    """Check that a config has what a tool is about to use.

    Args:
        cfg: The config.
        *keys: Names of its fields.

    Raises:
        ConfigError: Names the fields that are missing or None.
    """
    missing = [key for key in keys if cfg.get(key) is None]
    if missing:
        raise ConfigError(f'config {cfg.filename} has no {", ".join(missing)}.')
