"""Files and folders that a user names: what of them is read, and what is made of their names."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.tables import show

# Folders that operating systems and disk stations leave among a user's own.
FOREIGN_FOLDERS = ('__MACOSX', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'System Volume Information')
# Names of skipped files to print.
SKIPPED_NAMES = 5


def find_files(
    inputs: Sequence[str], kind: str, suffixes: Sequence[str], accept: Callable[[Path], bool] | None = None
) -> list[Path]:
    """List the files named, and those of the kind in the folders named and below them.

    Hidden files and folders are left out. Files of a folder that are of another kind are counted and named on stderr.

    Args:
        inputs: Paths of files and folders.
        kind: What the files are, for the error message.
        suffixes: How names of that kind end, in either case.
        accept: Tells whether a file of a folder is of the kind, where the suffix does not tell all.

    Returns:
        The files, those of a folder sorted.

    Raises:
        UserError: A path does not exist, or a folder holds no such file.
    """
    paths = []
    for given in map(Path, inputs):
        if given.is_dir():
            found, skipped = [], []
            for path in sorted(map(Path, walk_files(given))):
                wanted = path.suffix.lower() in suffixes and (accept is None or accept(path))
                (found if wanted else skipped).append(path)
            if not found:
                raise UserError(f'INPUT {given} holds no {kind}, at any depth: no {", ".join(suffixes)}.')
            if skipped:
                names = ', '.join(str(path.relative_to(given)) for path in skipped[:SKIPPED_NAMES])
                more = ', ...' if len(skipped) > SKIPPED_NAMES else ''
                print(f'INPUT {given}: skipped {len(skipped)} files, no {kind}: {show(names)}{more}', file=sys.stderr)
            paths += found
        elif given.is_file():
            paths.append(given)
        elif given.exists():
            raise UserError(f'INPUT {given} is neither a file nor a folder.')
        else:
            raise UserError(f'INPUT {given} does not exist.')
    return paths


def walk_files(folder: str | Path) -> Iterator[str]:
    """Give the paths of the files of a folder and below, of each folder once, whatever links lead to it.

    Hidden files and folders are left out, and what :func:`is_foreign` tells of.
    """
    seen, waiting = set(), [os.fspath(folder)]
    while waiting:
        parent = waiting.pop()
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in os.scandir(parent):
            if is_foreign(entry.name):
                continue
            if entry.is_dir():
                waiting.append(entry.path)
            elif entry.is_file():
                yield entry.path


def is_foreign(name: str) -> bool:
    """Tell whether a file or folder is hidden, or left by an operating system."""
    return name.startswith('.') or name in FOREIGN_FOLDERS


def list_folders(root: str | Path) -> list[str]:
    """List the folders right in a folder by name, without those that :func:`is_foreign` tells of."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_foreign(entry.name))


def name_outputs(paths: Sequence[Path], folders: Sequence[bool] | None = None) -> list[str]:
    """Name what is made of files: by their paths below the folder that all are in, without suffix if they differ so.

    Args:
        paths: The files.
        folders: Of which of them a folder is made, whose name no path of another output begins with; none by default.

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
        argument: What the user gave it by, for the message.

    Raises:
        UserError: It cannot be written.
    """
    if Path(path).is_dir():
        raise UserError(f'{argument} {path} cannot be written: it is a folder.')
    check_folder_writable(Path(path).parent, f'{argument} {path}')


def check_folder_writable(folder: str | Path, argument: str) -> None:
    """Check, before the work that makes them, that files can be written into a folder.

    Args:
        folder: The folder, which need not exist yet. Nothing is created.
        argument: What the user gave it by, for the message.

    Raises:
        UserError: They cannot.
    """
    try:
        absolute = Path(folder).absolute()
        with tempfile.TemporaryFile(dir=next(path for path in (absolute, *absolute.parents) if path.exists())):
            pass
    except OSError as error:
        raise UserError(f'{argument} cannot be written: {folder}: {error.strerror}.') from error


def spread(count: int, limit: int | None) -> list[int]:
    """Give all indices below ``count``, or ``limit`` of them at even distances."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]
