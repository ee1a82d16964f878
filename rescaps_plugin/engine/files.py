"""Files that a user names on the command line."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmengine.utils import scandir

from rescaps_plugin.engine.errors import UserError


def find_files(inputs: Sequence[str], kind: str, suffixes: Sequence[str]) -> list[Path]:
    """List the files named, and those of the kind in the folders named and below them.

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
            found = sorted(scandir(given, suffix=tuple(suffixes), recursive=True, case_sensitive=False))
            if not found:
                raise UserError(f'INPUT {given} holds no {kind}, at any depth: no {", ".join(suffixes)}.')
            paths += [given / name for name in found]
        elif given.is_file():
            paths.append(given)
        else:
            raise UserError(f'INPUT {given} does not exist.')
    return paths


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
