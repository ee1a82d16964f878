"""Read images in the same way as the test set of a config."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import TRANSFORMS

from rescaps_plugin.classification.inference import find_channels
from rescaps_plugin.cli.config import find_test_pipeline, inner_datasets
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.memory_images import ImageInput, load_image
from rescaps_plugin.data.pictures import leaves_bgr
from rescaps_plugin.data.pipelines import loads_image
from rescaps_plugin.data.transforms import LoadCheckedImageFromFile


class ImageReader:
    """Read images by the test pipeline of a config.

    If the pipeline loads files, its loading step is used. Otherwise (the data set holds arrays) the first convolution
    decides between grey and colour, and the data preprocessor determines the channel order. Images in memory are read
    as PNG files of them.

    Args:
        cfg: The config.
        model: The config's model.

    Raises:
        UserError: The pipeline does not load files, and the model's input does not have 1 or 3 channels.
    """

    def __init__(self, cfg: Config, model: torch.nn.Module) -> None:
        pipeline = find_test_pipeline(cfg)
        loader = next(filter(loads_image, pipeline), None)
        self.to_rgb = loader is None and not reads_bgr(cfg)
        self.load = TRANSFORMS.build(loader or dict(type=LoadCheckedImageFromFile, color_type=_find_color_type(model)))
        self.pipeline = Compose([TRANSFORMS.build(step) for step in pipeline if not loads_image(step)])

    def __call__(self, image: ImageInput, source: str | None = None) -> dict:
        """Return a sample.

        Args:
            image: Path of a file, or an image as in :func:`~rescaps_plugin.data.memory_images.to_pixels`.
            source: Name of an image in memory.

        Raises:
            ImageError: The image cannot be decoded completely, or is not an image.
            OSError: The file is missing or cannot be read.
        """
        if isinstance(image, (str, PathLike)):
            results = self.load({'img_path': str(image)})
        else:
            results = load_image(image, source, self.load)
        if self.to_rgb and results['img'].ndim == 3:
            results['img'] = np.ascontiguousarray(results['img'][..., ::-1])
        return self.pipeline(results)


class ImageFiles(Sequence):
    """Image files as a data set; see :class:`ImageReader`.

    Args:
        paths: The files.
        read: The reader.
    """

    def __init__(self, paths: Sequence[Path], read: ImageReader) -> None:
        self.paths = paths
        self.read = read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        """Return a sample.

        Raises:
            ImageError: The file cannot be decoded completely.
        """
        return self.read(self.paths[index])


def _find_color_type(model: torch.nn.Module) -> str:
    """Return whether a model takes ``'grayscale'`` or ``'color'`` images."""
    channels = find_channels(model) or 3
    if channels not in (1, 3):
        raise UserError(
            f'the model takes images of {channels} channels; an image file has 1 or 3. Omit INPUT to use the '
            "config's test set."
        )
    return 'grayscale' if channels == 1 else 'color'


def reads_bgr(cfg: Config) -> bool:
    """Return whether the data preprocessor gets BGR images, the order of OpenCV."""
    options = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    pipeline = inner_datasets(loader.get('dataset', {}))[0].get('pipeline', ())
    return leaves_bgr(pipeline, options.get('to_rgb', False))
