"""Files of salient object detection: masks, saliency maps, and folders of images that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine import fileio

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.images import ImageError, read_image, read_size

# The least grey level that is salient.
SALIENT = 128


class PairError(UserError, ValueError):
    """Folders whose files do not belong together; names the first that lacks its counterpart."""


def read_grey(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """Read a mask or a saliency map.

    16-bit greys are scaled to 8 bits, palettes and RGB whose colours are all grey are taken as greys, and opacity is
    dropped.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        uint8 grey levels ``[height, width]``.

    Raises:
        ImageError: The file cannot be used, or has colours.
        OSError: The file is missing or cannot be read.
    """
    image = read_image(path, 'color', backend_args=backend_args)
    grey = image[..., 0]
    colored = (image != grey[..., None]).any(axis=2)
    if colored.any():
        blue, green, red = image[colored][0].tolist()
        raise ImageError(f'{path}: greys 0 to 255 are expected, it has colours, such as RGB ({red}, {green}, {blue})')
    return grey


def read_mask(path: str | Path, backend_args: dict | None = None) -> np.ndarray:
    """Read a mask, salient where the grey level is above 127.

    Args:
        path: Path, or URL of one of MMEngine's file backends.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        bool mask ``[height, width]``.

    Raises:
        ImageError: The file cannot be used, has colours, or holds labels 0 and 1 instead of grey levels.
        OSError: The file is missing or cannot be read.
    """
    grey = read_grey(path, backend_args)
    if grey.max() == 1:
        raise ImageError(f'{path}: greys 0 to 255 are expected, it holds labels 0 and 1')
    return grey >= SALIENT


def list_files(folder: str | Path, suffixes: Sequence[str], backend_args: dict | None = None) -> dict[str, list[str]]:
    """List the files of a folder, not of those below it.

    Args:
        folder: The folder, or URL of one of MMEngine's file backends.
        suffixes: How the names end, in either case of letters, such as ``'.jpg'`` or ``'_mask.png'``.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        Paths by stem, what stands before the suffix, in the order of the stems; several where their suffixes differ.

    Raises:
        FileNotFoundError: There is no such folder.
        PairError: The folder has no such file.
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
    """List the files of a folder as :func:`list_files` does, where each stem must have one file.

    Returns:
        Paths by stem, in the order of the stems.

    Raises:
        FileNotFoundError: There is no such folder.
        PairError: The folder has no such file, or two of one stem.
    """
    found = list_files(folder, suffixes, backend_args)
    for stem, paths in found.items():
        if len(paths) > 1:
            raise PairError(f'{folder} has two files for {stem}: {" and ".join(Path(path).name for path in paths[:2])}')
    return {stem: path for stem, (path,) in found.items()}


def check_pairs(first: Mapping[str, object], second: Mapping[str, object], first_kind: str, second_kind: str) -> None:
    """Check that two folders have files of the same stems.

    Args:
        first: Paths by stem, as of :func:`list_stems` or :func:`list_files`.
        second: Paths by stem of the other folder.
        first_kind: What the first folder has, such as ``'image'``.
        second_kind: What the second folder has.

    Raises:
        PairError: Names the first file that lacks its counterpart, and says how many do.
    """
    for here, there, kind, other in (
        (first, second, first_kind, second_kind),
        (second, first, second_kind, first_kind),
    ):
        alone = sorted(here.keys() - there.keys())
        if alone:
            more = f', and so do {len(alone) - 1} more' if len(alone) > 1 else ''
            folder = Path(_first_path(next(iter(there.values())))).parent
            raise PairError(f'{_first_path(here[alone[0]])}: this {kind} lacks its {other} in {folder}{more}')


def _first_path(paths: str | Sequence[str]) -> str:
    return paths if isinstance(paths, str) else paths[0]


class Misfit(NamedTuple):
    """A stem whose files are not of one size.

    Args:
        text: Names the files, and says what is wrong with them.
        resizable: Whether one file can be brought to the size of the other: there is one of each, and both are images.
    """

    text: str
    resizable: bool


def pair_by_size(
    first: Mapping[str, Sequence[str]],
    second: Mapping[str, Sequence[str]],
    backend_args: dict | None = None,
    oriented: bool = True,
) -> tuple[dict[str, tuple[str, str]], dict[str, Misfit]]:
    """Pair the files of two folders, where a stem has several those of one size. Sizes are read from headers.

    Args:
        first: Paths by stem, as of :func:`list_files`.
        second: Paths of the other folder, of the same stems.
        backend_args: Arguments of MMEngine's file backend.
        oriented: Whether EXIF's orientation counts in the first folder's sizes, as in those of masks and maps.

    Returns:
        Pairs of paths by stem, and by stem what is wrong where no two are of one size; these are paired with the first
        of their files.

    Raises:
        PairError: Several pairs of a stem are of one size.
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
    """Write misfits for an error message, one a line: the first hundred, and how many there are more."""
    texts = [misfit.text for misfit in misfits]
    more = [f'... and {len(texts) - 100} more'] if len(texts) > 100 else []
    return '\n'.join(f'  {text}' for text in [*texts[:100], *more])


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring a mask ``[height, width]``, bool, to another ``(height, width)``, by the nearest pixels."""
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
