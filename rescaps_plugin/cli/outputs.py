"""Output files: their names, checks that they can be written, and atomic writes."""

import os
import re
import secrets
import socket
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from rescaps_plugin.cli.errors import UserError


def name_outputs(paths: Sequence[Path], folders: Sequence[bool] | None = None) -> list[str]:
    """Name the outputs made of files: by paths below their common folder, without suffixes where these are not needed.

    Args:
        paths: The files.
        folders: Whether the output of each is a folder, which no other output may lie in; none is by default.

    Returns:
        Relative paths, each of another file.
    """
    whole = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in whole])
    relative = [os.path.relpath(path, root) for path in whole]
    short = [os.path.splitext(path)[0] for path in relative]
    # A file may be given more than once.
    taken = set(relative)
    shared = Counter(os.path.splitext(path)[0] for path in taken)
    inner = {PurePath(folder) for folder in map(os.path.dirname, taken)}
    parents = {str(parent) for folder in inner for parent in (folder, *folder.parents)}
    # Of a folder called a.png, the file made of a.jpg would take the place.
    parents_of_files = {os.path.splitext(parent)[0] for parent in parents if os.path.splitext(parent)[1]}
    return [
        path if shared[name] > 1 or name in taken or name in (parents if is_folder else parents_of_files) else name
        for path, name, is_folder in zip(relative, short, folders or [False] * len(paths), strict=True)
    ]


def check_writable(path: str | Path, argument: str) -> None:
    """Check, before the work that makes its contents, that a file can be written.

    Args:
        path: The file, whose folders need not exist yet. Nothing is created.
        argument: Name of the argument, for the message.

    Raises:
        UserError: It cannot be written.
    """
    if Path(path).is_dir():
        raise UserError(f'{argument} {path} cannot be written: it is a folder.')
    check_folder_writable(Path(path).parent, f'{argument} {path}')


def choose_out_dir(given: Path | None, work_dir: str | Path, name: str) -> Path:
    """Return the folder for the results of a tool, after a check that files can be written into it.

    Args:
        given: Value of ``--out-dir``, if given.
        work_dir: The work directory of the config.
        name: Name of the folder in the work directory, which is the default.

    Returns:
        The folder, which need not exist yet.

    Raises:
        UserError: Files cannot be written into it.
    """
    out_dir = given or Path(work_dir, name)
    check_folder_writable(out_dir, '--out-dir')
    return out_dir


def check_folder_writable(folder: str | Path, argument: str) -> None:
    """Check, before the work that makes them, that files can be written into a folder.

    Args:
        folder: The folder, which need not exist yet. Nothing is created.
        argument: Name of the argument, for the message.

    Raises:
        UserError: They cannot.
    """
    try:
        absolute = Path(folder).absolute()
        with tempfile.TemporaryFile(dir=next(path for path in (absolute, *absolute.parents) if path.exists())):
            pass
    except OSError as error:
        raise UserError(f'{argument} cannot be written: {folder}: {error.strerror}.') from error


# Names of the drafts of write_whole.
_DRAFT = re.compile(r'\..*\.(?P<host>[^.]*)\.(?P<pid>\d+)\.[0-9a-f]{8}\.part', re.DOTALL)


def _host() -> str:
    return re.sub(r'\W', '-', socket.gethostname())[:20]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Args:
        path: The file; folders above it are created. Processes may write it at once: one of them wins. One that is
            killed meanwhile leaves ``.<name>.<host>.<process>.<random>.part``.
        data: Its contents.

    Raises:
        OSError: It cannot be written, for instance because the disk is full; names ``path``. What was there stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A part of the name, so that no name is too long for the file system.
    draft = path.with_name(f'.{path.name[:40]}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.part')
    try:
        with draft.open('xb') as file:
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


def remove_abandoned_drafts(folder: Path) -> None:
    """Remove the drafts of :func:`write_whole` in a folder that killed processes of this machine left."""
    for draft in folder.glob('.*.part'):
        found = _DRAFT.fullmatch(draft.name)
        if found and found['host'] == _host() and not _runs(int(found['pid'])):
            draft.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Return whether a process of this number runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: The file; folders above it are created.

    Yields:
        Where to write it: beside ``path``, whose place it takes at the end of the block, unless that raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.export-') as folder:
        draft = Path(folder, path.name)
        yield draft
        draft.replace(path)
