"""Checkpoints that load without running anybody's code.

PyTorch unpickles with ``weights_only=True``: tensors and plain Python data, nothing that names a class. MMEngine's
checkpoints hold its log buffers as objects, NumPy values, and the functions of some schedulers, so that
neither ``--resume`` nor a test can read them. :class:`PlainCheckpointHook` saves the same state as plain data and
restores it. A file that is not plain is refused, unless the user vouches for that one file.
"""

import inspect
import pickle
import re
import sys
import warnings
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.saving import last_checkpoint

# Key of the dictionaries that stand for an object; its value names the object's type.
_TYPE = '__type__'
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
_trusted: set[Path] = set()


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged, unsafe to load, or of another model."""


def to_plain(value: Any) -> Any:
    """Turn a checkpoint, or a part of it, into what ``torch.load(weights_only=True)`` can read.

    NumPy scalars become Python's, log buffers and arrays become dictionaries that :func:`from_plain` turns back, other
    kinds of dictionary and list become ``dict`` and ``list``, paths become strings. A function in a dictionary (some
    parameter schedulers keep theirs) is left out: it is code, which the loading side has. State dicts stay as they are.
    An object of any other type stays too, with a warning, and makes the checkpoint one that has to be trusted.

    Args:
        value: Nested dictionaries, lists, tuples and sets of leaves.

    Returns:
        The plain data; tensors are shared, not copied.
    """
    if isinstance(value, HistoryBuffer):
        log, count = value.data
        return {
            _TYPE: 'HistoryBuffer',
            'log_history': torch.from_numpy(log),
            'count_history': torch.from_numpy(count),
            'max_length': value.max_length,
        }
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufc' and value.dtype.isnative:
        return {_TYPE: 'ndarray', 'data': torch.from_numpy(value.copy())}
    if isinstance(value, dict):
        if hasattr(value, '_metadata'):  # a module's state dict: versions of its modules hang on it
            return value
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        return kind((to_plain(key), to_plain(entry)) for key, entry in value.items() if not inspect.isroutine(entry))
    if isinstance(value, (list, tuple, set)) and not isinstance(value, torch.Size):
        kind = next(kind for kind in (list, tuple, set) if isinstance(value, kind))
        return kind(to_plain(entry) for entry in value)
    if isinstance(value, Path):
        return str(value)
    if type(value) not in _PLAIN and not isinstance(value, torch.Tensor):
        warnings.warn(
            f'The checkpoint holds an object of {type(value)}, which is not plain data: {value!r:.200}. It will not '
            'load under weights_only=True, only with --trust-checkpoint.',
            stacklevel=2,
        )
    return value


def from_plain(value: Any) -> Any:
    """Undo :func:`to_plain`, except that scalars stay Python's and functions stay away.

    Args:
        value: A checkpoint as loaded, plain or not.

    Returns:
        The same with log buffers and NumPy arrays restored.
    """
    if isinstance(value, dict):
        if hasattr(value, '_metadata'):
            return value
        if value.get(_TYPE) == 'HistoryBuffer':
            # Loaded where the model is, which may be a GPU.
            history = {key: value[key].cpu().numpy() for key in ('log_history', 'count_history')}
            return HistoryBuffer(**history, max_length=value['max_length'])
        if value.get(_TYPE) == 'ndarray':
            return value['data'].cpu().numpy()
        return type(value)((key, from_plain(entry)) for key, entry in value.items())
    if type(value) in (list, tuple, set):
        return type(value)(from_plain(entry) for entry in value)
    return value


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Save every checkpoint as plain data and restore what was an object when it is loaded.

    Belongs in ``default_hooks``, where a config that adds its own ``custom_hooks`` keeps it::

        default_hooks = dict(plain_checkpoint=dict(type='PlainCheckpointHook'))
    """

    # Last, to see what other hooks put into the checkpoint.
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the checkpoint's entries by plain data."""
        checkpoint.update(to_plain(checkpoint))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the checkpoint's entries by the objects they stand for."""
        checkpoint.update(from_plain(checkpoint))
        # No checkpoint of MMEngine has this, and resuming would run it as Python.
        checkpoint.get('meta', {}).pop('config', None)


