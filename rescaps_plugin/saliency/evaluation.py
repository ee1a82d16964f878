"""Scoring folders of saved saliency maps against masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from rescaps_plugin.data.images import ImageError
from rescaps_plugin.saliency.masks import (
    PairError,
    check_pairs,
    list_files,
    list_misfits,
    pair_by_size,
    read_grey,
    read_mask,
)
from rescaps_plugin.saliency.metric import MapScores, score_map

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


def read_map(path: str | Path, mask: np.ndarray, mask_path: str | Path, resize: bool = False) -> np.ndarray:
    """Read a saved map of the size of its mask.

    Args:
        path: File of the map.
        mask: The mask ``[height, width]``.
        mask_path: Its file, for the error message.
        resize: Whether to bring a map of another size to the mask's, linearly.

    Returns:
        uint8 map ``[height, width]``.

    Raises:
        ImageError: The file cannot be used; or the sizes differ, and ``resize`` is not set.
    """
    saliency = read_grey(path)
    if saliency.shape != mask.shape:
        if not resize:
            sizes = ' and '.join(f'{width} x {height}' for height, width in (saliency.shape, mask.shape))
            raise ImageError(
                f'{path}: the map and its mask {mask_path} differ in size: {sizes} pixels. --resize brings maps to the '
                'size of their masks.'
            )
        saliency = cv2.resize(saliency, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return saliency


def score_file(paths: tuple[str, str], resize: bool = False) -> MapScores:
    """Score a saved map: its path and its mask's, as :func:`read_map` and :func:`score_map` do."""
    path, mask_path = paths
    mask = read_mask(mask_path)
    return score_map(read_map(path, mask, mask_path, resize), mask)


def score_files(
    maps: Mapping[str, str], masks: Mapping[str, str], resize: bool = False, workers: int = 1
) -> Iterator[MapScores]:
    """Score saved maps, in the order of the masks.

    Args:
        maps: Paths of maps by stem.
        masks: Paths of masks by stem.
        resize: As of :func:`read_map`.
        workers: Number of processes.

    Yields:
        The scores of each map.

    Raises:
        ImageError: A file cannot be used; or sizes differ, and ``resize`` is not set.
    """
    pairs = [(maps[stem], path) for stem, path in masks.items()]
    score = partial(score_file, resize=resize)
    if workers == 1:
        yield from map(score, pairs)
        return
    # Forking would copy threads' locks of PyTorch and OpenCV.
    with ProcessPoolExecutor(workers, mp_context=get_context('spawn')) as pool:
        yield from pool.map(score, pairs, chunksize=max(1, min(16, len(pairs) // workers)))
