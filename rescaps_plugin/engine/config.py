"""Reading a config the way the tools need it: any OpenMMLab library's, with its own tools' defaults."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import build_from_cfg, build_scheduler_from_cfg
from mmengine.runner import Runner

from rescaps_plugin.engine.compat import find_packages
from rescaps_plugin.engine.errors import UserError, explain_unknown_type
from rescaps_plugin.engine.extras import explain_import_error

find_packages()

# Where MMEngine reads a config's files, and where it builds what a config describes: the functions' code, and the name
# that the file or the description has there.
READERS = {function.__code__: 'filename' for function in (Config._file2dict, Config._is_lazy_import)}
BUILDERS = {
    build_from_cfg.__code__: 'cfg',
    build_scheduler_from_cfg.__code__: 'cfg',
    Runner.build_dataloader.__code__: 'dataloader',
}


class ConfigError(UserError):
    """A config that is missing, cannot be read, or describes what cannot be built."""


def load_config(config: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config file.

    Args:
        config: Its path, or ``package::path`` for a config that an OpenMMLab package brings, for instance
            ``mmpretrain::resnet/resnet18_8xb16_cifar10.py``.
        options: Dotted keys and values that override the file's.

    Returns:
        The config, with dataloaders completed by :func:`complete_dataloaders`.

    Raises:
        ConfigError: No such file or package; the file or one of its bases is missing or cannot be read; or the options
            do not fit. Names the file at fault, and the line where Python knows it.
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
    except UserError:
        raise
    except Exception as error:  # a config is a program, which can fail in any way
        if explain_import_error(error) is not None:
            raise
        raise ConfigError(_explain_reading(str(path), error)) from error
    try:
        cfg.merge_from_dict(options or {})
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f'--cfg-options {options} do not fit config {config}: {_one_line(error)}') from error
    complete_dataloaders(cfg)
    return cfg


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
        raise ConfigError(
            f'{place} ({kind if isinstance(kind, str) else kind.__name__}) cannot be built: {type(error).__name__}: '
            f'{_one_line(error)} (raised at {frame.f_code.co_filename}:{line})'
        ) from error


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
    return f'config {where}{place}: {type(error).__name__}: {_one_line(error)}'


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
    if isinstance(value, dict):
        yield key, value
    pairs = value.items() if isinstance(value, (dict, Config)) else enumerate(value)
    for name, entry in pairs:
        if isinstance(entry, (dict, list, tuple)):
            yield from _entries(entry, f'{key}.{name}' if key else str(name))


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
