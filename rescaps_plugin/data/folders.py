"""Files and folders that a user names: what of them is read, and what is made of their names."""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.tables import show

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
    """Return the paths of the files of a folder and below, of each folder once, whatever links lead to it.

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
    """Return whether a file or folder is hidden, or left by an operating system."""
    return name.startswith('.') or name in FOREIGN_FOLDERS


def list_folders(root: str | Path) -> list[str]:
    """List the folders right in a folder by name, without those that :func:`is_foreign` tells of."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_foreign(entry.name))








