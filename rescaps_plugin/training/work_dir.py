"""Work directories: a lock against a second training, and the name of the latest checkpoint."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import SoftFileLock, Timeout

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import remove_abandoned_drafts

# MMEngine's file that holds the name of the latest checkpoint.
LAST_CHECKPOINT = 'last_checkpoint'
# The file with the name of a work directory's training, and the lock file of its process.
RUN_ID = 'run_id'
LOCK = 'train.lock'


@contextmanager
def own_work_dir(work_dir: str | Path) -> Iterator[None]:
    """Lock a work directory during the block, and remove files that a killed training left incomplete.

    The file ``train.lock`` names the process that holds the lock. A lock whose process on this machine has ended is
    ignored.

    Args:
        work_dir: The work directory.

    Raises:
        UserError: Another training holds the lock.
    """
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(folder / LOCK)
    try:
        # The first attempt removes a stale lock, the next one acquires it.
        lock.acquire(timeout=1, poll_interval=0.05)
    except Timeout as error:
        pid, host = (*(folder / LOCK).read_text().split(), 'unknown', 'unknown')[:2]
        raise UserError(
            f'another training runs in {folder}: process {pid} on {host}. Set another --work-dir for this one. If '
            f'that process has ended, delete {folder / LOCK}.'
        ) from error
    try:
        remove_abandoned_drafts(folder)
        yield
    finally:
        lock.release()


def check_work_dir(work_dir: str | Path, launcher: str) -> None:
    """Check that no other training uses a work directory, before a runner writes its config and logs there.

    Args:
        work_dir: The work directory.
        launcher: The job launcher. Of processes that torchrun starts, only the first one checks. Those of other
            launchers do not know their rank yet, so the check is left to the start of their training.

    Raises:
        UserError: Another training holds the lock.
    """
    if launcher == 'none' or (launcher == 'pytorch' and os.environ.get('RANK') == '0'):
        with own_work_dir(os.path.abspath(work_dir)):
            pass


def last_checkpoint(work_dir: str | Path) -> str | None:
    """Return the checkpoint that a work directory names as its latest; None if it names none."""
    note = Path(work_dir, LAST_CHECKPOINT)
    return note.read_text().strip() or None if note.is_file() else None
