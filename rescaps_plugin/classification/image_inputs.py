"""Read image files in the same way as the test set of a config."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import TRANSFORMS

from rescaps_plugin.cli.config import find_test_pipeline, inner_datasets
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.images import read_image
from rescaps_plugin.data.pictures import leaves_bgr
from rescaps_plugin.data.pipelines import loads_image


class ImageFiles(Sequence):
    """Image files as a data set, read and processed by a config's test pipeline.

    Args:
        paths: The files.
        cfg: The config.
        model: The config's model. If the pipeline does not read files, its first convolution decides between grey and
            colour.

    Raises:
        UserError: The model's input does not have 1 or 3 channels.
    """

    def __init__(self, paths: Sequence[Path], cfg: Config, model: torch.nn.Module):
        self.paths = paths
        self.read = image_reader(cfg, model)
        steps = [step for step in find_test_pipeline(cfg) if not loads_image(step)]
        self.pipeline = Compose([TRANSFORMS.build(step) for step in steps])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        """Return a sample.

        Raises:
            ImageError: The file cannot be decoded completely.
        """
        return self.pipeline({'img_path': str(self.paths[index]), **self.read(self.paths[index])})


def image_reader(cfg: Config, model: torch.nn.Module) -> Callable[[Path], dict]:
    """Create a function that reads files in the format of the config's test set.

    If the test pipeline loads files, its loading step is used. Otherwise (the data set holds arrays) the first
    convolution decides between grey and colour, and the data preprocessor determines the channel order.

    Args:
        cfg: The config.
        model: The config's model.

    Returns:
        Function from a path to a dict with ``img``, ``img_shape`` and ``ori_shape``.

    Raises:
        UserError: The model's input does not have 1 or 3 channels.
    """
    loader = next(filter(loads_image, find_test_pipeline(cfg)), None)
    if loader is not None:
        load = TRANSFORMS.build(loader)
        return lambda path: load({'img_path': str(path)})

    stem = next((module for module in model.modules() if isinstance(module, torch.nn.Conv2d)), None)
    channels = 3 if stem is None else stem.in_channels
    if channels not in (1, 3):
        raise UserError(
            f'the model takes images of {channels} channels; an image file has 1 or 3. Omit INPUT to use the '
            "config's test set."
        )
    color_type, order = 'grayscale' if channels == 1 else 'color', 'bgr' if reads_bgr(cfg) else 'rgb'

    def read(path: Path) -> dict:
        img = read_image(path, color_type, order)
        return {'img': img, 'img_shape': img.shape[:2], 'ori_shape': img.shape[:2]}

    return read


def reads_bgr(cfg: Config) -> bool:
    """Return whether the data preprocessor gets BGR images, the order of OpenCV."""
    options = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader') or {}
    pipeline = inner_datasets(loader.get('dataset', {}))[0].get('pipeline', ())
    return leaves_bgr(pipeline, options.get('to_rgb', False))
