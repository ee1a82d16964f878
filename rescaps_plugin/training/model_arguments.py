"""Command-line arguments that name trained models: a config and a checkpoint, or the name of published weights."""

import os
from argparse import Action, ArgumentParser, Namespace
from collections.abc import Sequence
from mimetypes import guess_type
from pathlib import Path
from typing import Any

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.models.published import SCHEME, PublishedWeightsError, find_published

# Suffixes of the configs that MMEngine reads.
CONFIG_SUFFIXES = ('.py', '.yml', '.yaml', '.json')


def find_model(words: Sequence[str], exported: Sequence[str] = ()) -> tuple[str, str, list[str]]:
    """Split the words of a command line after the model that they begin with.

    Args:
        words: ``CONFIG CHECKPOINT ...``, ``NAME ...`` or ``FILE ...``.
        exported: Suffixes of exported files that can be the model. Defaults to none.

    Returns:
        Config, checkpoint, and the other words; of a published model its
        :attr:`~rescaps_plugin.models.published.PublishedModel.arguments`; of an exported file twice the file.

    Raises:
        UserError: The first word is neither a config nor a published model, or no checkpoint follows a config, but
            nothing, or an image or video.
    """
    first, *rest = words
    suffix = Path(first).suffix.lower()
    if suffix in exported:
        return first, first, rest
    if suffix and suffix not in CONFIG_SUFFIXES and Path(first).is_file():
        files = f', or a {" or ".join(exported)} file' if exported else ''
        configs = ', '.join(CONFIG_SUFFIXES)
        raise UserError(
            f'{first} is no config ({configs}): give CONFIG CHECKPOINT, or the name of a published model{files}.'
        )
    if '::' in first or suffix == '.py' or Path(first).exists():
        if not rest:
            raise UserError(f'a CHECKPOINT must follow the config {first}.')
        kind, _ = guess_type(rest[0])
        if kind and kind.startswith(('image/', 'video/')):
            raise UserError(f'a CHECKPOINT must follow the config {first}; {rest[0]} is an input ({kind}).')
        return first, rest[0], rest[1:]
    try:
        return *find_published(first).arguments, rest
    except PublishedWeightsError as error:
        raise UserError(f'{first} is no config, and {error}') from error


def add_model_arguments(parser: ArgumentParser, required: bool = True, exported: Sequence[str] = ()) -> None:
    """Add the positional arguments CONFIG and CHECKPOINT, or NAME, or FILE; for :func:`parse_model_arguments`.

    Args:
        parser: The tool's parser.
        required: Whether there must be a model. Defaults to True.
        exported: Suffixes of exported files that can be the model. Defaults to none.
    """
    file = f' or an exported file ({", ".join(exported)}),' if exported else ','
    parser.set_defaults(exported=exported)
    parser.add_argument(
        'config',
        nargs=None if required else '?',
        help=f'path of the config, or package::path; or the name of a published model{file} without CHECKPOINT',
    )
    parser.add_argument('checkpoint', nargs='?', help='path or URL of the checkpoint')


def parse_model_arguments(parser: ArgumentParser, argv: Sequence[str] | None) -> Namespace:
    """Parse the arguments of a tool with :func:`add_model_arguments`; options may stand between the others.

    Args:
        parser: The tool's parser. Its ``inputs``, if it has any, follow the model.
        argv: Arguments; default: the command line's.

    Returns:
        The arguments, where a published model is replaced by its config and checkpoint. Both are None where no model
        is required and none is given.
    """
    args = parser.parse_intermixed_args(argv)
    if args.config is None:
        return args
    inputs = getattr(args, 'inputs', [])
    words = [args.config, *([] if args.checkpoint is None else [args.checkpoint]), *inputs]
    args.config, args.checkpoint, rest = _parse(parser, words, args.exported)
    if 'inputs' in args:
        args.inputs = rest
    elif rest:
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    return args


def _parse(parser: ArgumentParser, words: Sequence[str], exported: Sequence[str] = ()) -> tuple[str, str, list[str]]:
    try:
        return find_model(words, exported)
    except UserError as error:
        parser.error(str(error))


class _ModelsAction(Action):
    """Stores the models of a command line as pairs of a config and a checkpoint."""

    folders = False

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: list[str], *args: Any) -> None:
        models: list[tuple[str, str | None]] = []
        while values:
            if self.folders and Path(values[0]).is_dir():
                models.append((values[0], None))
                values = values[1:]
            else:
                config, checkpoint, values = _parse(parser, values)
                models.append((config, checkpoint))
        setattr(namespace, self.dest, models)


class _MethodsAction(_ModelsAction):
    """Stores METHODs as pairs: of a config and a checkpoint, or of a folder of maps and None."""

    folders = True

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: list[str], *args: Any) -> None:
        super().__call__(parser, namespace, values, *args)
        setattr(namespace, self.dest, [(Path(path), checkpoint) for path, checkpoint in getattr(namespace, self.dest)])


def add_models_argument(parser: ArgumentParser) -> None:
    """Add the positional arguments of tools that compare models: ``models``, pairs of a config and a checkpoint.

    Args:
        parser: The tool's parser.
    """
    parser.add_argument(
        'models',
        nargs='+',
        action=_ModelsAction,
        metavar='MODEL',
        help='CONFIG CHECKPOINT, or the name of a published model',
    )


def model_names(models: Sequence[Sequence[str]]) -> list[str]:
    """Name models for tables and curves.

    Args:
        models: The config and the checkpoint of each.

    Returns:
        A name of each, all different. A published model keeps its own; others are named by their configs, and where
        configs have the same name, by their checkpoints without the leading folders that these share, with the name of
        the config where that of another has such a checkpoint.

    Raises:
        UserError: A model is given twice.

    Example:
        >>> model_names([('rescaps/digits.py', 'epoch_9.pth')])
        ['digits']
        >>> model_names([('digits.py', 'runs/digits/epoch_1.pth'), ('digits.py', 'runs/digits/epoch_9.pth')])
        ['epoch_1.pth', 'epoch_9.pth']
    """
    for number, model in enumerate(models):
        if model in models[:number]:
            raise UserError(f'MODEL {" ".join(model)} is given twice.')
    names = [
        checkpoint.removeprefix(SCHEME) if checkpoint.startswith(SCHEME) else Path(config).stem
        for config, checkpoint in models
    ]
    for name in {name for name in names if names.count(name) > 1}:
        same = [index for index, other in enumerate(names) if other == name]
        paths = [models[index][1] for index in same]
        if len(set(paths)) < len(paths):  # a checkpoint with two configs
            paths = [' '.join(models[index]) for index in same]
        shared = os.path.commonprefix(paths).rfind('/') + 1
        for index, path in zip(same, paths, strict=True):
            names[index] = path[shared:]
    for full in (lambda config, checkpoint, name: f'{Path(config).stem} {name}', lambda *words: ' '.join(words[:2])):
        names = [
            name if names.count(name) == 1 else full(*model, name) for model, name in zip(models, names, strict=True)
        ]
    return names


def add_methods_argument(parser: ArgumentParser) -> None:
    """Add the positional arguments of ``tools/analyse_sod.py``: ``methods``, pairs of a path and a checkpoint or None.

    Args:
        parser: The tool's parser.
    """
    parser.add_argument(
        'methods',
        nargs='+',
        action=_MethodsAction,
        metavar='METHOD',
        help='CONFIG CHECKPOINT, the name of a published model, or a folder of maps',
    )
