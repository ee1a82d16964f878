"""Output files: names, checks for write access, and atomic writes."""

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
    """Name outputs after input files: by the paths relative to their common folder, without suffix if that is unique.

    Args:
        paths: The input files.
        folders: Whether each output is a folder, which then contains no other output. Defaults to None: no folders.

    Returns:
        Relative paths, different for different files.
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
    # An output a.png of the file a.jpg would collide with a folder a.png.
    parents_of_files = {os.path.splitext(parent)[0] for parent in parents if os.path.splitext(parent)[1]}
    return [
        path if shared[name] > 1 or name in taken or name in (parents if is_folder else parents_of_files) else name
        for path, name, is_folder in zip(relative, short, folders or [False] * len(paths), strict=True)
    ]


def check_writable(path: str | Path, argument: str) -> None:
    """Check that a file can be written, before its contents are computed.

    Args:
        path: The file, whose folders need not exist yet. Nothing is created.
        argument: Name of the command-line argument, for the message.

    Raises:
        UserError: The file cannot be written.
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
    """Check that files can be written to a folder, before their contents are computed.

    Args:
        folder: The folder, which need not exist yet. Nothing is created.
        argument: Name of the command-line argument, for the message.

    Raises:
        UserError: Files cannot be written.
    """
    try:
        absolute = Path(folder).absolute()
        with tempfile.TemporaryFile(dir=next(path for path in (absolute, *absolute.parents) if path.exists())):
            pass
    except OSError as error:
        raise UserError(f'{argument} cannot be written: {folder}: {error.strerror}.') from error


# Names of the temporary files of write_whole.
_DRAFT = re.compile(r'\..*\.(?P<host>[^.]*)\.(?P<pid>\d+)\.[0-9a-f]{8}\.part', re.DOTALL)


def _host() -> str:
    return re.sub(r'\W', '-', socket.gethostname())[:20]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically.

    Args:
        path: The file; missing folders are created. If several processes write it at once, one of them wins. A killed
            process leaves ``.<name>.<host>.<process>.<random>.part``.
        data: Contents of the file.

    Raises:
        OSError: The file cannot be written, such as on a full disk; names ``path``. An existing file is kept.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Shortened, so that the name is not too long for the file system.
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
        if isinstance(error, OSError):  # errors of write() do not name the file
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def remove_abandoned_drafts(folder: Path) -> None:
    """Remove temporary files of :func:`write_whole` in a folder that killed processes of this machine left."""
    for draft in folder.glob('.*.part'):
        found = _DRAFT.fullmatch(draft.name)
        if found and found['host'] == _host() and not _runs(int(found['pid'])):
            draft.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Return whether a process with this ID runs on this machine."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file atomically.

    Args:
        path: The file; missing folders are created.

    Yields:
        Temporary path to write to, which replaces ``path`` at the end of the block unless that raises. Files beside it
        replace those beside ``path``, which is removed before, so that it is never read with files of another model.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix='.export-') as folder:
        draft = Path(folder, path.name)
        yield draft
        others = [file for file in Path(folder).iterdir() if file != draft]
        if others:
            path.unlink(missing_ok=True)
        for file in others:
            file.replace(path.with_name(file.name))
        draft.replace(path)
