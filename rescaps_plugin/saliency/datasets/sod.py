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

# Label of each grey level above 0, for MMSegmentation's LoadAnnotations, which expects masks of labels.
GREY_LABELS = {grey: int(grey >= SALIENT) for grey in range(1, 256)}
MISMATCHES = ('error', 'skip', 'resize')


@DATASETS.register_module()
class SODDataset(BaseSegDataset):
    """Folders of images and masks with the same stems. Pixels with a mask value above 127 are salient.

    Samples have ``dataset``, the name of the data set, by which :class:`~rescaps_plugin.saliency.SODMetric` groups
    metrics. Load masks by :class:`~rescaps_plugin.saliency.transforms.LoadSaliencyMask`; MMSegmentation's
    ``LoadAnnotations`` loads the same labels from 8-bit grey masks, but wrong ones from other formats.

    When the data set is built, image sizes are read from the headers of all files, and all masks that differ in size
    from their image are reported together. If a stem has several files, the pair of equal size is used. On a remote
    backend each header would need a download: there only stems with several files are checked (with
    ``mismatch='skip'`` all are), and other mismatches are found when a sample is loaded.

    Args:
        data_root: Folder of the data set.
        data_prefix: Subfolders of images and masks, ``dict(img_path=..., seg_map_path=...)``. Defaults to those of the
            archive.
        ann_file: File below ``data_root`` with the stems to use, one per line, with or without the image's suffix.
            By default, all stems in the folders are used.
        stem_range: First and last stem to use, in alphabetical order, such as ``('0001', '0500')``.
        img_suffix: Suffix or suffixes of image names, case-insensitive.
        seg_map_suffix: Suffix or suffixes of mask names, case-insensitive.
        name: Name of the data set. Defaults to that of the archive, or of the folder.
        mismatch: How to handle masks that differ in size from their image, and invalid image files: ``'error'`` raises
            an error; ``'skip'`` logs and omits the pair; ``'resize'`` makes
            :class:`~rescaps_plugin.saliency.transforms.LoadSaliencyMask` resize the mask. Defaults to ``'error'``.
        **kwargs: Other arguments of :class:`mmseg.datasets.BaseSegDataset`, such as ``pipeline`` and ``indices``.

    Raises:
        FileNotFoundError: A folder or the list is missing.
        PairError: An image has no mask or a mask no image, their sizes differ, or a listed stem does not exist.
        ValueError: ``stem_range`` or ``mismatch`` is invalid.
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
        """List the samples, with ``img_path`` and ``seg_map_path``, in the order of the stems or of ``ann_file``."""
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
        check_pairs(images, masks, 'image', 'mask', stems)
        images, masks = ({stem: part[stem] for stem in stems} for part in paths)
        return [
            dict(img_path=path, seg_map_path=mask, dataset=self.name, reduce_zero_label=False, seg_fields=[])
            for path, mask in self.pair_files(images, masks)
        ]

    def pair_files(self, images: dict[str, list[str]], masks: dict[str, list[str]]) -> list[tuple[str, str]]:
        """Pair images and masks of equal size, and handle others according to ``mismatch``."""
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
                f'{self.name}: {len(refused)} of {len(images)} images do not match their masks:\n'
                f"{list_misfits(refused.values())}\nmismatch='skip' skips them, mismatch='resize' resizes masks to the "
                'size of their images.'
            )
        if misfits:
            done = dict(skip='skips', resize='resizes the masks of')[self.mismatch]
            print_log(
                f'{self.name} {done} {len(misfits)} of {len(images)} images, which do not match their masks:\n'
                f'{list_misfits(misfits.values())}',
                logger='current',
                level=logging.WARNING,
            )
        return list(pairs.values())

    def read_list(self, images: dict[str, str], masks: dict[str, str]) -> list[str]:
        """Read the stems of ``ann_file`` and check that each has an image or a mask."""
        if not exists(self.ann_file, backend_args=self.backend_args):
            raise FileNotFoundError(f'{self.name}: the list {self.ann_file} does not exist')
        try:
            lines = list_from_file(self.ann_file, backend_args=self.backend_args)
        except UnicodeDecodeError as error:
            raise PairError(f'{self.ann_file}: expected lines of UTF-8 ({error})') from error
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
        """Return a sample of :meth:`load_data_list`, with ``label_map`` and ``resize_mask``."""
        resize = self.mismatch == 'resize'
        return {**super().get_data_info(idx), 'label_map': GREY_LABELS, 'resize_mask': resize}
