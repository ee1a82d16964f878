"""Salient object detection from folders of images and masks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mmengine import list_from_file
from mmengine.fileio import LocalBackend, exists, get_file_backend
from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from rescaps_plugin.saliency.masks import SALIENT, PairError, check_pairs, list_files, list_misfits, pair_by_size

# For MMSegmentation's own LoadAnnotations, which knows labels only: the label of each grey level that is not its own.
GREY_LABELS = {grey: int(grey >= SALIENT) for grey in range(1, 256)}
MISMATCHES = ('error', 'skip', 'resize')


@DATASETS.register_module()
class SODDataset(BaseSegDataset):
    """Images and masks of the same stems, in a folder each. Salient is what a mask's grey level above 127 marks.

    Samples carry ``dataset``, the name of the set, by which :class:`~rescaps_plugin.saliency.SODMetric` makes a row of
    metrics for each set. Load masks by :class:`~rescaps_plugin.saliency.transforms.LoadSaliencyMask`; MMSegmentation's
    ``LoadAnnotations`` gives the same labels for masks that are 8-bit greys, and takes others for what they are not.

    When the set is built, sizes are read from the headers of all its files, and masks of another size than their image
    are listed at once. Where a stem has several files of the suffixes, the pair of one size is taken. Headers of files
    on a remote backend would take a download each: there only stems of several files are checked, or all with
    ``mismatch='skip'``, and loading a sample finds the others.

    Args:
        data_root: Folder of the set.
        data_prefix: Folders of images and masks below it, ``dict(img_path=..., seg_map_path=...)``; the archive's own
            by default.
        ann_file: List of the stems to use, one a line, with or without the image's suffix, below ``data_root``; all
            that the folders have by default.
        stem_range: First and last stem to use, in alphabetical order, such as ``('0001', '0500')``.
        img_suffix: How images' names end, one suffix or several, in either case of letters.
        seg_map_suffix: How masks' names end, one suffix or several.
        name: Name of the set; that of the archive, or of the folder, by default.
        mismatch: What becomes of a mask that has another size than its image, or of files that are no images:
            ``'error'``, the default, refuses the set; ``'skip'`` leaves the pair out and logs it; ``'resize'`` has
            :class:`~rescaps_plugin.saliency.transforms.LoadSaliencyMask` bring the mask to the image's size.
        **kwargs: Other arguments of :class:`mmseg.datasets.BaseSegDataset`, such as ``pipeline`` and ``indices``.

    Raises:
        FileNotFoundError: A folder or the list is missing.
        PairError: An image has no mask or a mask no image, their sizes differ, or what is asked for is not there.
        ValueError: ``stem_range`` or ``mismatch`` is none.
    """

    METAINFO = dict(classes=('background', 'salient'), palette=[[0, 0, 0], [255, 255, 255]])
    NAME: str | None = None
    IMAGES, MASKS = 'images', 'masks'
    IMG_SUFFIX: str | tuple[str, ...] = ('.jpg', '.jpeg')
    MASK_SUFFIX: str | tuple[str, ...] = '.png'

    def __init__(
        self,
        data_root: str = '',
        data_prefix: dict | None = None,
        ann_file: str = '',
        stem_range: Sequence[str] | None = None,
        img_suffix: str | Sequence[str] | None = None,
        seg_map_suffix: str | Sequence[str] | None = None,
        name: str | None = None,
        mismatch: str = 'error',
        **kwargs,
    ) -> None:
        if stem_range is not None and not (
            isinstance(stem_range, (list, tuple))
            and len(stem_range) == 2
            and all(isinstance(stem, str) for stem in stem_range)
        ):
            raise ValueError(f'{type(self).__name__}: stem_range must be two strings, not {stem_range!r}')
        if mismatch not in MISMATCHES:
            raise ValueError(f'{type(self).__name__}: mismatch must be one of {MISMATCHES}, not {mismatch!r}')
        self.mismatch = mismatch
        self.name = name or self.NAME or Path(data_root).name or 'SOD'
        self.stem_range = stem_range
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path=self.IMAGES, seg_map_path=self.MASKS),
            ann_file=ann_file,
            img_suffix=self.IMG_SUFFIX if img_suffix is None else img_suffix,
            seg_map_suffix=self.MASK_SUFFIX if seg_map_suffix is None else seg_map_suffix,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """List the samples: ``img_path`` and ``seg_map_path``, in the order of their stems or of the list."""
        paths = []
        for prefix, suffix in (('img_path', self.img_suffix), ('seg_map_path', self.seg_map_suffix)):
            suffixes = (suffix,) if isinstance(suffix, str) else tuple(suffix)
            try:
                paths.append(list_files(self.data_prefix[prefix], suffixes, self.backend_args))
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f'{self.name}: {error}. Put the set there, or say by data_root and data_prefix where it is.'
                ) from error
        images, masks = paths
        stems = self.read_list(images, masks) if self.ann_file else sorted(images.keys() | masks.keys())
        if self.stem_range is not None:
            first, last = self.stem_range
            stems = [stem for stem in stems if first <= stem <= last]
            if not stems:
                raise PairError(f'{self.name}: {self.data_prefix["img_path"]} has no image from {first} to {last}')
        images, masks = ({stem: part[stem] for stem in stems if stem in part} for part in paths)
        check_pairs(images, masks, 'image', 'mask')
        return [
            dict(img_path=path, seg_map_path=mask, dataset=self.name, reduce_zero_label=False, seg_fields=[])
            for path, mask in self.pair_files(images, masks)
        ]

    def pair_files(self, images: dict[str, list[str]], masks: dict[str, list[str]]) -> list[tuple[str, str]]:
        """Pair images and masks of one size, and do with others as ``mismatch`` says."""
        local = isinstance(get_file_backend(self.data_prefix['img_path'], backend_args=self.backend_args), LocalBackend)
        every = local or self.mismatch == 'skip'
        read = {stem: paths for stem, paths in images.items() if every or len(paths) > 1 or len(masks[stem]) > 1}
        oriented = not any('ignore_orientation' in getattr(step, 'color_type', '') for step in self.pipeline.transforms)
        pairs, misfits = pair_by_size(read, masks, self.backend_args, oriented)
        pairs = {stem: pairs.get(stem, (images[stem][0], masks[stem][0])) for stem in images}
        refused = misfits
        if self.mismatch == 'resize':
            refused = {stem: misfit for stem, misfit in misfits.items() if not misfit.resizable}
        elif self.mismatch == 'skip':
            refused = misfits if len(misfits) == len(pairs) else {}
            pairs = {stem: pair for stem, pair in pairs.items() if stem not in misfits}
        if refused:
            raise PairError(
                f'{self.name}: {len(refused)} of {len(images)} images and their masks do not fit:\n'
                f"{list_misfits(refused.values())}\nmismatch='skip' leaves them out, mismatch='resize' brings masks to "
                'the size of their images.'
            )
        if misfits:
            done = dict(skip='leaves out', resize='resizes the masks of')[self.mismatch]
            print_log(
                f'{self.name} {done} {len(misfits)} of {len(images)} images, whose masks do not fit:\n'
                f'{list_misfits(misfits.values())}',
                logger='current',
                level=logging.WARNING,
            )
        return list(pairs.values())

    def read_list(self, images: dict[str, str], masks: dict[str, str]) -> list[str]:
        """Read the stems that ``ann_file`` lists, each of an image or a mask that is there."""
        if not exists(self.ann_file, backend_args=self.backend_args):
            raise FileNotFoundError(f'{self.name}: the list {self.ann_file} does not exist')
        try:
            lines = list_from_file(self.ann_file, backend_args=self.backend_args)
        except UnicodeDecodeError as error:
            raise PairError(f'{self.ann_file}: lines of UTF-8 were expected ({error})') from error
        stems = []
        for line in lines:
            entry = line.strip()
            if not entry:
                continue
            stem = entry if entry in images or entry in masks else Path(entry).stem
            if stem not in images and stem not in masks:
                raise PairError(f'{self.ann_file}: {entry} is not in {self.data_prefix["img_path"]}')
            stems.append(stem)
        if not stems:
            raise PairError(f'{self.ann_file}: the list is empty')
        return stems

    def get_data_info(self, idx: int) -> dict:
        """Get what :meth:`load_data_list` lists of a sample, the label of each grey level, and ``resize_mask``."""
        resize = self.mismatch == 'resize'
        return {**super().get_data_info(idx), 'label_map': GREY_LABELS, 'resize_mask': resize}
