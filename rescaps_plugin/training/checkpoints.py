"""Load checkpoints into models without running code that they bring.

Files are read by :func:`~rescaps_plugin.training.checkpoint_reader.read_weights`, under ``weights_only=True``. Inside
:func:`safe_loaders`, MMEngine reads paths, URLs and the names of published models by the same function. A file that is
not plain data is refused, unless the user trusts that one file explicitly.
"""

import io
import re
import sys
import zipfile
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
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from rescaps_plugin.training.checkpoint_reader import (
    CheckpointError,
    UntrustedCheckpointError,
    download,
    read_weights,
    trust_checkpoint,
)
from rescaps_plugin.training.checkpoint_writer import checkpoint_folder, read_place
from rescaps_plugin.training.work_dir import RUN_ID, last_checkpoint


@HOOKS.register_module()
class MatchCheckpointHook(Hook):
    """Refuse a checkpoint that leaves a parameter of the model unset, which MMEngine only warns of, or not finite.

    For testing and resuming, where such a checkpoint is one of another model. Entries the model has no place for are
    MMEngine's warning still: checkpoints may carry, for instance, auxiliary heads that a test leaves out.

    Args:
        partial: Whether the checkpoint may fit a part of the model, as one to fine-tune from. Defaults to False.
    """

    def __init__(self, partial: bool = False) -> None:
        self.partial = partial

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Watch the loading of the state dict, which follows."""
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        hint = _class_counts(checkpoint.get('meta', {}), runner.cfg)
        _expect_match(model, runner.cfg.load_from, hint, partial=self.partial)


def _class_counts(meta: dict[str, Any], cfg: Config) -> str:
    """Say how many classes a checkpoint was trained for where the config has other numbers of them."""
    if not isinstance(meta.get('cfg'), str):
        return ''
    texts = meta['cfg'], cfg.pretty_text
    theirs, ours = (', '.join(dict.fromkeys(re.findall(r'\bnum_classes=(\d+)', text))) for text in texts)
    if not theirs or not ours or theirs == ours:
        return ''
    return f'It was trained with num_classes {theirs}; the config has {ours}.'


def broken_weights(model: nn.Module) -> list[str]:
    """Name the parameters of a model that are not finite and the buffers that hold NaN."""
    # A buffer may be infinite on purpose: masks are.
    parameters = [name for name, value in model.named_parameters() if not value.isfinite().all()]
    return parameters + [name for name, value in model.named_buffers() if value.isnan().any()]


def _expect_match(model: nn.Module, filename: str, hint: str = '', *, partial: bool = False) -> None:
    """Make the model's next ``load_state_dict`` raise :class:`CheckpointError` if it leaves a weight unset or broken.

    Args:
        model: The model.
        filename: The checkpoint, for the message.
        hint: What may explain a mismatch.
        partial: Whether weights may be left unset, though not all of them. Defaults to False.
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
        problems = list(unreal)
        if not partial or len(keys.missing_keys) == len(module.state_dict()):
            problems += [*chain.from_iterable(errors), *(f'missing: {key}' for key in missing)]
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
    with safe_loaders():
        return load_checkpoint(model, filename, map_location='cpu', logger='silent')


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint.

    Args:
        filename: Path of the file.
        map_location: As in :func:`torch.load`.

    Returns:
        What the file holds.

    Raises:
        CheckpointError: The file is missing, damaged, is no checkpoint, or holds objects and is not trusted.
    """
    return _check_contents(read_weights(filename, _for_log_history(map_location)), filename)


def load_from_source(filename: str, map_location: Any = None) -> Any:
    """Load a checkpoint from any source that :class:`mmengine.runner.CheckpointLoader` knows, safely.

    Args:
        filename: A path, an http(s) URL, an address in an object store (``s3://``, ``petrel://``, ``pavi://``), or the
            name of a published model (``torchvision://``, ``modelzoo://``, ``open-mmlab://``, ``openmmlab://``,
            ``mmcls://``).
        map_location: As in :func:`torch.load`.

    Returns:
        What the file holds.

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
        known = ', '.join(('http', 'https', 's3', 'petrel', 'pavi', *_PUBLISHED))
        raise CheckpointError(f'checkpoint {filename}: {scheme}:// is not one of {known}.')
    try:
        contents = _check_contents(read_weights(file, _for_log_history(map_location), name=filename), filename)
    except CheckpointError as error:
        if cached is None:
            raise
        raise CheckpointError(f'{error} (The copy is {cached}; delete it to download it again.)') from error
    return mmengine_checkpoint._process_mmcls_checkpoint(contents) if scheme == 'mmcls' else contents


# Schemes of published models, and what lists their files.
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
    """Return what a file holds if it can be a checkpoint or state dict; raise :class:`CheckpointError` if not."""
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
    """Use :func:`safe_loaders` inside the block, and trust one checkpoint there if the user does.

    Args:
        filename: The checkpoint; None where there is none.
        trust: Whether the user vouches for it, by ``--trust-checkpoint``. Defaults to False.
    """
    with safe_loaders(), trust_checkpoint(filename) if trust and filename else nullcontext():
        yield


@contextmanager
def safe_loaders() -> Iterator[None]:
    """Let MMEngine read every checkpoint by :func:`load_from_source` inside the block, weights of ``init_cfg`` too.

    Loaders that others registered for schemes of their own stay.
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
        hook = cfg.get('default_hooks', {}).get('checkpoint') or {}
        folder = checkpoint_folder(cfg.work_dir, hook.get('out_dir'))
        # An object store is not looked through.
        resume = last_checkpoint(cfg.work_dir) if '://' in folder else find_whole_checkpoint(cfg.work_dir, folder)
        if resume is None:
            cfg.resume = False
            return
    check_exists(resume)
    cfg.resume = True
    cfg.load_from = resume


def find_whole_checkpoint(work_dir: str | Path, folder: str | Path | None = None) -> str | None:
    """Find the checkpoint that training can go on from: of those directly in its folder, the last whole one.

    The last is the one of the highest iteration, as it says itself; what the directory names as its latest decides only
    for files that do not say. Best checkpoints, which have no state of the optimizer, and those that another training
    left there do not count. A warning names each that is skipped because it is damaged.

    Args:
        work_dir: The work directory.
        folder: Where its checkpoints are. Defaults to the work directory.

    Returns:
        Path of the checkpoint; None if there is none.
    """
    folder = Path(work_dir if folder is None else folder)
    run_id = Path(work_dir, RUN_ID)
    run_id = run_id.read_text().strip() if run_id.is_file() else None
    latest = Path(last_checkpoint(work_dir) or '').name
    if latest and not (folder / latest).exists():
        print(f'warning: checkpoint {folder / latest} does not exist: it is skipped.', file=sys.stderr)
    candidates = []
    for path in folder.glob('*.pth'):
        number = re.search(r'(\d+)\.pth$', path.name)
        if number is None or path.name.startswith('best_'):
            continue
        if path.is_dir():  # a sharded one
            parts = sorted(path.glob('*.pth'))
        else:
            parts = [path]
        iteration, run = read_place(parts[0]) if parts else (None, None)
        if run_id and run and run != run_id:
            print(f'warning: checkpoint {path} is of another training: it is skipped.', file=sys.stderr)
            continue
        said = iteration is not None
        place = iteration if said else int(number[1])
        candidates.append((not said and path.name == latest, place, path.name, parts))
    for _, _, name, parts in sorted(candidates, reverse=True):
        problem = next(filter(None, map(_find_problem, parts)), None) if parts else 'is empty'
        if problem is None:
            return str(folder / name)
        print(f'warning: checkpoint {folder / name} {problem}: it is skipped.', file=sys.stderr)
    return None


def _find_problem(path: Path) -> str | None:
    """Say what is wrong with a checkpoint file; None if every part of it is there, and as it was written."""
    if not zipfile.is_zipfile(path):
        return 'is torn' if path.is_file() else 'does not exist'
    try:
        load_from_local(str(path), 'cpu')
    except UntrustedCheckpointError:
        return None  # the user is told when it is loaded
    except CheckpointError as error:
        return str(error).removeprefix(f'checkpoint {path} ').rstrip('.')
    return None
