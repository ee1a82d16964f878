"""Files that a user names on the command line."""

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


def spread(count: int, limit: int | None) -> list[int]:
    """Give all indices below ``count``, or ``limit`` of them at even distances."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]
