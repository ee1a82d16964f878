"""Read configs of any OpenMMLab library, complete them as its own tools do, and find their parts."""

import difflib
import inspect
from collections.abc import Iterable
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

from rescaps_plugin.cli.config_errors import ConfigError, entries_of, explain_reading, one_line
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import explain_import_error
from rescaps_plugin.cli.main import ROOT
from rescaps_plugin.compat.openmmlab import find_packages

# Fields of a config that the runner, the tools and OpenMMLab's hooks read. Other names are variables, whose values have
# been copied to where they are used when the file has been read.
FIELDS = {
    *(inspect.signature(Runner.__init__).parameters.keys() - {'self', 'cfg'}),
    *('activation_checkpointing', 'amp', 'channels_last', 'compile', 'custom_imports', 'efficient_conv_bn_eval'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn', 'tta_model', 'tta_pipeline'),
}
DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
# Fields whose own keys nothing checks where they are used.
CLOSED_FIELDS = {
    'auto_scale_lr': ('base_batch_size', 'enable'),
    'env_cfg': ('cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'),
}


def load_config(config: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file.

    Args:
        config: Its path, or ``package::path`` for a config that this or an OpenMMLab package brings, for instance
            ``rescaps::rescaps/digits.py`` or ``mmpretrain::resnet/resnet18_8xb16_cifar10.py``.
        options: Dotted keys and values that override the file's.

    Returns:
        The config, with dataloaders completed by :func:`complete_dataloaders`.

    Raises:
        ConfigError: No such file or package; the file or one of its bases is missing or cannot be read; or the options
            do not fit, name what is in no config, or a variable whose value is used already. Names the file at fault,
            and the line where Python knows it.
    """
    path = Path(config)
    if '::' in config:
        package, _, name = config.partition('::')
        path = _find_root(package, config) / 'configs' / name
    if not path.is_file():
        hint = '.' if path == Path(config) else f': no file {path}.'
        if path.parts[:1] == ('configs',) and (ROOT / path).is_file():
            hint += f' From any folder: rescaps::{path.relative_to("configs").as_posix()}.'
        raise ConfigError(f'config {config} does not exist{hint}')
    try:
        with find_packages():
            cfg = Config.fromfile(path)
    except UserError:
        raise
    except Exception as error:  # a config is a program, which can fail in any way
        if explain_import_error(error) is not None:
            raise
        raise ConfigError(explain_reading(path, error)) from error
    _check_options(cfg, options or {}, config)
    try:
        cfg.merge_from_dict(options or {})
        if any(key.partition('.')[0] == 'custom_imports' for key in options or {}):
            # Those of the file have been imported when it was read.
            import_modules_from_strings(**(cfg.custom_imports or dict(imports=None)))
    except (AttributeError, ImportError, IndexError, KeyError, TypeError, ValueError) as error:
        if explain_import_error(error) is not None:
            raise
        raise ConfigError(f'--cfg-options {options} do not fit config {config}: {one_line(error)}') from error
    complete_dataloaders(cfg)
    return cfg


def _find_root(package: str, config: str) -> Path:
    """Return the folder in which a package has its configs.

    Raises:
        ConfigError: The package is not installed.
    """
    if package in ('rescaps', 'rescaps_plugin'):  # the distribution's name and the package's
        return ROOT
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:  # a module has no folder
        raise ConfigError(f'config {config} names the package {package}, which is not installed.')
    return Path(spec.submodule_search_locations[0], '.mim')


def _check_options(cfg: Config, options: dict[str, Any], config: str) -> None:
    """Check that options override what is read of a config.

    Raises:
        ConfigError: As :func:`load_config`.
    """
    for key in options:
        field, _, rest = key.partition('.')
        if field not in FIELDS:
            if field not in cfg:
                close = _close(field, {*FIELDS, *cfg})
                raise ConfigError(f'--cfg-options {key}: config {config} has no {field}.{close}')
            users = _places(cfg, cfg[field])
            if users:
                shown = ', '.join(users[:4]) + (', ...' if len(users) > 4 else '')
                # A number may be the same elsewhere by chance.
                if isinstance(cfg[field], (int, float, type(None))):
                    shown = 'other entries'
                raise ConfigError(
                    f'--cfg-options {key} has no effect: {field} is a variable of config {config}, whose value is in '
                    f'{shown} already; override these.'
                )
        inner = rest.partition('.')[0]
        known = CLOSED_FIELDS.get(field)
        if inner and known and inner not in known and inner not in (cfg.get(field) or {}):
            raise ConfigError(f'--cfg-options {key}: {field} has no {inner}.{_close(inner, known)}')


def _places(cfg: Config, value: Any) -> list[str]:
    """Return the dotted keys with a value, in the fields of a config that are read."""
    return [key for key, entry in entries_of(cfg) if entry == value and key.partition('.')[0] in FIELDS]


def _close(name: str, known: Iterable[str]) -> str:
    close = ', '.join(difflib.get_close_matches(name, sorted(known)))
    return f' Close: {close}.' if close else ''


def complete_dataloaders(cfg: Config) -> None:
    """Set the options of dataloaders that their library's own tools set, and resolve a contradiction.

    MMPretrain's configs rely on its tools for the collate function and for persistent workers. PyTorch refuses
    persistent workers where there are none, so ``num_workers=0`` (as by ``--cfg-options``) turns them off.

    Args:
        cfg: The runner's config; its dataloaders are changed in place.
    """
    for name in DATALOADERS:
        loader = cfg.get(name)
        if not isinstance(loader, dict):
            continue
        if cfg.get('default_scope') == 'mmpretrain':
            loader.setdefault('collate_fn', dict(type='default_collate'))
            loader.setdefault('persistent_workers', True)
        # From pinned memory, batches are copied to a GPU while it computes.
        loader.setdefault('pin_memory', torch.cuda.is_available())
        if loader.get('num_workers', 0) == 0:
            loader.pop('persistent_workers', None)


def set_work_dir(cfg: Config, work_dir: str | None) -> None:
    """Set the work directory: the argument, else the config's ``work_dir``, else one named after the config.

    Args:
        cfg: The runner's config; ``work_dir`` is changed in place.
        work_dir: The user's choice, if any.
    """
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs', Path(cfg.filename).stem))


def require(cfg: Config, *keys: str) -> None:
    """Check that a config has the fields that a tool needs.

    Args:
        cfg: The config.
        *keys: Names of its fields.

    Raises:
        ConfigError: Names the fields that are missing or None.
    """
    missing = [key for key in keys if cfg.get(key) is None]
    if missing:
        raise ConfigError(f'config {cfg.filename} has no {", ".join(missing)}.')


def inner_datasets(dataset: dict) -> list[dict]:
    """Find the data sets inside wrappers such as ``ConcatDataset`` and ``RepeatDataset``, at any depth.

    Args:
        dataset: Config of a data set, such as ``cfg.test_dataloader.dataset``.

    Returns:
        The configs inside that wrap nothing, themselves and not copies; the one given where it is no wrapper.
    """
    inside = [dataset.get('dataset'), *(dataset.get('datasets') or [])]
    found = [each for part in inside if isinstance(part, dict) for each in inner_datasets(part)]
    return found or [dataset]


def find_test_pipeline(cfg: Config) -> list[dict]:
    """Find the pipeline of a config's test set, inside wrappers too: that of the first data set.

    Args:
        cfg: A config with a ``test_dataloader``.

    Returns:
        The pipeline's transforms.

    Raises:
        ConfigError: No data set there has a pipeline.
    """
    for dataset in inner_datasets(cfg.test_dataloader.dataset):
        if dataset.get('pipeline') is not None:
            return dataset['pipeline']
    raise ConfigError(f'config {cfg.filename}: test_dataloader.dataset has no pipeline.')


def with_pipeline(dataset: dict, pipeline: list[dict]) -> dict:
    """Return the config of a data set with another pipeline.

    Args:
        dataset: Config of a data set, or of a wrapper around some, which all get the pipeline.
        pipeline: The transforms.

    Returns:
        The config; the one given stays.
    """
    dataset = deepcopy(dataset)
    for each in inner_datasets(dataset):
        each['pipeline'] = deepcopy(pipeline)
    return dataset


def unwrap_test_set(cfg: Config) -> Config:
    """Return a config for MMPretrain's inference, whose test set has a pipeline and classes of its own.

    Args:
        cfg: A config.

    Returns:
        A copy whose test set is the first inside its wrappers.
    """
    cfg = deepcopy(cfg)
    if cfg.get('test_dataloader'):
        cfg.test_dataloader.dataset = inner_datasets(cfg.test_dataloader.dataset)[0]
    return cfg
