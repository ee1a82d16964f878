"""Image files in one folder per class, with checks of the folders."""

from __future__ import annotations

import os

from mmpretrain.datasets import CustomDataset, ImageNet
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets.array_files import DataError
from rescaps_plugin.data.folders import list_folders, walk_files
from rescaps_plugin.data.images import IMAGE_SUFFIXES


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """Images in one folder per class, ``<data_root>/<data_prefix>/<class>/*.jpg``, on a local disk.

    mmpretrain's ``CustomDataset`` numbers the folders that it finds, so that a missing folder shifts the labels of
    others. With ``metainfo``, this class raises an error if the data set is incomplete, and tells how to get it;
    without, the tools compare the folders of validation and test with those of training. Hidden folders and those of
    operating systems, such as ``__MACOSX``, are ignored.

    Args:
        source: Instructions to get the images, for the error message. Defaults to ``''``.
        **kwargs: Arguments of ``CustomDataset``, such as ``data_root``, ``data_prefix``, ``pipeline``, and
            ``metainfo``, whose ``classes`` are the names of the folders in alphabetical order. ``extensions`` defaults
            to those of all supported image formats.

    Raises:
        FileNotFoundError: The folder or the annotation file is missing.
        DataError: The folders do not match the classes, one has no image, or the annotation file is not a list of
            images and labels.
    """

    # Whether folders have the names of the classes.
    named_by_folder = True

    def __init__(self, *, source: str = '', **kwargs):
        self.source = source
        super().__init__(**{'extensions': IMAGE_SUFFIXES, **kwargs})

    def load_data_list(self) -> list[dict]:
        """List the samples, with ``img_path`` and ``gt_label``."""
        suffixes = ', '.join(sorted(self.extensions))
        for path, there, content in (
            (self.img_prefix, os.path.isdir, f'a folder of images ({suffixes}) for each class'),
            (self.ann_file, os.path.isfile, 'lines of an image and its label'),
        ):
            if path and not there(path):
                raise FileNotFoundError(f'{os.path.abspath(path)} is missing; expected {content}. {self.source}')
        if self.ann_file:
            return self._read_annotations()
        if not self.with_label:
            return super().load_data_list()

        folders = list_folders(self.img_prefix)
        classes = list(self.CLASSES or folders) if self.named_by_folder else folders
        if folders != classes or not folders:
            raise DataError(
                f'{self.img_prefix}: expected a folder of images for each class, named '
                f'{", ".join(classes) or "as it is"}; found {", ".join(folders) or "none"}. {self.source}'
            )
        return super().load_data_list()

    def _find_samples(self) -> list[tuple[str, int]] | list[str]:
        """List the images, with their labels if they are in class folders."""
        if not self.with_label:
            samples = self._list_images('')
            if not samples:
                raise DataError(f'{self.img_prefix}: no images in it or below. {self.source}')
            return samples
        folders = list_folders(self.img_prefix)
        self.folder_to_idx = {folder: label for label, folder in enumerate(folders)}
        images = [self._list_images(folder) for folder in folders]
        empty = [folder for folder, found in zip(folders, images, strict=True) if not found]
        if empty:
            raise DataError(f'{self.img_prefix}: no images in {", ".join(empty)}. {self.source}')
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(folders)
        elif len(self.CLASSES) != len(folders):
            raise DataError(
                f'{self.img_prefix}: expected {len(self.CLASSES)} folders of images, one for each class, found '
                f'{len(folders)}. {self.source}'
            )
        return [(image, label) for label, found in enumerate(images) for image in found]

    def _list_images(self, folder: str) -> list[str]:
        """List the images of a folder and its subfolders by their paths relative to the root of the images."""
        found = filter(self.is_valid_file, walk_files(os.path.join(self.img_prefix, folder)))
        return sorted(os.path.relpath(path, self.img_prefix) for path in found)

    def _read_annotations(self) -> list[dict]:
        try:
            samples = super().load_data_list()
        except ValueError as error:  # wrong encoding, a line of one word, or a label that is not a number
            what = 'an image and the number of its class' if self.with_label else 'an image'
            raise DataError(f'{self.ann_file}: every line must be {what}, in UTF-8 ({error})') from error
        count = len(self.CLASSES or ())
        labels = {each['gt_label'] for each in samples if self.with_label}
        if wrong := sorted(label for label in labels if label < 0 or count and label >= count):
            allowed = f'0 to {count - 1}' if count else '0 or more'
            raise DataError(f'{self.ann_file}: labels must be {allowed}, found {wrong}')
        return samples


@DATASETS.register_module()
class ImageNetFolder(ImageFolder, ImageNet):
    """ImageNet-1k: mmpretrain's ``ImageNet`` with the checks of :class:`ImageFolder`; folders are named by WordNet IDs.

    Args:
        source: Instructions to get the images, for the error message. Defaults to ``''``.
        **kwargs: Arguments of ``ImageNet``: ``data_root``, ``split``, ``pipeline``, ...

    Raises:
        FileNotFoundError: As in :class:`ImageFolder`.
        DataError: A folder has no image.
    """

    named_by_folder = False
