"""Reading a config the way the tools need it: any OpenMMLab library's, with its own tools' defaults."""

import difflib
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import build_from_cfg, build_scheduler_from_cfg
from mmengine.runner import Runner

from rescaps_plugin.cli.errors import UserError, explain_unknown_type
from rescaps_plugin.cli.extras import explain_import_error
from rescaps_plugin.cli.main import ROOT
from rescaps_plugin.compat.openmmlab import find_packages

find_packages()

# Where MMEngine reads a config's files, and where it builds what a config describes: the functions' code, and the name
# that the file or the description has there.
READERS = {function.__code__: 'filename' for function in (Config._file2dict, Config._is_lazy_import)}
BUILDERS = {
    build_from_cfg.__code__: 'cfg',
    build_scheduler_from_cfg.__code__: 'cfg',
    Runner.build_dataloader.__code__: 'dataloader',
}

# What the runner, the tools and OpenMMLab's hooks read of a config. Its other names are variables, whose values are
# where they were used as soon as the file is read.
FIELDS = {
    *(inspect.signature(Runner.__init__).parameters.keys() - {'self', 'cfg'}),
    *('activation_checkpointing', 'amp', 'channels_last', 'compile', 'custom_imports', 'efficient_conv_bn_eval'),
    *('find_unused_parameters', 'model_wrapper_cfg', 'runner_type', 'strategy', 'sync_bn', 'tta_model', 'tta_pipeline'),
}
# Fields whose own keys nothing checks where they are used.
CLOSED_FIELDS = {
    'auto_scale_lr': ('base_batch_size', 'enable'),
    'env_cfg': ('cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'),
}


class ConfigError(UserError):
    """A config that is missing, cannot be read, or describes what cannot be built."""


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
        cfg = Config.fromfile(path)
    except UserError:
        raise
    except Exception as error:  # a config is a program, which can fail in any way
        if explain_import_error(error) is not None:
            raise
        raise ConfigError(_explain_reading(str(path), error)) from error
    _check_options(cfg, options or {}, config)
    try:
        cfg.merge_from_dict(options or {})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f'--cfg-options {options} do not fit config {config}: {_one_line(error)}') from error
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
    if spec is None:
        raise ConfigError(f'config {config} names the package {package}, which is not installed.')
    return Path(spec.submodule_search_locations[0], '.mim')


@contextmanager
def config_errors(cfg: Config) -> Iterator[None]:
    """Say which entry of a config it is that cannot be built.

    Unknown types, and errors of the kinds that wrong values cause while an object is built, become one line. Errors of
    any other time keep their traceback.

    Args:
        cfg: The config that the block builds from.

    Raises:
        ConfigError: Names the entry, its type, what is wrong, and where that was found.
    """
    try:
        yield
    except (AssertionError, KeyError, RuntimeError, TypeError, ValueError) as error:
        # Only these themselves: what derives from them is a user's error already, or something else, as lack of memory.
        if type(error) not in (AssertionError, KeyError, RuntimeError, TypeError, ValueError):
            raise
        frames = list(walk_tb(error.__traceback__))
        built = [frame.f_locals[BUILDERS[frame.f_code]] for frame, _ in frames if frame.f_code in BUILDERS]
        if not built or not isinstance(built[-1], dict):
            raise
        place = f'config {cfg.filename}: {_locate(cfg, built)}'
        unknown = explain_unknown_type(str(error)) if isinstance(error, KeyError) else None
        if unknown is not None:
            raise ConfigError(f'{place}: {unknown}') from error
        frame, line = frames[-1]
        kind = built[-1].get('type', 'without a type')
        if frame.f_code is BaseDataset._serialize_data.__code__:  # MMEngine puts samples into one array
            raise ConfigError(f'{place} ({kind}) has no samples.') from error
        raise ConfigError(
            f'{place} ({kind if isinstance(kind, str) else kind.__name__}) cannot be built: {type(error).__name__}: '
            f'{_one_line(error)} (raised at {frame.f_code.co_filename}:{line})'
        ) from error


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
            # A number may be the same elsewhere by chance.
            users = [] if isinstance(cfg[field], (int, float, type(None))) else _places(cfg, cfg[field])
            if users:
                shown = ', '.join(users[:4]) + (', ...' if len(users) > 4 else '')
                raise ConfigError(
                    f'--cfg-options {key} has no effect: {field} is a variable of config {config}, whose value is in '
                    f'{shown} already; override these.'
                )
        inner = rest.partition('.')[0]
        known = CLOSED_FIELDS.get(field)
        if inner and known and inner not in known and inner not in (cfg.get(field) or {}):
            raise ConfigError(f'--cfg-options {key}: {field} has no {inner}.{_close(inner, known)}')


