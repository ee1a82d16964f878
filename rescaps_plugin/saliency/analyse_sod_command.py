"""Implementation of ``tools/analyse_sod.py``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmseg.models.segmentors import BaseSegmentor
from rich.progress import track

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.outputs import choose_out_dir
from rescaps_plugin.data.images import IMAGE_SUFFIXES, read_image
from rescaps_plugin.data.pictures import to_picture
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.saliency.datasets import SODDataset
from rescaps_plugin.saliency.drawing import draw_grid
from rescaps_plugin.saliency.evaluation import SUFFIXES, read_map
from rescaps_plugin.saliency.inference import PictureReader, load_detector, predict_maps
from rescaps_plugin.saliency.masks import PairError, list_stems, read_mask, resize_mask
from rescaps_plugin.saliency.metric import score_map
from rescaps_plugin.saliency.report import name_methods, write_report
from rescaps_plugin.training.trained_model import open_trained

# Returns the maps of the images with the given indices.
Method = Callable[[Sequence[int]], list[np.ndarray]]


def run(args: Namespace) -> None:
    """Score methods on a set, and write tables, curves and a picture of some of its images.

    Args:
        args: Arguments of ``tools/analyse_sod.py``.

    Raises:
        UserError: A package is missing, or a file or a folder cannot be used.
    """
    import_extra('py_sod_metrics', 'saliency')
    names = name_methods(args.methods, args.names)
    methods = dict(zip(names, args.methods, strict=True))
    out_dir = choose_out_dir(args.out_dir, Path('work_dirs', names[0]), 'analysis')
    opened = {
        name: open_trained(str(path), checkpoint, args, load_detector)
        for name, (path, checkpoint) in methods.items()
        if checkpoint is not None
    }
    images = open_set(args, next((cfg for cfg, _ in opened.values()), None))
    indices = list(range(len(images.stems)))
    if args.common:
        saved = [list_stems(path, SUFFIXES) for path, checkpoint in methods.values() if checkpoint is None]
        indices = [index for index in indices if all(images.stems[index] in maps for maps in saved)]
        if not indices:
            raise PairError('--common: no image has a map in every folder')
    indices = [indices[index] for index in evenly_spaced(len(indices), args.max_images)]
    shown = choose(images, indices, args)
    indices = sorted({*indices, *shown})

    scores, columns, notes = {}, {}, {}
    columns['image'] = [to_picture(images.image(index), bgr=True) for index in shown]
    columns['mask'] = [images.mask(index) * np.uint8(255) for index in shown]
    for name, (path, _) in methods.items():
        if name in opened:
            run = run_detector(images, *opened[name])
        else:
            run = read_maps(images, indices, path, args.resize)
        scores[name], maps = [], {}
        for start in track(range(0, len(indices), args.batch_size), name):
            batch = indices[start : start + args.batch_size]
            for index, saliency in zip(batch, run(batch), strict=True):
                scores[name].append(score_map(saliency, images.mask(index)))
                if index in shown:
                    maps[index] = saliency
        columns[name] = [maps[index] for index in shown]
        notes[name] = [f'MAE {scores[name][indices.index(index)].mae:.3f}' for index in shown]

    write_report(scores, out_dir, title=f'{len(indices)} images')
    draw_grid(columns, out_dir / 'maps.png', [images.stems[index] for index in shown], notes)
    print(f'wrote {out_dir / "maps.png"}')


class ImageSet:
    """The images and masks that methods are compared on.

    Args:
        dataset: Data set whose samples have ``img_path`` and ``seg_map_path``, or ``img`` and ``gt_seg_map``.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        self.infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        self.stems = [Path(info['img_path']).stem for info in self.infos]

    def image(self, index: int) -> np.ndarray:
        """Return an image, uint8 ``[height, width, 3]``, blue first."""
        info = self.infos[index]
        return info['img'] if 'img' in info else read_image(info['img_path'])

    def mask(self, index: int) -> np.ndarray:
        """Return a mask, bool ``[height, width]``."""
        info = self.infos[index]
        if 'gt_seg_map' in info:
            return info['gt_seg_map'] == 1
        mask = read_mask(info['seg_map_path'])
        return resize_mask(mask, self.image(index).shape[:2]) if info.get('resize_mask') else mask


def open_set(args: Namespace, cfg: Config | None) -> ImageSet:
    """Open the set that the tool's ``--images`` and ``--masks`` name, or else the test set of a config."""
    if args.images is None:
        return ImageSet(PictureReader(cfg).build_dataset())
    folders = dict(img_path=str(args.images.resolve()), seg_map_path=str(args.masks.resolve()))
    return ImageSet(SODDataset(data_prefix=folders, img_suffix=IMAGE_SUFFIXES, seg_map_suffix=SUFFIXES))


def run_detector(images: ImageSet, cfg: Config, model: BaseSegmentor) -> Method:
    """Predict maps with a trained model."""
    reader = PictureReader(cfg)

    def run(indices: Sequence[int]) -> list[np.ndarray]:
        return predict_maps(model, [reader.pack_image(images.image(i), images.stems[i]) for i in indices])

    return run


def read_maps(images: ImageSet, indices: Sequence[int], folder: Path, resize: bool) -> Method:
    """Read the saved maps of the images with the given indices from a folder."""
    maps = list_stems(folder, SUFFIXES)
    lacking = [images.stems[index] for index in indices if images.stems[index] not in maps]
    if lacking:
        raise PairError(
            f'{folder} lacks the maps of {len(lacking)} of {len(indices)} images, such as {lacking[0]}; see --common'
        )

    def run(indices: Sequence[int]) -> list[np.ndarray]:
        return [read_map(maps[images.stems[i]], images.mask(i), f'of {images.stems[i]}', resize) for i in indices]

    return run


def choose(images: ImageSet, indices: Sequence[int], args: Namespace) -> list[int]:
    """Choose the images of the picture: those of ``--show``, or ``--rows`` evenly spaced."""
    if args.show is None:
        return [indices[index] for index in evenly_spaced(len(indices), args.rows)]
    unknown = [stem for stem in args.show if stem not in images.stems]
    if unknown:
        raise UserError(f'--show: the set has no image {unknown[0]}; its first is {images.stems[0]}.')
    return [images.stems.index(stem) for stem in args.show]
