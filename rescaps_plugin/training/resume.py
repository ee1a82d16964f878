"""Resume a training: find the checkpoint, and save and restore the progress of the training."""

import math
import os
import sys
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from rescaps_plugin.training.checkpoint_loader import check_exists, load_from_local, load_from_source
from rescaps_plugin.training.checkpoint_reader import CheckpointError, UntrustedCheckpointError
from rescaps_plugin.training.checkpoint_writer import checkpoint_folder, read_place
from rescaps_plugin.training.resume_checks import check_resumable, describe_plan
from rescaps_plugin.training.work_dir import RUN_ID, last_checkpoint


def configure_resume(cfg: Config, resume: str) -> None:
    """Point the config at the checkpoint to resume from.

    Args:
        cfg: The runner's config, with ``work_dir``; ``resume`` and ``load_from`` are changed in place.
        resume: A checkpoint, or ``'auto'`` for the latest undamaged one in ``work_dir``; if there is none yet, training
            starts from the beginning.

    Raises:
        CheckpointError: The checkpoint does not exist.
    """
    if resume == 'auto':
        hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
        # The runner compares the absolute path with out_dir.
        folder = checkpoint_folder(os.path.abspath(cfg.work_dir), hook.get('out_dir'))
        # Object stores are not searched.
        resume = last_checkpoint(cfg.work_dir) if '://' in folder else find_whole_checkpoint(cfg.work_dir, folder)
        if resume is None:
            cfg.resume = False
            return
    check_exists(resume)
    cfg.resume = True
    cfg.load_from = resume


def restore_seed(cfg: Config) -> None:
    """Set the seed of a config to that of the checkpoint that it resumes from.

    MMEngine restores it only after samplers and training loops are built, which keep the seed that they are built with.
    A warning is printed if the config has another seed.

    Args:
        cfg: The runner's config, after :func:`configure_resume`; ``randomness`` is changed in place.

    Raises:
        CheckpointError: As in :func:`~rescaps_plugin.training.checkpoint_loader.load_from_source`.
    """
    seed = load_from_source(cfg.load_from, 'cpu').get('meta', {}).get('seed')
    given = cfg.setdefault('randomness', {}).get('seed')
    if type(seed) is not int or seed == given:
        return
    if given is not None:
        print(f'warning: training keeps the seed {seed} of checkpoint {cfg.load_from}, not {given}.', file=sys.stderr)
    cfg.randomness.seed = seed


def find_whole_checkpoint(work_dir: str | Path, folder: str | Path | None = None) -> str | None:
    """Find the checkpoint to resume from: the last undamaged one directly in its folder.

    The last is the one that the work directory records as its latest, since after a return to an earlier checkpoint
    those of the former continuation can have higher iterations. Where it is missing or damaged, it is the one of the
    highest iteration. Best checkpoints, which have no optimizer state, and those of another training are ignored. A
    warning names each one that is skipped because it is damaged or has no iteration.

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
    for path in folder.glob('*'):
        if path.name != latest and (path.suffix != '.pth' or path.name.startswith('best_')):
            continue
        iteration, run = read_place(path)
        if run_id and run and run != run_id:
            print(f'warning: checkpoint {path} is of another training: it is skipped.', file=sys.stderr)
            continue
        candidates.append((path.name == latest, math.inf if iteration is None else iteration, path))
    for is_latest, iteration, path in sorted(candidates, reverse=True):
        problem = _find_problem(path)
        if problem is None and iteration == math.inf and not is_latest:
            problem = 'has no iteration to resume at'
        if problem is None:
            return str(path)
        print(f'warning: checkpoint {path} {problem}: it is skipped.', file=sys.stderr)
    return None


def _find_problem(path: Path) -> str | None:
    """Return the damage of a checkpoint file, as the predicate of a sentence; None if there is none."""
    if not zipfile.is_zipfile(path):
        return 'is torn' if path.is_file() else 'is not a file'
    try:
        load_from_local(str(path), 'cpu')
    except UntrustedCheckpointError:
        return None  # the user is told when it is loaded
    except CheckpointError as error:
        return str(error).removeprefix(f'checkpoint {path} ').rstrip('.')
    return None


class ResumeHook(Hook):
    """Save and restore the state of a training that MMEngine's checkpoints lack; refuse to resume without it.

    The state consists of the position in the epoch, whether a validation is still due, and accumulated gradients. The
    latter belong to this process, so with several processes they are not saved, and accumulation starts again.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state to the checkpoint."""
        batches_done = getattr(runner.train_loop, 'batches_done', 0)
        training = runner.message_hub.get_info('loop_stage') == 'train'
        # Inside an epoch, the validation of the previous one is done.
        checkpoint['resume'] = dict(
            batches_done=batches_done,
            owes_validation=training and batches_done == 0,
            plan=describe_plan(runner),
        )
        if 'optimizer' in checkpoint and _accumulates(runner):
            parameters = runner.model.named_parameters()
            gradients = {name: p.grad.cpu() for name, p in parameters if p.grad is not None}
            checkpoint['resume']['gradients'] = gradients

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Restore the state from the checkpoint that is resumed."""
        if not runner._resume:
            return
        check_resumable(runner, checkpoint)
        state = checkpoint.get('resume', {})
        runner.train_loop.batches_done = state.get('batches_done', 0)
        runner.train_loop.owes_validation = state.get('owes_validation', False)
        parameters = dict(runner.model.named_parameters())
        for name, gradient in state.get('gradients', {}).items():
            if name not in parameters or gradient.shape != parameters[name].shape:
                raise CheckpointError(
                    f'checkpoint {runner.cfg.get("load_from")} has a gradient of no parameter: {name}.'
                )
            parameters[name].grad = gradient.to(parameters[name])


def _accumulates(runner: Runner) -> bool:
    wrapper = runner.optim_wrapper
    return isinstance(wrapper, OptimWrapper) and not is_model_wrapper(runner.model) and not wrapper.should_update()