def _places(cfg: Config, value: Any) -> list[str]:
    """Give the dotted keys, inside what is read of a config, that have a value."""
    return [key for key, entry in _values(cfg, '') if entry == value and key.partition('.')[0] in FIELDS]


def _close(name: str, known: Iterable[str]) -> str:
    close = ', '.join(difflib.get_close_matches(name, sorted(known)))
    return f' Close: {close}.' if close else ''


def _values(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Give every value of a config with its dotted key, outer ones first."""
    if key:
        yield key, value
    if isinstance(value, (dict, Config, list, tuple)):
        pairs = enumerate(value) if isinstance(value, (list, tuple)) else value.items()
        for name, entry in pairs:
            yield from _values(entry, f'{key}.{name}' if key else str(name))


def _explain_reading(path: str, error: Exception) -> str:
    """Say in one line which file of a config's chain of bases failed, at which line, and why."""
    files, line = [str(Path(path).resolve())], None
    for frame, number in walk_tb(error.__traceback__):
        if frame.f_code in READERS:
            name = str(Path(frame.f_locals[READERS[frame.f_code]]).resolve())
            if name != files[-1]:
                files.append(name)
                line = None
        elif str(Path(frame.f_code.co_filename).resolve()) == files[-1]:
            line = number
    if isinstance(error, RecursionError):
        return f'config {path}: its _base_ files include each other: {", ".join(sorted(set(files)))}.'
    if isinstance(error, FileNotFoundError) and len(files) > 1 and not Path(files[-1]).exists():
        return f'config {files[-2]} has the _base_ {files[-1]}, which does not exist.'
    where = path if len(files) == 1 else f'{path}: its base {files[-1]}'
    if isinstance(error, SyntaxError):
        return f'config {where} is not valid Python, line {error.lineno}: {error.msg}'
    if isinstance(error, ValueError) and 'null bytes' in str(error):
        # Python before 3.11.4 does not raise SyntaxError for them.
        return f'config {where} is not valid Python: {_one_line(error)}'
    place = f', line {line}' if line else ''
    reason = f'{type(error).__name__}: {_one_line(error)}'
    if isinstance(error, ImportError):
        # MMEngine hides the import that failed behind errors of the imports around it.
        chain = [error]
        while chain[-1].__cause__ or chain[-1].__context__:
            chain.append(chain[-1].__cause__ or chain[-1].__context__)
        frame, number = list(walk_tb(chain[-1].__traceback__))[-1]
        reason = ': '.join(f'{type(each).__name__}: {_one_line(each)}' for each in chain[-2:])
        reason += f' (raised at {frame.f_code.co_filename}:{number})'
    return f'config {where}{place}: {reason}'


def _locate(cfg: Config, built: list[Any]) -> str:
    """Give the dotted key of the innermost entry that was being built, by the entries from the outermost in."""
    everything = list(_entries(cfg, ''))
    here = ''
    for target in built:
        below = [entry for entry in everything if entry[0].startswith(here)]
        for match in (
            lambda entry, target=target: entry == target,
            lambda entry, target=target: entry.get('type') == target.get('type') is not None,
            # The tools put types of their own in place of some, and add to them.
            lambda entry, target=target: _is_part(entry, target),
        ):
            found = next((key for key, entry in [*below, *everything] if match(entry)), None)
            if found is not None:
                here = found
                break
    return here or 'an entry'


def _entries(value: Any, key: str) -> Iterator[tuple[str, dict]]:
    """Give every dictionary of a config with its dotted key, outer ones first."""
    yield from ((place, entry) for place, entry in _values(value, key) if isinstance(entry, dict))


def _is_part(entry: dict, whole: dict) -> bool:
    """Tell whether a dictionary has anything but what names a type, and all of that is in another too."""
    keys = entry.keys() - {'type', 'by_epoch'}
    return bool(keys) and all(key in whole and whole[key] == entry[key] for key in keys)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())


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
            loader.setdefault('persistent_workers', True)
        # From pinned memory, batches are copied to a GPU while it computes.
        loader.setdefault('pin_memory', torch.cuda.is_available())
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
    """Give the config of a data set whose samples go through another pipeline.

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
    """Give a config as MMPretrain's inference reads it: with a test set that has a pipeline and classes of its own.

    Args:
        cfg: A config.

    Returns:
        A copy whose test set is the first inside its wrappers.
    """
    cfg = deepcopy(cfg)
    if cfg.get('test_dataloader'):
        cfg.test_dataloader.dataset = inner_datasets(cfg.test_dataloader.dataset)[0]
    return cfg