@HOOKS.register_module()
class MatchCheckpointHook(Hook):
    """Refuse a checkpoint that leaves a parameter of the model unset, which MMEngine only warns of, or not finite.

    For testing and resuming, where such a checkpoint is one of another model. Entries the model has no place for are
    MMEngine's warning still: checkpoints may carry, for instance, auxiliary heads that a test leaves out.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Watch the loading of the state dict, which follows."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        _expect_match(model, runner.cfg.load_from, _class_counts(checkpoint.get('meta', {}), runner.cfg))


def _class_counts(meta: dict[str, Any], cfg: Config) -> str:
    """Say how many classes a checkpoint was trained for where the config has other numbers of them."""
    texts = str(meta.get('cfg', '')), cfg.pretty_text
    theirs, ours = (', '.join(dict.fromkeys(re.findall(r'\bnum_classes=(\d+)', text))) for text in texts)
    if not theirs or not ours or theirs == ours:
        return ''
    return f'It was trained with num_classes {theirs}; the config has {ours}.'


def broken_weights(model: nn.Module) -> list[str]:
    """Name the parameters of a model that are not finite and the buffers that hold NaN."""
    # A buffer may be infinite on purpose: masks are.
    parameters = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    return parameters + [name for name, value in model.named_buffers() if value.isnan().any()]


def _expect_match(model: nn.Module, filename: str, hint: str = '') -> None:
    """Make the model's next ``load_state_dict`` raise :class:`CheckpointError` if it leaves a weight unset or broken.

    Args:
        model: The model.
        filename: The checkpoint, for the message.
        hint: What may explain a mismatch.
    """
    # The model's own hooks may rename or resize entries while they are loaded, so only the outcome counts.
    errors: list[list[str]] = []

    def remember(module, state_dict, prefix, metadata, strict, missing_keys, unexpected_keys, error_msgs):
        errors.append(error_msgs)

    def verify(module: nn.Module, keys) -> None:
        before.remove()
        after.remove()
        missing = [key for key in keys.missing_keys if not key.endswith('num_batches_tracked')]
        problems = [*chain.from_iterable(errors), *(f'missing: {key}' for key in missing)]
        if problems:
            shown = '\n  '.join(problems[:10])
            more = f'\n  and {len(problems) - 10} more' if len(problems) > 10 else ''
            explained = f'{shown}{more}' + (f'\n  {hint}' if hint else '')
            raise CheckpointError(f'checkpoint {filename} is not one of this model:\n  {explained}')
        if broken := broken_weights(module):
            raise CheckpointError(
                f'checkpoint {filename} holds weights that are not finite ({", ".join(broken[:10])}): its training '
                'diverged. Take an earlier one.'
            )

    before = model.register_load_state_dict_pre_hook(remember)
    after = model.register_load_state_dict_post_hook(verify)


def load_weights(model: nn.Module, filename: str) -> dict[str, Any]:
    """Load a checkpoint into a model for inference.

    Args:
        model: The model.
        filename: Path or URL of the checkpoint.

    Returns:
        All that the checkpoint holds.

    Raises:
        CheckpointError: It is missing, damaged, not trusted, or leaves a parameter of the model unset.
    """
    _expect_match(model, filename)
    return load_checkpoint(model, filename, map_location='cpu', logger='silent')


@contextmanager
def trust_checkpoint(filename: str | Path) -> Iterator[None]:
    """Let this one file be loaded with the full unpickler, which may run code that the file brings.

    Args:
        filename: A local checkpoint. Any other file stays under ``weights_only=True``.
    """
    path = Path(filename).expanduser().resolve()
    _trusted.add(path)
    try:
        yield
    finally:
        _trusted.discard(path)


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint for :class:`mmengine.runner.CheckpointLoader`, in place of MMEngine's own loader.

    Args:
        filename: Path of the file.
        map_location: As in :func:`torch.load`.

    Returns:
        What the file holds.

    Raises:
        CheckpointError: The file is missing, damaged, or holds objects and is not trusted.
    """
    path = Path(filename).expanduser()
    if not path.is_file():
        raise CheckpointError(f'checkpoint {filename} does not exist.')
    if str(map_location).startswith('mps'):  # which has no float64, the type of the log history
        map_location = 'cpu'
    try:
        return torch.load(path, map_location=map_location, weights_only=path.resolve() not in _trusted)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        raise CheckpointError(
            f'checkpoint {filename} holds more than weights and plain data{f" ({found[1]})" if found else ""}. Loading '
            'Python objects can run any code, so it was refused. If you trust whoever made this file, add '
            '--trust-checkpoint to the command line (in Python: load it inside '
            f'{__name__}.trust_checkpoint(path)); checkpoints saved from then on are plain.'
        ) from error
    except Exception as error:  # a damaged file can fail the unpickler in any way
        raise CheckpointError(f'checkpoint {filename} cannot be read: {type(error).__name__}: {error}') from error


def check_exists(filename: str) -> None:
    """Raise :class:`CheckpointError` where a local checkpoint is missing. URLs pass."""
    if '://' not in filename and not Path(filename).expanduser().is_file():
        raise CheckpointError(f'checkpoint {filename} does not exist.')


def configure_resume(cfg: Config, resume: str) -> None:
    """Point the config at the checkpoint to go on from.

    Args:
        cfg: The runner's config, with ``work_dir``; ``resume`` and ``load_from`` are changed in place.
        resume: A checkpoint, or ``'auto'`` for the latest in ``work_dir`` that is whole: where there is none yet,
            training starts as if it had not been asked to resume.

    Raises:
        CheckpointError: The checkpoint does not exist.
    """
    if resume == 'auto':
        resume = find_whole_checkpoint(cfg.work_dir)
        if resume is None:
            cfg.resume = False
            return
    check_exists(resume)
    cfg.resume = True
    cfg.load_from = resume


def find_whole_checkpoint(work_dir: str | Path) -> str | None:
    """Find the checkpoint that training can go on from: the latest that is not torn.

    Args:
        work_dir: The work directory.

    Returns:
        The one that the directory names as its latest; where that is gone or torn, which a warning says, the one
        written last among its others, without the best ones, which have no state of the optimizer. None if there is
        none.
    """
    named = last_checkpoint(work_dir)
    folder = Path(work_dir)
    candidates = []
    if named is not None:
        moved = Path(work_dir, Path(named).name)
        # What is written down is an absolute path, which a renamed work directory outlives.
        candidates.append(moved if moved.exists() else Path(named))
        folder = candidates[0].parent
    others = [path for path in folder.glob('*.pth') if not path.name.startswith('best_') and path not in candidates]
    candidates += sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in candidates:
        problem = _torn(path)
        if problem is None:
            return str(path)
        print(f'warning: checkpoint {path} {problem}: it is skipped.', file=sys.stderr)
    return None


def _torn(path: Path) -> str | None:
    """Say what is wrong with a checkpoint file; None if every part of it is there, and as it was written."""
    if path.is_dir():  # a sharded one
        return next(filter(None, map(_torn, sorted(path.glob('*.pth')))), None)
    if not path.is_file():
        return 'does not exist'
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        return f'is torn ({error})'
    return None if damaged is None else f'is damaged ({damaged})'
