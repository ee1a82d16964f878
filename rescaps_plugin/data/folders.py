"""Resolve command-line paths to input files, and list the files of folders."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.tables import show

# Folders created by operating systems and network storage.
FOREIGN_FOLDERS = ('__MACOSX', '@eaDir', 'lost+found', '$RECYCLE.BIN', 'System Volume Information')
# Maximum number of skipped files to print.
SKIPPED_NAMES = 5


def find_files(
    inputs: Sequence[str],
    kind: str,
    suffixes: Sequence[str],
    accept: Callable[[Path], bool] | None = None,
    standard_input: Path | None = None,
) -> list[Path]:
    """Resolve paths of files and folders to input files; folders are searched recursively for files with the suffixes.

    Hidden files and folders are ignored. Other files of a folder are reported on stderr.

    Args:
        inputs: Paths of files and folders.
        kind: Plural name of the files, for messages, such as ``'images'``.
        suffixes: Lower-case suffixes of the files; letter case is ignored.
        accept: Function that returns whether to use a file of a folder. Defaults to None: the suffix suffices.
        standard_input: Path that stands for standard input, which ``-`` names. Defaults to None: it is not read.

    Returns:
        The files, sorted within each folder.

    Raises:
        UserError: A path does not exist, a folder has no such file, or standard input is not read.
    """
    paths = []
    for given in map(Path, inputs):
        if str(given) == '-':
            if standard_input is None:
                raise UserError(f'INPUT -: {kind} are not read from standard input.')
            paths.append(standard_input)
        elif given.is_dir():
            found, skipped = [], []
            for path in sorted(map(Path, walk_files(given))):
                wanted = path.suffix.lower() in suffixes and (accept is None or accept(path))
                (found if wanted else skipped).append(path)
            if not found:
                raise UserError(f'INPUT {given} contains no {kind} ({", ".join(suffixes)}).')
            if skipped:
                names = ', '.join(str(path.relative_to(given)) for path in skipped[:SKIPPED_NAMES])
                more = ', ...' if len(skipped) > SKIPPED_NAMES else ''
                print(f'INPUT {given}: skipped {len(skipped)} files, not {kind}: {show(names)}{more}', file=sys.stderr)
            paths += found
        elif given.is_file():
            paths.append(given)
        elif given.exists():
            raise UserError(f'INPUT {given} is neither a file nor a folder.')
        else:
            raise UserError(f'INPUT {given} does not exist.')
    return paths


def raise_unreadable(failures: Sequence[str]) -> None:
    """Raise an error that lists the inputs of a tool which could not be read.

    Args:
        failures: A message for each of them.

    Raises:
        UserError: There are any.
    """
    if failures:
        raise UserError('\n  '.join([f'{len(failures)} inputs could not be read:', *failures]))


def walk_files(folder: str | Path) -> Iterator[str]:
    """Iterate over the paths of all files below a folder; folders that several links lead to are visited once.

    Files and folders for which :func:`is_foreign` is true are ignored.
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
    """Return whether a file or folder is hidden, or created by an operating system."""
    return name.startswith('.') or name in FOREIGN_FOLDERS


def list_folders(root: str | Path) -> list[str]:
    """List the names of the direct subfolders, sorted, without those for which :func:`is_foreign` is true."""
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not is_foreign(entry.name))
