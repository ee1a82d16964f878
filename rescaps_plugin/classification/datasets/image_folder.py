"""Image files in a folder for each class, with every folder checked."""

from __future__ import annotations

import os

from mmpretrain.datasets import CustomDataset, ImageNet
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets.array_files import DataError


@DATASETS.register_module()
class ImageFolder(CustomDataset):
    """Images in a folder for each class, ``<data_root>/<data_prefix>/<class>/*.jpg``, on a local disk.

    mmpretrain's ``CustomDataset`` numbers the folders that it finds: one that is missing would give others its number.
    This one takes a set whole or not at all, and says what is missing and how to get it.

    Args:
        source: How to get the images, for the error message. Defaults to ``''``.
        **kwargs: Arguments of ``CustomDataset``, such as ``data_root``, ``data_prefix``, ``pipeline``, and
            ``metainfo``, whose ``classes`` are the names of the folders in alphabetical order.

    Raises:
        FileNotFoundError: The folder or the annotation file is missing.
        DataError: The folders are not those of the classes, or one holds no image.
    """

    # Whether folders are called as their classes are.
    named_by_folder = True

    def __init__(self, *, source: str = '', **kwargs):
        self.source = source
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """List the samples: ``img_path`` and ``gt_label``."""
        suffixes = ', '.join(sorted(self.extensions))
        for path, there, content in (
            (self.img_prefix, os.path.isdir, f'a folder of images ({suffixes}) for each class'),
            (self.ann_file, os.path.isfile, 'lines of an image and its label'),
        ):
            if path and not there(path):
                raise FileNotFoundError(f'{os.path.abspath(path)} is missing; it is to hold {content}. {self.source}')
        if self.ann_file or not self.with_label:
            return super().load_data_list()

        folders = sorted(entry.name for entry in os.scandir(self.img_prefix) if entry.is_dir())
        classes = list(self.CLASSES or folders) if self.named_by_folder else folders
        if folders != classes or not folders:
            raise DataError(
                f'{self.img_prefix}: expected a folder of images for each class, named '
                f'{", ".join(classes) or "as it is"}; found {", ".join(folders) or "none"}. {self.source}'
            )
        samples = super().load_data_list()
        filled = {sample['gt_label'] for sample in samples}
        empty = [folder for label, folder in enumerate(folders) if label not in filled]
        if empty:
            raise DataError(f'{self.img_prefix}: no images in {", ".join(empty)}. {self.source}')
        return samples


@DATASETS.register_module()
class ImageNetFolder(ImageFolder, ImageNet):
    """ImageNet-1k, mmpretrain's ``ImageNet``, with the checks of :class:`ImageFolder`; folders are WordNet's numbers.

    Args:
        source: How to get the images, for the error message. Defaults to ``''``.
        **kwargs: Arguments of ``ImageNet``: ``data_root``, ``split``, ``pipeline``, ...

    Raises:
        FileNotFoundError: As :class:`ImageFolder`.
        DataError: A folder holds no image.
    """

    named_by_folder = False
