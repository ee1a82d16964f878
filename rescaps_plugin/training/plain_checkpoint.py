"""Convert checkpoints of MMEngine to plain data that ``torch.load(weights_only=True)`` reads, and back."""

import inspect
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from rescaps_plugin.training.checkpoint_reader import CheckpointError

# Key of the dictionaries that stand for an object; its value names the object's type.
_TYPE = '__type__'
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)


def to_plain(value: Any) -> Any:
    """Convert a checkpoint, or a part of it, to data that ``torch.load(weights_only=True)`` can read.

    NumPy scalars become Python's, log buffers and arrays become dictionaries that :func:`from_plain` turns back, other
    kinds of dictionary and list become ``dict`` and ``list``, paths become strings. A function in a dictionary (some
    parameter schedulers keep theirs) is left out: it is code, which the loading side has. State dicts are not changed.
    An object of any other type is kept, with a warning, and the checkpoint then has to be trusted.

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
        if hasattr(value, '_metadata'):  # a module's state dict, which has its modules' versions attached
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
    """Undo :func:`to_plain`, except for scalars, which remain Python's, and functions, which are not restored.

    Args:
        value: A checkpoint as loaded, plain or not.

    Returns:
        The same with log buffers and NumPy arrays restored. An object in several places remains one object.
    """
    return _restore(value, {})


def _restore(value: Any, restored: dict[int, Any]) -> Any:
    """Restore a part of a checkpoint; ``restored`` holds the lists and dictionaries restored so far, by identity."""
    if not isinstance(value, dict) and type(value) not in (list, tuple, set):
        return value
    if hasattr(value, '_metadata'):
        return value
    if id(value) not in restored:
        restored[id(value)] = _restore_parts(value, restored)
    return restored[id(value)]


def _restore_parts(value: Any, restored: dict[int, Any]) -> Any:
    if not isinstance(value, dict):
        return type(value)(_restore(entry, restored) for entry in value)
    if value.get(_TYPE) == 'HistoryBuffer':
        # Loaded where the model is, which may be a GPU.
        history = {key: value[key].cpu().numpy() for key in ('log_history', 'count_history')}
        return HistoryBuffer(**history, max_length=value['max_length'])
    if value.get(_TYPE) == 'ndarray':
        return value['data'].cpu().numpy()
    return type(value)((key, _restore(entry, restored)) for key, entry in value.items())


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Save every checkpoint as plain data, and restore its objects when it is loaded.

    Belongs in ``default_hooks``, where a config that adds its own ``custom_hooks`` keeps it::

        default_hooks = dict(plain_checkpoint=dict(type='PlainCheckpointHook'))
    """

    # Last, after other hooks have added to the checkpoint.
    priority = 'LOWEST'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the checkpoint's entries by plain data."""
        checkpoint.update(to_plain(checkpoint))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace the checkpoint's entries by the objects they stand for."""
        try:
            checkpoint.update(from_plain(checkpoint))
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f'checkpoint {runner.cfg.get("load_from")} holds a log history or array that is not as it was saved: '
                f'{type(error).__name__}: {error}'
            ) from error
        # No checkpoint of MMEngine has this, and resuming would run it as Python code.
        checkpoint.get('meta', {}).pop('config', None)
