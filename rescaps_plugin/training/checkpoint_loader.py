"""Load checkpoints into models without running code from them.

Files are read by :func:`~rescaps_plugin.training.checkpoint_reader.read_weights`, under ``weights_only=True``. Inside
:func:`safe_loaders`, MMEngine reads paths, URLs and the names of published models with the same function. A file that
is not plain data is refused, unless the user trusts that file explicitly.
"""

import io
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_dist_info
from mmengine.fileio import get_file_backend
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from rescaps_plugin.models.published import SCHEME, PublishedWeightsError, find_published, read_published
from rescaps_plugin.training.checkpoint_reader import (
    CheckpointError,
    download,
    read_weights,
    trust_checkpoint,
)
from rescaps_plugin.training.run_checks import compare_classes, find_classes


@HOOKS.register_module()
class MatchCheckpointHook(Hook):
    """Refuse a checkpoint that leaves a parameter of the model unset, which MMEngine only warns of, or not finite.

    For testing and resuming, where such a checkpoint belongs to another model. Unexpected entries only cause MMEngine's
    warning: checkpoints may contain, for instance, auxiliary heads that a test leaves out. The classes of a test set
    are compared with those that the checkpoint names.

    Args:
        partial: Whether the checkpoint may cover only a part of the model, as for fine-tuning. Defaults to False.
    """

    def __init__(self, partial: bool = False) -> None:
        self.partial = partial

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check the classes, and the subsequent loading of the state dict."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        meta = checkpoint.get('meta', {})
        _expect_match(model, runner.cfg.load_from, _class_counts(meta, runner.cfg), partial=self.partial)
        trained = meta.get('dataset_meta', {}).get('classes')
        warning = compare_classes(trained, find_classes(runner._test_loop), 'test_dataloader.dataset')
        if warning:
            runner.logger.warning(warning)


def _class_counts(meta: dict[str, Any], cfg: Config) -> str:
    """Return a sentence about the numbers of classes where those of a checkpoint and a config differ; else ''."""
    if not isinstance(meta.get('cfg'), str):
        return ''
    texts = meta['cfg'], cfg.pretty_text
    theirs, ours = (', '.join(dict.fromkeys(re.findall(r'\bnum_classes=(\d+)', text))) for text in texts)
    if not theirs or not ours or theirs == ours:
        return ''
    return f'It was trained with num_classes {theirs}; the config has {ours}.'


def broken_weights(model: nn.Module) -> list[str]:
    """Return the names of a model's parameters that are not finite and of its buffers that hold NaN."""
    # Buffers such as masks may be infinite on purpose.
    parameters = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    return parameters + [name for name, value in model.named_buffers() if value.isnan().any()]


def _expect_match(model: nn.Module, filename: str, hint: str = '', *, partial: bool = False) -> None:
    """Make the model's next ``load_state_dict`` raise :class:`CheckpointError` if it leaves a weight unset or broken.

    Args:
        model: The model.
        filename: The checkpoint, for the message.
        hint: A sentence that may explain a mismatch.
        partial: Whether weights may be left unset, though not all of them; their number is logged. Defaults to False.
    """
    # The model's own hooks may rename or resize entries while they are loaded, so only the outcome counts.
    errors: list[list[str]] = []
    unreal: list[str] = []

    def remember(module, state_dict, prefix, metadata, strict, missing_keys, unexpected_keys, error_msgs):
        errors.append(error_msgs)
        for name, own in module.state_dict().items():
            given = state_dict.get(name)
            # PyTorch would drop the imaginary parts.
            if isinstance(given, torch.Tensor) and given.is_complex() and not own.is_complex():
                unreal.append(f'complex numbers for real ones: {name}')

    def verify(module: nn.Module, keys) -> None:
        before.remove()
        after.remove()
        missing = [key for key in keys.missing_keys if not key.endswith('num_batches_tracked')]
        misfits = list(chain.from_iterable(errors))
        entries = len(module.state_dict())
        unset = len(keys.missing_keys) + len(misfits)
        problems = list(unreal)
        if not partial or unset == entries:
            problems += [*misfits, *(f'missing: {key}' for key in missing)]
        if problems:
            shown = '\n  '.join(problems[:10])
            more = f'\n  and {len(problems) - 10} more' if len(problems) > 10 else ''
            explained = f'{shown}{more}' + (f'\n  {hint}' if hint else '')
            raise CheckpointError(f'checkpoint {filename} is not one of this model:\n  {explained}')
        if partial and unset:
            print_log(
                f'checkpoint {filename} sets {entries - unset} of the {entries} entries of the model; the others keep '
                'their initial values.',
                'current',
                logging.WARNING,
            )
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
        The contents of the checkpoint.

    Raises:
        CheckpointError: It is missing, damaged, not trusted, or leaves a parameter of the model unset.
    """
    _expect_match(model, filename)
    with safe_loaders():
        return load_checkpoint(model, filename, map_location='cpu', logger='silent')


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint.

    Args:
        filename: Path of the file.
        map_location: As in :func:`torch.load`.

    Returns:
        The contents.

    Raises:
        CheckpointError: The file is missing, damaged, is no checkpoint, or holds objects and is not trusted.
    """
    return _check_contents(read_weights(filename, _for_log_history(map_location)), filename)


