"""Error messages that name the file and line, or the key, at which a config cannot be read or built."""

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from traceback import extract_tb
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry

from rescaps_plugin.cli.errors import UserError, explain_unknown_type

# What wrong values raise while an object is built. Only these themselves: what derives from them is a user's error
# already, or something else, as lack of memory.
BUILD_ERRORS = (AssertionError, KeyError, RuntimeError, TypeError, ValueError)


class ConfigError(UserError):
    """A config that is missing, cannot be read, or describes what cannot be built."""


@contextmanager
def config_errors(cfg: Config) -> Iterator[None]:
    """Name the entry of a config that cannot be built inside the block.

    Unknown types, and errors of the kinds that wrong values cause while an object is built, become one line. Errors
    raised at any other time keep their traceback.

    Args:
        cfg: The config that the block builds from.

    Raises:
        ConfigError: Names the entry, its type, what is wrong, and where that was found.
    """
    build = Registry.build

    def build_watched(registry: Registry, entry: Any, *args, **kwargs) -> Any:
        with being_built(entry):
            return build(registry, entry, *args, **kwargs)

    Registry.build = build_watched
    try:
        yield
    except BUILD_ERRORS as error:
        built = getattr(error, '_built', [])
        if type(error) not in BUILD_ERRORS or not built:
            raise
        raise ConfigError(f'config {cfg.filename}: {_explain_building(cfg, built, error)}') from error
    finally:
        Registry.build = build


@contextmanager
def being_built(entry: Any) -> Iterator[None]:
    """Note with an error inside the block which entry of a config was being built, for :func:`config_errors`.

    Args:
        entry: The entry, or a copy of it.
    """
    try:
        yield
    except BUILD_ERRORS as error:
        if isinstance(entry, dict):
            error._built = [entry, *getattr(error, '_built', [])]
        raise


def _explain_building(cfg: Config, built: list[dict], error: Exception) -> str:
    """Return what is wrong with the innermost of the entries that were being built, in one line."""
    key = _locate(cfg, built)
    unknown = explain_unknown_type(str(error)) if isinstance(error, KeyError) else None
    if unknown is not None:
        return f'{key}: {unknown}'
    kind = built[-1].get('type', 'without a type')
    kind = kind if isinstance(kind, str) else kind.__name__
    # MMEngine's data sets concatenate their samples.
    if re.search(r'dataset(s\.\d+)?$', key) and 'need at least one array' in str(error):
        return f'{key} ({kind}) has no samples.'
    return f'{key} ({kind}) cannot be built: {type(error).__name__}: {one_line(error)} {_origin(error)}'


def explain_reading(path: Path, error: Exception) -> str:
    """Return which file of a config's chain of bases cannot be read, at which line, and why, in one line.

    Args:
        path: The config.
        error: Raised by :meth:`mmengine.config.Config.fromfile`.
    """
    try:
        _check_bases(path.resolve(), path)
    except ConfigError as problem:
        return str(problem)
    # MMEngine runs configs as modules. What they import has frames of its own.
    frames = takewhile(lambda frame: not frame.filename.startswith('<frozen'), extract_tb(error.__traceback__))
    run = [frame for frame in frames if frame.name == '<module>']
    place = f'{_describe(Path(run[-1].filename).resolve(), path)}, line {run[-1].lineno}' if run else f'config {path}'
    if not isinstance(error, ImportError):
        return f'{place}: {type(error).__name__}: {one_line(error)}'
    # MMEngine hides the import that failed behind errors of the imports around it.
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    reason = ': '.join(f'{type(each).__name__}: {one_line(each)}' for each in chain[-2:])
    return f'{place}: {reason} {_origin(chain[-1])}'


def _check_bases(file: Path, config: Path, children: tuple[Path, ...] = ()) -> None:
    """Raise :class:`ConfigError` if a file, or one of its bases, is missing, not valid Python, or a base of itself.

    Args:
        file: The file.
        config: The config whose base it is, or itself.
        children: The files between.
    """
    if file in children:
        circle = ', '.join(sorted(map(str, children)))
        raise ConfigError(f'config {config}: its _base_ files include each other: {circle}.')
    if not file.exists():
        raise ConfigError(f'config {children[-1]} has the _base_ {file}, which does not exist.')
    if file.suffix != '.py':
        return
    try:
        code = ast.parse(file.read_text(encoding='utf-8'))
    except (SyntaxError, ValueError) as error:  # the latter for bytes that are no text
        line = f', line {error.lineno}' if getattr(error, 'lineno', None) else ''
        message = getattr(error, 'msg', error)
        raise ConfigError(f'{_describe(file, config)} is not valid Python{line}: {message}') from error
    for base in _find_bases(code):
        if '::' not in base:
            _check_bases((file.parent / base).resolve(), config, (*children, file))


def _find_bases(code: ast.Module) -> Iterator[str]:
    """Yield the files that a config names in ``_base_``, if it is a literal, or imports below ``with read_base():``."""
    for node in code.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', None) == '_base_':
            with suppress(ValueError):
                bases = ast.literal_eval(node.value)
                yield from filter(lambda base: isinstance(base, str), bases if isinstance(bases, list) else [bases])
        elif isinstance(node, ast.With) and ast.unparse(node.items[0]) == 'read_base()':
            for line in node.body:
                if isinstance(line, ast.ImportFrom) and line.level and line.module:
                    yield '../' * (line.level - 1) + line.module.replace('.', '/') + '.py'


def _describe(file: Path, config: Path) -> str:
    return f'config {config}' if file == config.resolve() else f'config {config}: its base {file}'


def _origin(error: BaseException) -> str:
    frame = extract_tb(error.__traceback__)[-1]
    return f'(raised at {frame.filename}:{frame.lineno})'


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks."""
    return ' '.join(str(error).split())


def entries_of(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield every value of a config with its dotted key, outer ones first."""
    if key:
        yield key, value
    if isinstance(value, (dict, Config, list, tuple)):
        pairs = enumerate(value) if isinstance(value, (list, tuple)) else value.items()
        for name, entry in pairs:
            yield from entries_of(entry, f'{key}.{name}' if key else str(name))


def _locate(cfg: Config, built: list[dict]) -> str:
    """Return the dotted key of the innermost entry that was being built, by the entries from the outermost in."""
    everything = [(key, entry) for key, entry in entries_of(cfg) if isinstance(entry, dict)]
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


def _is_part(entry: dict, whole: dict) -> bool:
    """Whether a dictionary has anything but what names a type, and all of that is in another too."""
    keys = entry.keys() - {'type', 'by_epoch'}
    return bool(keys) and all(key in whole and whole[key] == entry[key] for key in keys)
