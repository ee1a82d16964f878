"""Candidates of a benchmark: networks and layers, by their names on the command line.

A candidate is named the way Python calls it, followed by the forms it runs in::

    resnet18                                        a model registered in timm
    ResidualPoseRouting(8, routing="pointwise")     a layer of rescaps_plugin.layers
    path/to/file.py:ClassName(types=4)              a module of any Python file, or of one of the repository
    rescaps-small_mnist                             a published model, with its weights and data
    path/to/config.py:path/to/checkpoint.pth        a trained model, with its weights and data
    rescaps_cifar+deploy+channels_last+bf16         a candidate in other forms
    rescaps_cifar+deploy+openvino+int8              exported, and run by another runtime
"""

import ast
import difflib
import importlib.util
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from torch import nn

from rescaps_plugin import layers
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.main import ROOT
from rescaps_plugin.models.published import PublishedWeightsError, find_published, read_index

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16}
COMPILED = ('compile', 'cudagraphs')
# Runtimes of exported files.
EXPORTED = ('onnx', 'openvino')
FORMS = ('deploy', 'prepack', 'channels_last', *COMPILED, 'tf32', *PRECISIONS, *EXPORTED, 'int8')


class Candidate(NamedTuple):
    """A candidate.

    Args:
        build: Function that builds its module; None for a trained model.
        forms: The forms that it runs in.
        trained: Config and checkpoint of a trained model.
    """

    build: Callable[[], nn.Module] | None
    forms: list[str]
    trained: tuple[str, str] | None = None


def parse_candidate(name: str) -> Candidate:
    """Read the name of a candidate.

    Args:
        name: The name, as the module's docstring describes it.

    Returns:
        The candidate.

    Raises:
        UserError: If the name is malformed or names nothing, with close matches, or if forms exclude each other.
    """
    target, arguments, suffix = re.fullmatch(r'(.+?)(\(.*\)|)((?:\+\w*)*)', name, re.DOTALL).groups()
    forms = suffix.split('+')[1:]
    for form in forms:
        if form not in FORMS:
            raise UserError(f'{name}: unknown form {form!r}; it may be {", ".join(FORMS)}.')
    _check_forms(name, forms)
    try:
        call = ast.parse(f'_{arguments or "()"}', mode='eval').body
        values = [ast.literal_eval(value) for value in call.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise UserError(f'{name}: arguments must be Python literals, as in NAME(8, routing="pointwise").') from error

    trained = _find_trained(target)
    if trained:
        if arguments:
            raise UserError(f'{name}: a trained model has its arguments from its config.')
        return Candidate(None, forms, trained)
    path, _, attribute = target.rpartition(':')
    if path:
        known, where, create = (found := _load_file(path)), path, found.get(attribute)
    else:
        known = [*layers.__all__, *timm.list_models(), *(model.name for model in read_index())]
        where = 'timm or rescaps_plugin.layers, and no published model'
        registered = partial(timm.create_model, target) if timm.is_model(target) else None
        create = getattr(layers, target) if target in layers.__all__ else registered
    if not callable(create):
        close = ', '.join(difflib.get_close_matches(attribute, known))
        raise UserError(
            f'{attribute!r} is not a class or function of {where}.' + (f' Close matches: {close}.' if close else '')
        )
    return Candidate(partial(create, *values, **keywords), forms)


def _find_trained(target: str) -> tuple[str, str] | None:
    """Return config and checkpoint of a published model or of ``CONFIG:CHECKPOINT``; None for another candidate."""
    path, colon, checkpoint = target.partition('.py:')
    if colon:
        return None if checkpoint.isidentifier() else (f'{path}.py', checkpoint)
    if target in layers.__all__ or timm.is_model(target):
        return None
    try:
        return find_published(target).arguments
    except PublishedWeightsError:
        return None


def _check_forms(name: str, forms: Sequence[str]) -> None:
    if 'prepack' in forms and is_compiled(forms):
        raise UserError(f'{name}: +prepack does not go with +{" or +".join(COMPILED)}.')
    runtimes = [form for form in forms if form in EXPORTED]
    if not runtimes:
        if 'int8' in forms:
            raise UserError(f'{name}: +int8 goes with +{" or +".join(EXPORTED)}.')
        return
    allowed = ['deploy', runtimes[0], 'int8', *['bf16'] * (runtimes[0] == 'openvino')]
    others = [form for form in forms if form not in allowed]
    if others:
        raise UserError(f'{name}: +{others[0]} does not go with +{runtimes[0]}.')


def _load_file(path: str) -> dict[str, Any]:
    # Presets name files of the repository.
    file = Path(path) if Path(path).is_file() else ROOT / path
    if not file.is_file():
        hint = ' It is part of a clone of the repository, not of the package.' if path.startswith('tests/') else ''
        raise UserError(f'{path} does not exist.{hint}')
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def is_deployed(forms: Sequence[str]) -> bool:
    """Return whether a candidate of these forms is in its deploy form, which is not trained."""
    return 'deploy' in forms or 'prepack' in forms


def is_compiled(forms: Sequence[str]) -> bool:
    """Return whether a candidate of these forms is compiled."""
    return any(form in forms for form in COMPILED)