@CheckpointLoader.register_scheme(prefixes=SCHEME)
def load_from_published(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Load the weights of a published model, for ``load_from`` in any config of OpenMMLab.

    Args:
        filename: ``'rescaps://'`` and the name of the model.
        map_location: Device, as in :func:`torch.load`.

    Returns:
        A checkpoint: ``state_dict``, and the names of the classes in ``meta``.

    Raises:
        CheckpointError: There is no such model, or its file is missing or was changed.
    """
    try:
        model = find_published(filename)
        state_dict = read_published(model)
    except PublishedWeightsError as error:
        raise CheckpointError(f'checkpoint {filename}: {error}') from error
    if map_location is not None and not callable(map_location):
        state_dict = {name: value.to(map_location) for name, value in state_dict.items()}
    meta = dict(dataset_meta=dict(classes=model.labels)) if model.labels else {}
    return dict(state_dict=state_dict, meta=meta)


def load_from_source(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint from any source that :class:`mmengine.runner.CheckpointLoader` knows, safely.

    Args:
        filename: A path, an http(s) URL, an address in an object store (``s3://``, ``petrel://``, ``pavi://``), or the
            name of a published model (``torchvision://``, ``modelzoo://``, ``open-mmlab://``, ``openmmlab://``,
            ``mmcls://``).
        map_location: As in :func:`torch.load`.

    Returns:
        The contents.

    Raises:
        CheckpointError: The source is not known or has no such checkpoint; or as :func:`load_from_local`.
    """
    scheme, separator, name = filename.partition('://')
    if not separator:
        return load_from_local(filename, map_location)
    scheme = scheme.rpartition(':')[2]  # a client's own prefix, as in cluster:s3://
    cached = None
    if scheme in ('s3', 'petrel'):
        file = io.BytesIO(get_file_backend(filename, backend_args=dict(backend='petrel')).get(filename))
    elif scheme == 'pavi':
        file = _read_pavi(name)
    elif scheme in ('http', 'https'):
        file = cached = _download_once(filename)
    elif scheme in _PUBLISHED:
        url = _find_published(scheme, name)
        if '://' in url:
            file = cached = _download_once(url, expect_hash=scheme in ('torchvision', 'modelzoo'))
        else:
            file = Path(mmengine_checkpoint._get_mmengine_home(), url)
    else:
        known = ', '.join((SCHEME.removesuffix('://'), 'http', 'https', 's3', 'petrel', 'pavi', *_PUBLISHED))
        raise CheckpointError(f'checkpoint {filename}: {scheme}:// is not one of {known}.')
    try:
        contents = _check_contents(read_weights(file, _for_log_history(map_location), name=filename), filename)
    except CheckpointError as error:
        if cached is None:
            raise
        raise CheckpointError(f'{error} (The copy is {cached}; delete it to download it again.)') from error
    return mmengine_checkpoint._process_mmcls_checkpoint(contents) if scheme == 'mmcls' else contents


# Schemes of models that others published, and the functions that list their files.
_PUBLISHED = {
    'torchvision': mmengine_checkpoint.get_torchvision_models,
    'modelzoo': mmengine_checkpoint.get_torchvision_models,
    'open-mmlab': mmengine_checkpoint.get_external_models,
    'openmmlab': mmengine_checkpoint.get_external_models,
    'mmcls': mmengine_checkpoint.get_mmcls_models,
}


def _find_published(scheme: str, name: str) -> str:
    """Return the URL of a published model, or its path below MMEngine's home."""
    if scheme in ('open-mmlab', 'openmmlab'):
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    models = _PUBLISHED[scheme]()
    if name not in models:
        raise CheckpointError(f'checkpoint {scheme}://{name}: no model of this name is published there.')
    return models[name]


def _download_once(url: str, **options) -> Path:
    """Download a file in the first process of a job, and then, where the cache is not shared, in the others."""
    rank, _ = get_dist_info()
    if rank:
        barrier()
    path = download(url, **options)
    if not rank:
        barrier()
    return path


def _read_pavi(name: str) -> io.BytesIO:
    try:
        from pavi import modelcloud
    except ImportError as error:
        raise CheckpointError(f'checkpoint pavi://{name}: the package pavi is not installed.') from error
    model = modelcloud.get(name)
    with TemporaryDirectory() as folder:
        path = Path(folder, Path(model.name).name)
        model.download(str(path))
        return io.BytesIO(path.read_bytes())


def _for_log_history(map_location: Any) -> Any:
    # MPS has no float64, the type of the log history.
    return 'cpu' if str(map_location).startswith('mps') else map_location


def _check_contents(checkpoint: Any, filename: str) -> Any:
    """Return the contents of a file if they are a checkpoint or state dict; raise :class:`CheckpointError` if not."""
    problem = None
    if not isinstance(checkpoint, dict):
        problem = f'it holds a {type(checkpoint).__name__}, not a dictionary'
    else:
        meta = checkpoint.get('meta', {})
        state = checkpoint.get('state_dict', checkpoint)
        wrong = [key for key in ('meta', 'state_dict', 'message_hub') if not isinstance(checkpoint.get(key, {}), dict)]
        if wrong:
            problem = f'its {wrong[0]} is a {type(checkpoint[wrong[0]]).__name__}, not a dictionary'
        elif not isinstance(meta.get('dataset_meta', {}), dict):
            problem = f'its meta.dataset_meta is a {type(meta["dataset_meta"]).__name__}, not a dictionary'
        elif not isinstance(classes := meta.get('dataset_meta', {}).get('classes'), (list, tuple, type(None))):
            problem = f'its meta.dataset_meta.classes is a {type(classes).__name__}, not a list'
        elif not all(isinstance(key, str) for key in state):
            problem = 'its weights have keys that are not names'
    if problem:
        raise CheckpointError(f'{filename} is no checkpoint: {problem}.')
    return checkpoint


@contextmanager
def open_safely(filename: str | None, *, trust: bool = False) -> Iterator[None]:
    """Use :func:`safe_loaders` inside the block, where one checkpoint may be trusted.

    Args:
        filename: The checkpoint; None where there is none.
        trust: Whether the user trusts it (``--trust-checkpoint``). Defaults to False.
    """
    with safe_loaders(), trust_checkpoint(filename) if trust and filename else nullcontext():
        yield


@contextmanager
def safe_loaders() -> Iterator[None]:
    """Make MMEngine read every checkpoint, including weights of ``init_cfg``, with :func:`load_from_source`.

    This applies inside the block. Loaders that others registered for their own schemes are kept.
    """
    schemes = CheckpointLoader._schemes
    CheckpointLoader._schemes = OrderedDict(
        (prefix, load_from_source if loader.__module__ == mmengine_checkpoint.__name__ else loader)
        for prefix, loader in schemes.items()
    )
    try:
        yield
    finally:
        CheckpointLoader._schemes = schemes


def check_exists(filename: str) -> None:
    """Raise :class:`CheckpointError` where a local checkpoint is missing. URLs pass."""
    if '://' not in filename and not Path(filename).expanduser().is_file():
        raise CheckpointError(f'checkpoint {filename} does not exist.')
