"""Scoring folders of saved saliency maps against masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rescaps_plugin.data.images import ImageError, read_alpha, read_image
from rescaps_plugin.saliency.masks import (
    PairError,
    check_pairs,
    list_files,
    list_misfits,
    pair_by_size,
    read_grey,
    read_mask,
)
from rescaps_plugin.saliency.metric import score_map

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')


def list_maps(
    folders: Sequence[Path], gt_dir: Path, common: bool = False, resize: bool = False
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """List masks and the maps of methods. Where a stem has several files, those of one size are taken.

    Args:
        folders: Folders of the methods' maps, of the same stems as the masks.
        gt_dir: Folder of the masks.
        common: Whether to take the stems that all have, instead of refusing those that some lack.
        resize: Whether maps may be of other sizes than their masks.

    Returns:
        Paths by stem: the masks', and each method's maps'.

    Raises:
        FileNotFoundError: A folder is missing.
        PairError: A mask has no map or a map no mask; or, with ``common``, no stem is in all folders; or
            sizes differ without ``resize``, or headers cannot be read.
    """
    masks, *methods = (list_files(folder, SUFFIXES) for folder in (gt_dir, *folders))
    if common:
        stems = sorted(masks.keys() & set.intersection(*(set(maps) for maps in methods)))
        if not stems:
            raise PairError(f'no file of {gt_dir} has its counterpart in all of {", ".join(map(str, folders))}')
        masks, *methods = ({stem: part[stem] for stem in stems} for part in (masks, *methods))
    for maps in methods:
        try:
            check_pairs(masks, maps, 'mask', 'map')
        except PairError as error:
            raise PairError(f'{error}. --common scores what all folders have.') from error
    chosen = []
    for maps in methods:
        pairs, misfits = pair_by_size(masks, maps)
        refused = [misfit for misfit in misfits.values() if not (resize and misfit.resizable)]
        if refused:
            raise PairError(
                f'{len(refused)} of {len(masks)} masks and their maps do not fit:\n{list_misfits(refused)}\n'
                '--resize brings maps to the size of their masks.'
            )
        masks = {stem: [mask] for stem, (mask, _) in pairs.items()}
        chosen.append({stem: path for stem, (_, path) in pairs.items()})
    return {stem: mask for stem, (mask,) in masks.items()}, chosen


def read_map(
    path: str | Path, mask: np.ndarray, mask_path: str | Path, resize: bool = False, alpha: bool = False
) -> np.ndarray:
    """Read a saved map of the size of its mask.

    Args:
        path: File of the map.
        mask: The mask ``[height, width]``.
        mask_path: Its file, for the error message.
        resize: Whether to bring a map of another size to the mask's, linearly.
        alpha: Whether the map is the alpha channel of the file, which is a cut-out.

    Returns:
        uint8 map ``[height, width]``.

    Raises:
        ImageError: The file cannot be used; or the sizes differ, and ``resize`` is not set.
    """
    saliency = _read_opacity(path) if alpha else read_grey(path)
    if saliency.shape != mask.shape:
        if not resize:
            sizes = ' and '.join(f'{width} x {height}' for height, width in (saliency.shape, mask.shape))
            raise ImageError(
                f'{path}: the map and its mask {mask_path} differ in size: {sizes} pixels. --resize brings maps to the '
                'size of their masks.'
            )
        saliency = cv2.resize(saliency, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return saliency


def _read_opacity(path: str | Path) -> np.ndarray:
    """Read the alpha channel of a cut-out."""
    read_image(path)  # validates the file
    opacity = read_alpha(path)
    if opacity is None:
        raise ImageError(f'{path}: this image has no alpha channel')
    return opacity


def score_file(paths: tuple[str, str], score: Callable[[np.ndarray, np.ndarray], Any], **options: bool) -> Any:
    """Score a saved map, as :func:`score_files` does: its path and its mask's."""
    path, mask_path = paths
    mask = read_mask(mask_path)
    return score(read_map(path, mask, mask_path, **options), mask)


@contextmanager
def parallel_map(workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a ``map`` over several processes, which are started once: each takes seconds to import the package.

    Args:
        workers: Number of processes; 1: the built-in ``map``.
    """
    if workers == 1:
        yield map
        return
    # Forking would copy threads' locks of PyTorch and OpenCV.
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        yield partial(pool.map, chunksize=4)


def score_files(
    maps: Mapping[str, str],
    masks: Mapping[str, str],
    score: Callable[[np.ndarray, np.ndarray], Any] = score_map,
    map_files: Callable[..., Iterator[Any]] = map,
    **options: bool,
) -> Iterator[Any]:
    """Score saved maps, in the order of the masks.

    Args:
        maps: Paths of maps by stem.
        masks: Paths of masks by stem.
        score: Function of a map and a mask.
        map_files: The built-in ``map``, or that of :func:`parallel_map`.
        **options: ``resize`` and ``alpha`` of :func:`read_map`.

    Returns:
        An iterator of what ``score`` returns for each map.

    Raises:
        ImageError: A file cannot be used; or sizes differ, and ``resize`` is not set.
    """
    pairs = [(maps[stem], path) for stem, path in masks.items()]
    return map_files(partial(score_file, score=score, **options), pairs)
