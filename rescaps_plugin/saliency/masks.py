"""Files of salient object detection: masks, saliency maps, and folders of images that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine import fileio

from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.images import ImageError, read_image

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


def list_stems(folder: str | Path, suffixes: Sequence[str], backend_args: dict | None = None) -> dict[str, str]:
    """List the files of a folder, not of those below it.

    Args:
        folder: The folder, or URL of one of MMEngine's file backends.
        suffixes: How the names end, in either case of letters, such as ``'.jpg'`` or ``'_mask.png'``.
        backend_args: Arguments of MMEngine's file backend.

    Returns:
        Paths by stem, what stands before the suffix, in the order of the stems.

    Raises:
        FileNotFoundError: There is no such folder.
        PairError: The folder has no such file, or two of one stem.
    """
    if not fileio.isdir(folder, backend_args=backend_args):
        raise FileNotFoundError(f'{folder} is not a folder')
    found = {}
    for name in sorted(fileio.list_dir_or_file(folder, list_dir=False, backend_args=backend_args)):
        suffix = next((each for each in suffixes if name.lower().endswith(each.lower())), None)
        if suffix is None:
            continue
        stem = name[: len(name) - len(suffix)]
        if stem in found:
            raise PairError(f'{folder} has two files for {stem}: {Path(found[stem]).name} and {name}')
        found[stem] = fileio.join_path(folder, name, backend_args=backend_args)
    if not found:
        raise PairError(f'{folder} has no file that ends in {", ".join(suffixes)}')
    return dict(sorted(found.items()))


def check_pairs(first: dict[str, str], second: dict[str, str], first_kind: str, second_kind: str) -> None:
    """Check that two folders have files of the same stems.

    Args:
        first: Paths by stem, as of :func:`list_stems`.
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
            folder = Path(next(iter(there.values()))).parent
            raise PairError(f'{here[alone[0]]}: this {kind} lacks its {other} in {folder}{more}')
