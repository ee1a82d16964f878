"""Trained salient object detectors at work: opening them, the maps of images, and what images come of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DATASETS
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS, TRANSFORMS

from rescaps_plugin.engine.checkpoint import load_weights
from rescaps_plugin.engine.config import find_test_pipeline, require
from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.files import spread
from rescaps_plugin.engine.images import ImageError, read_image
from rescaps_plugin.saliency.data_preprocessor import SaliencyDataPreProcessor
from rescaps_plugin.saliency.metric import saliency_of, to_grey

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')
# Steps of a test pipeline that load what a picture at hand already has, or has not.
LOADERS = ('LoadAnnotations', 'LoadImageFromFile', 'LoadImageFromNDArray', 'LoadSaliencyMask')


@dataclass
class Picture:
    """An image to predict.

    Args:
        source: Where it comes from: a path, a frame of a video, or a name in a data set.
        name: Relative path of what is made of it, without a suffix.
        image: uint8 image ``[height, width, 3]``, blue first.
        sample: The image as the test pipeline packs it.
        mask: bool mask ``[height, width]``, where it is known.
        video: The video's name and its frames per second, of a frame.
    """

    source: str
    name: str
    image: np.ndarray
    sample: dict
    mask: np.ndarray | None = None
    video: tuple[str, float] | None = None


def load_detector(cfg: Config, checkpoint: str, device: str) -> BaseSegmentor:
    """Build the detector of a config and load a checkpoint of it.

    Args:
        cfg: The config.
        checkpoint: Path or URL.
        device: Where the model runs.

    Returns:
        The model, in eval mode.

    Raises:
        UserError: The config's model is no salient object detector, or the checkpoint is one of another model.
    """
    if cfg.get('default_scope') != 'mmseg':
        raise UserError(f'config {cfg.filename} has default_scope {cfg.get("default_scope")!r}; it may be mmseg.')
    model = MODELS.build(cfg.model)
    channels = getattr(getattr(model, 'decode_head', None), 'out_channels', None)
    if not isinstance(model, BaseSegmentor) or channels not in (1, 2):
        raise UserError(
            f'config {cfg.filename}: the model must be a segmentor whose decode_head has 1 or 2 out_channels, it is '
            f'{cfg.model.type} with {channels}.'
        )
    load_weights(model, checkpoint)
    return model.to(device).eval()


def predict_maps(model: BaseSegmentor, samples: Sequence[dict]) -> list[np.ndarray]:
    """Predict a batch.

    Args:
        model: The model, in eval mode.
        samples: Samples as a test pipeline packs them.

    Returns:
        uint8 saliency maps ``[height, width]`` of the size that each image has before the pipeline.

    Raises:
        UserError: Images differ in size, and nothing brings them to one.
    """
    preprocessor = model.data_preprocessor
    shapes = {tuple(sample['inputs'].shape) for sample in samples}
    if len(shapes) > 1 and not (isinstance(preprocessor, SaliencyDataPreProcessor) and preprocessor.test_size):
        raise UserError(
            f'images of a batch differ in size, [channels, height, width]: {sorted(shapes)[:3]}. Set test_size of '
            'SaliencyDataPreProcessor, or use --batch-size 1.'
        )
    batch = {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}
    with torch.no_grad():
        results = model.test_step(batch)
    return [to_grey(saliency_of(result.seg_logits.data)) for result in results]


class PictureReader:
    """Makes pictures of files, frames and samples, as the test pipeline of a config says.

    Args:
        cfg: The config.

    Raises:
        UserError: The config's test set has no pipeline.
    """

    def __init__(self, cfg: Config) -> None:
        require(cfg, 'test_dataloader')
        self.dataset = cfg.test_dataloader.dataset
        pipeline = find_test_pipeline(cfg)
        loader = next((step for step in pipeline if step['type'] == 'LoadImageFromFile'), {'type': 'LoadImageFromFile'})
        self.load = TRANSFORMS.build(loader)
        self.pack = Compose([TRANSFORMS.build(step) for step in pipeline if step['type'] not in LOADERS])

    def pack_image(self, image: np.ndarray, source: str) -> dict:
        """Make a sample of an image, uint8 ``[height, width, 3]``, blue first; ``source`` is its name."""
        size = image.shape[:2]
        return self.pack(dict(img=image, img_path=source, img_shape=size, ori_shape=size))

    def read_files(self, paths: Sequence[Path], limit: int | None, failures: list[str]) -> Iterator[Picture]:
        """Read images and frames of videos.

        Args:
            paths: The files.
            limit: Number of images, and of frames of a video, at even distances; all by default.
            failures: Gets what is wrong with the files that cannot be used.

        Yields:
            The pictures.
        """
        names = dict(zip(paths, name_outputs(paths), strict=True))
        images = [path for path in paths if path.suffix.lower() not in VIDEO_SUFFIXES]
        kept = {images[index] for index in spread(len(images), limit)}
        for path in paths:
            try:
                if path in kept:
                    results = self.load({'img_path': str(path)})
                    yield Picture(str(path), names[path], in_colors(results['img']), self.pack(results))
                elif path.suffix.lower() in VIDEO_SUFFIXES:
                    yield from self.read_video(path, names[path], limit)
            except ImageError as error:
                failures.append(str(error))

    def read_video(self, path: Path, name: str, limit: int | None) -> Iterator[Picture]:
        """Read the frames of a video, as :meth:`read_files` does.

        Raises:
            ImageError: No frame can be read.
        """
        video = cv2.VideoCapture(str(path))
        try:
            count = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
            # Some files do not say how many frames they have, or how fast.
            kept = set(spread(count, limit)) if limit is not None and count else None
            rate = video.get(cv2.CAP_PROP_FPS) or 25.0
            number = 0
            while True:
                read, frame = video.read()
                if not read:
                    break
                if kept is None or number in kept:
                    source = f'{path}:{number}'
                    sample = self.pack_image(frame, source)
                    yield Picture(source, f'{name}/{number:06d}', frame, sample, video=(name, rate))
                number += 1
        finally:
            video.release()
        if number == 0:
            raise ImageError(f'{path}: no frame of this video can be read')

    def build_dataset(self) -> BaseDataset:
        """Build the config's test set."""
        return DATASETS.build(self.dataset)

    def read_dataset(self, dataset: BaseDataset, indices: Sequence[int], failures: list[str]) -> Iterator[Picture]:
        """Read samples of a data set, with their masks.

        Args:
            dataset: As of :meth:`build_dataset`.
            indices: Numbers of the samples.
            failures: Gets what is wrong with the files that cannot be used.

        Yields:
            The pictures.
        """
        for index in indices:
            info = dataset.get_data_info(index)
            path = info['img_path']
            try:
                image = info['img'].copy() if 'img' in info else read_image(path)
                sample = dataset[index]
            except ImageError as error:
                failures.append(str(error))
                continue
            truth = sample['data_samples'].get('gt_sem_seg')
            mask = None if truth is None else truth.data[0].numpy() == 1
            name = '/'.join(part for part in (info.get('dataset'), Path(path).stem) if part)
            yield Picture(path, name, image, sample, mask)


def in_colors(image: np.ndarray) -> np.ndarray:
    """Give grey images three channels."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image


def name_outputs(paths: Sequence[Path]) -> list[str]:
    """Name what is made of files: by their paths below the folder that all are in, without suffix if they differ so.

    Args:
        paths: The files.

    Returns:
        Relative paths.
    """
    whole = [path.resolve() for path in paths]
    common = whole[0].parent
    while not all(path.is_relative_to(common) for path in whole):
        common = common.parent
    relative = [path.relative_to(common) for path in whole]
    short = [str(path.with_suffix('')) for path in relative]
    return [str(path) if short.count(name) > 1 else name for path, name in zip(relative, short, strict=True)]
