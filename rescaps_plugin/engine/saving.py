"""Saving that a kill, a full disk or a power cut leaves whole, whenever it comes.

A file is written beside its place and then takes it, in one step of the file system. What is outdated goes only when
its successor is there. So the latest checkpoint that the work directory names can always be read.
"""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank, is_main_process
from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

# MMEngine's name for the file that says which checkpoint is the latest.
LAST_CHECKPOINT = 'last_checkpoint'


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; folders above it are created. Processes of a job may write it at once. One that is killed
            meanwhile leaves ``.<name>.<rank>.part``, which its next attempt writes over.
        data: Its contents.

    Raises:
        OSError: It cannot be written, for instance because the disk is full; names ``path``. What was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'.{path.name}.{get_rank()}.part')
    try:
        with draft.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink()
        if isinstance(error, OSError):  # writing does not say which file was written
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def last_checkpoint(work_dir: str | Path) -> str | None:
    """Read which checkpoint a work directory names as its latest; None where it names none."""
    note = Path(work_dir, LAST_CHECKPOINT)
    return note.read_text().strip() or None if note.is_file() else None


@register_backend('local', force=True, prefixes='')
class WholeFileBackend(LocalBackend):
    """MMEngine's backend of local files, which it saves checkpoints with, writing them by :func:`write_whole`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_whole(Path(filepath), obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text."""
        write_whole(Path(filepath), obj.encode(encoding))


class _RemoveLater:
    """A file backend that removes nothing before it is told to."""

    def __init__(self, backend: BaseStorageBackend) -> None:
        self.backend = backend
        self.removals: list[partial] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.removals.append(partial(self.backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.removals.append(partial(self.backend.rmtree, path))


class SafeCheckpointHook(CheckpointHook):
    """MMEngine's hook, which removes outdated checkpoints first, in the order that loses nothing.

    The new checkpoint is written, then it is noted down as the latest, then an outdated one goes. Arguments are those
    of :class:`mmengine.hooks.CheckpointHook`.
    """

    # Epoch and iteration of what is being saved.
    _place: dict[str, int] = {}

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Say where the checkpoint stands: ``FlexibleRunner`` counts on after a validation too."""
        checkpoint['meta'].update(self._place)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        outer = self._place
        self._place = outer or {key: meta[key] for key in ('epoch', 'iter')}
        outdated = None
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                outdated = self.file_backend.join_path(
                    self.out_dir, self.filename_tmpl.format(self.keep_ckpt_ids.popleft())
                )
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        name = self.filename_tmpl.format(step)
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
        self._place = outer
        if not is_main_process():
            return
        write_whole(Path(runner.work_dir, LAST_CHECKPOINT), self.last_ckpt.encode())
        if outdated is not None:
            # Sharded checkpoints are folders.
            if self.file_backend.isdir(outdated):
                self.file_backend.rmtree(outdated)
            elif self.file_backend.isfile(outdated):
                self.file_backend.remove(outdated)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        backend, self.file_backend = self.file_backend, _RemoveLater(self.file_backend)
        self._place = dict(epoch=runner.epoch, iter=runner.iter)
        try:
            super()._save_best_checkpoint(runner, metrics)
            for remove in self.file_backend.removals:
                remove()
        finally:
            self.file_backend = backend
            self._place = {}
