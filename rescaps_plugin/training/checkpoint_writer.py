"""Write checkpoints so that a kill, a full disk or a power cut at any time leaves a readable one.

A file is written under a temporary name and renamed atomically. An outdated checkpoint is removed only after its
successor is written, so the latest checkpoint that the work directory names can always be read.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import BaseStorageBackend, LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from rescaps_plugin.cli.outputs import remove_abandoned_drafts, write_whole
from rescaps_plugin.training.checkpoint_reader import CheckpointError, read_weights
from rescaps_plugin.training.work_dir import LAST_CHECKPOINT, RUN_ID


@contextmanager
def whole_files() -> Iterator[None]:
    """Make MMEngine write local files with :func:`~rescaps_plugin.cli.outputs.write_whole` inside the block.

    The methods are replaced rather than the registered backend, of which MMEngine keeps instances.
    """
    put, put_text = LocalBackend.put, LocalBackend.put_text
    LocalBackend.put, LocalBackend.put_text = _put, _put_text
    try:
        yield
    finally:
        LocalBackend.put, LocalBackend.put_text = put, put_text


def _put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
    write_whole(Path(filepath), obj)


def _put_text(self: LocalBackend, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
    write_whole(Path(filepath), obj.encode(encoding))


def read_place(checkpoint: str | Path) -> tuple[int | None, str | None]:
    """Return the iteration and the name of the training in a checkpoint; None where it does not have them."""
    try:
        contents = read_weights(checkpoint, 'cpu', mmap=True)
    except CheckpointError:
        return None, None
    meta, state = (contents.get(key) if isinstance(contents, dict) else None for key in ('meta', 'resume'))
    iteration = meta.get('iter') if isinstance(meta, dict) else None
    run_id = state.get('run_id') if isinstance(state, dict) else None
    return iteration if type(iteration) is int else None, run_id if isinstance(run_id, str) else None


def checkpoint_folder(work_dir: str, out_dir: str | None) -> str:
    """Return where :class:`mmengine.hooks.CheckpointHook` saves.

    Args:
        work_dir: The work directory, an absolute path.
        out_dir: The hook's argument.
    """
    if not out_dir or out_dir == work_dir:
        return work_dir
    return os.path.join(out_dir, os.path.basename(work_dir.rstrip(os.sep)))


class _Removals:
    """A file backend that defers removals until :meth:`run`, and removes only files that this training wrote."""

    def __init__(self, backend: BaseStorageBackend, own: set[str]) -> None:
        self.backend = backend
        self.own = own
        self.removals: list[partial] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        if path in self.own:
            self.removals.append(partial(self.backend.remove, path))

    def rmtree(self, path: str) -> None:
        if path in self.own:
            self.removals.append(partial(self.backend.rmtree, path))

    def run(self) -> None:
        for remove in self.removals:
            remove()
        self.removals.clear()


class SafeCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that removes an outdated checkpoint only after the new one is written.

    The new checkpoint is written, then recorded as the latest, then an outdated one is removed: only a file directly in
    the folder of the checkpoints that this training wrote, in this process or, by the name of the training inside the
    file, before it was resumed. Arguments are those of :class:`mmengine.hooks.CheckpointHook`.
    """

    # Epoch and iteration of the checkpoint that is being saved.
    _place: dict[str, int] = {}
    # Name of this training; paths of the checkpoints that it wrote; iteration of the latest.
    run_id = ''
    _own: set[str] = set()
    _saved_iter: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Adopt the checkpoints of this training that a resumed checkpoint names, and forget any others.

        Checkpoints that a killed training left incomplete are removed.
        """
        folder = checkpoint_folder(runner.work_dir, self.out_dir)
        self._own = set()
        self.run_id = self._resume_run(runner, folder)
        info = runner.message_hub.runtime_info
        for key in [key for key in info if re.match('(best|last|stopgap)_ckpt', key)]:
            path = self._inherit(folder, os.path.basename(str(info[key])))
            if path is None:
                del info[key]
            else:
                runner.message_hub.update_info(key, path)
        if 'keep_ckpt_ids' in info:
            kept = info['keep_ckpt_ids']
            kept = [step for step in kept if type(step) is int] if isinstance(kept, list) else []
            kept = [step for step in kept if self._inherit(folder, self.filename_tmpl.format(step))]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        super().before_train(runner)
        if is_main_process():
            remove_abandoned_drafts(Path(folder))
            write_whole(Path(runner.work_dir, RUN_ID), self.run_id.encode())

    def _resume_run(self, runner: Runner, folder: str) -> str:
        """Return the name of the training if it is resumed from a checkpoint of this folder, else a new one."""
        start = runner.cfg.get('load_from')
        found = None
        if runner._resume and start and Path(start).parent.resolve() == Path(folder).resolve():
            _, found = read_place(start)
        return found or secrets.token_hex(8)

    def _inherit(self, folder: str, name: str) -> str | None:
        """Return the path of a checkpoint that this training wrote before it was resumed; None if another did."""
        path = os.path.join(folder, name)
        if os.path.islink(path) or not os.path.isfile(path) or read_place(path)[1] != self.run_id:
            return None
        self._own.add(path)
        return path

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record the training and its progress; the count of ``FlexibleRunner`` is too high after a validation."""
        checkpoint['meta'].update(self._place)
        checkpoint.setdefault('resume', {})['run_id'] = self.run_id

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        stopgap = runner.message_hub.runtime_info.pop('stopgap_ckpt', None)
        self._save(runner, self.filename_tmpl.format(step), meta)
        if outdated is not None:
            self._remove(self.file_backend.join_path(self.out_dir, outdated))
        if stopgap is not None:
            self._remove(stopgap)

    def is_saved(self, iteration: int) -> bool:
        """Whether the latest checkpoint was saved after this number of iterations."""
        return self._saved_iter == iteration

    def save_now(self, runner: Runner, iteration: int) -> str:
        """Save a checkpoint between two iterations, in addition to those of the schedule.

        The next scheduled checkpoint replaces it.

        Args:
            runner: The runner.
            iteration: Number of finished iterations.

        Returns:
            Path of the checkpoint to resume from: an earlier one, if nothing was trained since.
        """
        if self.is_saved(iteration):
            return self.last_ckpt
        meta = dict(epoch=runner.epoch, iter=iteration)
        if not self.by_epoch:
            self._save_checkpoint_with_step(runner, iteration, meta)
            return self.last_ckpt
        name = f'iter_{iteration}.pth'
        runner.message_hub.update_info('stopgap_ckpt', self.file_backend.join_path(self.out_dir, name))
        self._save(runner, name, meta)
        return self.last_ckpt

    def _save(self, runner: Runner, name: str, meta: dict[str, Any]) -> None:
        """Save a checkpoint to resume from, and record it as the latest."""
        outer = self._place
        self._place = outer or {key: meta[key] for key in ('epoch', 'iter')}
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self._own.add(self.last_ckpt)
        self._saved_iter = self._place['iter']
        self._place = outer
        if is_main_process():
            write_whole(Path(runner.work_dir, LAST_CHECKPOINT), self.last_ckpt.encode())

    def _remove(self, path: str) -> None:
        """Remove an outdated checkpoint that this training wrote."""
        if path not in self._own or not is_main_process():
            return
        # Checkpoints of DeepSpeed and ColossalAI are folders.
        if self.file_backend.isdir(path):
            self.file_backend.rmtree(path)
        elif self.file_backend.isfile(path):
            self.file_backend.remove(path)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        backend, self.file_backend = self.file_backend, _Removals(self.file_backend, self._own)
        self._place = dict(epoch=runner.epoch, iter=runner.iter)
        try:
            super()._save_best_checkpoint(runner, metrics)
            self.file_backend.run()
            for key, path in runner.message_hub.runtime_info.items():
                if key.startswith('best_ckpt'):
                    self._own.add(path)
        finally:
            self.file_backend = backend
            self._place = {}
