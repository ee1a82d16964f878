"""Files and folders that a user names: what of them is read, and what is made of their names."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rescaps_plugin.engine.errors import UserError

# Folders that operating systems and disk stations leave among a user's own.
FOREIGN_FOLDERS = ('__MACOSX', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'System Volume Information')
# Names of skipped files to print.
SKIPPED_NAMES = 5


def find_files(inputs: Sequence[str], kind: str, suffixes: Sequence[str]) -> list[Path]:
    """List the files named, and those of the kind in the folders named and below them.

    Hidden files and folders are left out. Files of a folder that are of another kind are counted and named on stderr.

    Args:
        inputs: Paths of files and folders.
        kind: What the files are, for the error message.
        suffixes: How names of that kind end, in either case.

    Returns:
        The files, those of a folder sorted.

    Raises:
        UserError: A path does not exist, or a folder holds no such file.
    """
    paths = []
    for given in map(Path, inputs):
        if given.is_dir():
            found, skipped = [], []
            for path in sorted(_walk(given)):
                (found if path.suffix.lower() in suffixes else skipped).append(path)
            if not found:
                raise UserError(f'INPUT {given} holds no {kind}, at any depth: no {", ".join(suffixes)}.')
            if skipped:
                names = ', '.join(str(path.relative_to(given)) for path in skipped[:SKIPPED_NAMES])
                more = ', ...' if len(skipped) > SKIPPED_NAMES else ''
                print(f'INPUT {given}: skipped {len(skipped)} files, no {kind}: {names}{more}', file=sys.stderr)
            paths += found
        elif given.is_file():
            paths.append(given)
        elif given.exists():
            raise UserError(f'INPUT {given} is neither a file nor a folder.')
        else:
            raise UserError(f'INPUT {given} does not exist.')
    return paths


def _walk(folder: Path) -> Iterator[Path]:
    """Give the files of a folder and below, of each folder once, whatever links lead to it."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in sorted(folders) if not is_foreign(name)]
        yield from (path for name in names if not is_foreign(name) and (path := Path(parent, name)).is_file())


def is_foreign(name: str) -> bool:
    """Tell whether a file or folder is hidden, or left by an operating system."""
    return name.startswith('.') or name in FOREIGN_FOLDERS


def list_folders(root: str | Path) -> list[str]:
    """List the folders right in a folder by name, without those that :func:`is_foreign` tells of."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_foreign(entry.name))


def spread(count: int, limit: int | None) -> list[int]:
    """Give all indices below ``count``, or ``limit`` of them at even distances."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]
