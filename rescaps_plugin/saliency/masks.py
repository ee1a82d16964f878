"""Read masks and saliency maps, and pair the files of image and mask folders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine import fileio

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.images import ImageError, read_file, read_image, read_size

# Lowest salient grey level.
SALIENT = 128


class PairError(UserError, ValueError):
    """Files of two folders that do not match; names the first unmatched file."""


def read_grey(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """Read a mask or a saliency map.

    16-bit grey levels are scaled to 8 bits, palette and RGB images with only grey colours are accepted, and an alpha
    channel is dropped.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        uint8 grey levels ``[height, width]``.

    Raises:
        ImageError: The file cannot be used, is not grey, or has 16 bits with levels of 8 bits.
        OSError: The file is missing or cannot be read.
    """
    image = read_image(path, 'color', backend_args=backend_args)
    grey = image[..., 0]
    colored = (image != grey[..., None]).any(axis=2)
    if colored.any():
        blue, green, red = image[colored][0].tolist()
        raise ImageError(f'{path}: greys 0 to 255 are expected, it has colours, such as RGB ({red}, {green}, {blue})')
    if not grey.any():
        _check_depth(path, backend_args)
    return grey


def _check_depth(path: str | Path, backend_args: dict | None) -> None:
    """Check that an image whose upper 8 bits are zero does not hold its levels in the lower 8 bits of 16."""
    levels = cv2.imdecode(np.frombuffer(read_file(path, backend_args), np.uint8), cv2.IMREAD_ANYDEPTH)
    if levels is not None and levels.dtype == np.uint16 and levels.any():
        raise ImageError(
            f'{path}: greys 0 to 65535 are expected of an image of 16 bits, it has none above 255: save it with 8 bits'
        )


def read_mask(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """Read a mask; pixels with a grey level above 127 are salient.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        bool mask ``[height, width]``.

    Raises:
        ImageError: The file cannot be used, is not grey, has 16 bits with levels of 8 bits, or holds labels 0 and 1
            instead of grey levels.
        OSError: The file is missing or cannot be read.
    """
    grey = read_grey(path, backend_args)
    if grey.max() == 1:
        raise ImageError(f'{path}: greys 0 to 255 are expected, it holds labels 0 and 1')
    return grey >= SALIENT


def list_files(folder: str | Path, suffixes: Sequence[str], backend_args: dict | None = None) -> dict[str, list[str]]:
    """List the files of a folder by stem, without subfolders.

    Args:
        folder: The folder, or URL of one of MMEngine's file backends.
        suffixes: Suffixes of the file names, case-insensitive, such as ``'.jpg'`` or ``'_mask.png'``.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        Paths by stem (the file name without the suffix), sorted by stem. A stem has several paths if files differ only
        in the suffix.

    Raises:
        FileNotFoundError: The folder does not exist.
        PairError: The folder has no file with these suffixes.
    """
    if not fileio.isdir(folder, backend_args=backend_args):
        raise FileNotFoundError(f'{folder} is not a folder')
    found = {}
    for name in sorted(fileio.list_dir_or_file(folder, list_dir=False, backend_args=backend_args)):
        suffix = next((each for each in suffixes if name.lower().endswith(each.lower())), None)
        if suffix is not None:
            path = fileio.join_path(folder, name, backend_args=backend_args)
            found.setdefault(name[: len(name) - len(suffix)], []).append(path)
    if not found:
        raise PairError(f'{folder} has no file that ends in {", ".join(suffixes)}')
    return dict(sorted(found.items()))


def list_stems(folder: str | Path, suffixes: Sequence[str], backend_args: dict | None = None) -> dict[str, str]:
    """List the files of a folder as :func:`list_files`, with exactly one file per stem.

    Returns:
        Paths by stem, sorted by stem.

    Raises:
        FileNotFoundError: The folder does not exist.
        PairError: The folder has no file with these suffixes, or two files with the same stem.
    """
    found = list_files(folder, suffixes, backend_args)
    for stem, paths in found.items():
        if len(paths) > 1:
            raise PairError(f'{folder} has two files for {stem}: {" and ".join(Path(path).name for path in paths[:2])}')
    return {stem: path for stem, (path,) in found.items()}


def check_pairs(
    first: Mapping[str, str | Sequence[str]],
    second: Mapping[str, str | Sequence[str]],
    first_kind: str,
    second_kind: str,
    stems: Iterable[str] | None = None,
) -> None:
    """Check that two folders have files with the same stems.

    Args:
        first: Paths by stem, from :func:`list_stems` or :func:`list_files`.
        second: Paths by stem of the other folder.
        first_kind: Kind of the first folder's files, such as ``'image'``.
        second_kind: Kind of the second folder's files.
        stems: The stems to check. Defaults to all.

    Raises:
        PairError: A file has no counterpart; names the first and the number of others.
    """
    for here, there, kind, other in (
        (first, second, first_kind, second_kind),
        (second, first, second_kind, first_kind),
    ):
        alone = sorted((here.keys() if stems is None else here.keys() & stems) - there.keys())
        if alone:
            more = f' (and {len(alone) - 1} more)' if len(alone) > 1 else ''
            folder = Path(_first_path(next(iter(there.values())))).parent
            raise PairError(f'{_first_path(here[alone[0]])}: this {kind} has no {other} in {folder}{more}')


def _first_path(paths: str | Sequence[str]) -> str:
    return paths if isinstance(paths, str) else paths[0]


class Misfit(NamedTuple):
    """Size mismatch between the files of a stem.

    Args:
        text: Description of the mismatch, with the file names.
        resizable: Whether one file can be resized to the other: there is one of each, and both are valid images.
    """

    text: str
    resizable: bool


def pair_by_size(
    first: Mapping[str, Sequence[str]],
    second: Mapping[str, Sequence[str]],
    backend_args: dict | None = None,
    oriented: bool = True,
) -> tuple[dict[str, tuple[str, str]], dict[str, Misfit]]:
    """Pair the files of two folders; if a stem has several files, pair those of equal size. Sizes come from headers.

    Args:
        first: Paths by stem, from :func:`list_files`.
        second: Paths of the other folder, with the same stems.
        backend_args: Arguments of MMEngine's file backend.
        oriented: Whether to apply the EXIF orientation to the first folder's sizes. It is always applied to the
            second's.

    Returns:
        Pairs of paths by stem, and mismatches by stem; a stem without a pair of equal size gets its first files.

    Raises:
        PairError: Several pairs of a stem are of equal size.
        OSError: A file cannot be read.
    """
    pairs, misfits = {}, {}
    for stem, ours in first.items():
        theirs = second[stem]
        try:
            sizes = {path: read_size(path, backend_args, oriented) for path in ours}
            their_sizes = {path: read_size(path, backend_args) for path in theirs}
        except ImageError as error:
            pairs[stem], misfits[stem] = (ours[0], theirs[0]), Misfit(str(error), False)
            continue
        fits = [(one, other) for one in ours for other in theirs if sizes[one] == their_sizes[other]]
        if len(fits) > 1:
            paths = ours if len(ours) > 1 else theirs
            names = ' and '.join(Path(path).name for path in paths)
            raise PairError(f'{Path(paths[0]).parent} has two files for {stem}, both of the right size: {names}')
        pairs[stem] = fits[0] if fits else (ours[0], theirs[0])
        if not fits:
            shown = [
                ' or '.join(f'{path} ({width} x {height})' for path, (width, height) in each.items())
                for each in (sizes, their_sizes)
            ]
            misfits[stem] = Misfit(' and '.join(shown), len(ours) == len(theirs) == 1)
    return pairs, misfits


def list_misfits(misfits: Iterable[Misfit]) -> str:
    """Format mismatches for an error message, one per line: the first hundred, and the number of others."""
    texts = [misfit.text for misfit in misfits]
    more = [f'... and {len(texts) - 100} more'] if len(texts) > 100 else []
    return '\n'.join(f'  {text}' for text in [*texts[:100], *more])


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a bool mask ``[height, width]`` to another ``(height, width)`` by nearest neighbour."""
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
