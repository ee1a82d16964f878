"""Load trained salient object detectors, read images and videos, and predict saliency maps."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import cv2
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset, Compose, pseudo_collate
from mmengine.registry import DATASETS
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS, TRANSFORMS
from PIL import Image
from torch import Tensor

from rescaps_plugin.cli.config import find_test_pipeline, require
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import name_outputs
from rescaps_plugin.data.images import ImageError, read_alpha, read_image
from rescaps_plugin.data.memory_images import ImageInput, load_image
from rescaps_plugin.data.pipelines import IMAGE_LOADERS, loads_image
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.export.exported import ExportedModel
from rescaps_plugin.export.formats import is_exported
from rescaps_plugin.saliency.data_preprocessor import SaliencyDataPreProcessor
from rescaps_plugin.saliency.metric import saliency_of, to_grey
from rescaps_plugin.training.checkpoint_loader import load_weights

VIDEO_SUFFIXES = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')
# Signatures of Matroska and WebM, and of MPEG program and elementary streams; sync bytes of MPEG transport streams; and
# types of the first box of QuickTime and MP4.
EBML, SEGMENT = b'\x1a\x45\xdf\xa3', b'\x18\x53\x80\x67'
VIDEO_STARTS = (EBML, b'\0\0\1\xba', b'\0\0\1\xb3')
TRANSPORT_PACKETS = b'GG'
QUICKTIME_STARTS = (b'ftyp', b'moov', b'mdat', b'free', b'skip', b'wide', b'pnot')
# Steps of a test pipeline to leave out when the image is already loaded.
LOADERS = (*IMAGE_LOADERS, 'LoadAnnotations', 'LoadImageFromNDArray', 'LoadSaliencyMask')


@dataclass
class Picture:
    """An image to predict.

    Args:
        source: Path, path and frame number of a video frame, or name in a data set.
        name: Relative path of the output files, without suffix.
        image: uint8 image ``[height, width, 3]``, BGR.
        sample: Sample packed by the test pipeline.
        mask: bool mask ``[height, width]``, if known.
        alpha: uint8 alpha channel ``[height, width]``, if the image has one.
        video: For a frame, name and frames per second of its video.
    """

    source: str
    name: str
    image: np.ndarray
    sample: dict
    mask: np.ndarray | None = None
    alpha: np.ndarray | None = None
    video: tuple[str, float] | None = None


class ExportedDetector(ExportedModel):
    """Salient object detector in an exported file."""

    postprocess_result = BaseSegmentor.postprocess_result

    def __init__(self, cfg: ConfigDict) -> None:
        super().__init__(cfg)
        options = cfg.data_preprocessor
        self.data_preprocessor = SaliencyDataPreProcessor(
            mean=options.mean,
            std=options.std,
            bgr_to_rgb=options.to_rgb,
            test_size=self.input_size[1:] if cfg.resizes else None,
        )
        self.align_corners = cfg.align_corners
        self.decode_head = SimpleNamespace(out_channels=1, threshold=0.5)


def load_detector(cfg: Config, checkpoint: str, device: str) -> BaseSegmentor | ExportedDetector:
    """Build the detector of a config and load a checkpoint of it.

    Args:
        cfg: The config.
        checkpoint: Path or URL; or that of an exported file, whose metadata are the config.
        device: Where the model runs.

    Returns:
        The model, in eval mode.

    Raises:
        UserError: The config's model is not a salient object detector, or the checkpoint belongs to another model.
    """
    if cfg.get('default_scope') != 'mmseg':
        raise UserError(f'config {cfg.filename} has default_scope {cfg.get("default_scope")!r}; it must be mmseg.')
    if is_exported(checkpoint):
        return ExportedDetector(cfg.model)
    model = MODELS.build(cfg.model)
    channels = getattr(getattr(model, 'decode_head', None), 'out_channels', None)
    if not isinstance(model, BaseSegmentor) or channels not in (1, 2):
        raise UserError(
            f'config {cfg.filename}: the model must be a segmentor whose decode_head has 1 or 2 out_channels, it is '
            f'{cfg.model.type} with {channels}.'
        )
    load_weights(model, checkpoint)
    return model.to(device).eval()


def resizes_images(model: BaseSegmentor | ExportedDetector) -> bool:
    """Return whether a detector resizes images, so that those of a batch may differ in size."""
    preprocessor = model.data_preprocessor
    return isinstance(preprocessor, SaliencyDataPreProcessor) and preprocessor.test_size is not None


def check_sizes(model: BaseSegmentor | ExportedDetector, samples: Sequence[dict]) -> None:
    """Check that samples fit into one batch.

    Raises:
        UserError: Images differ in size, and the model does not resize them.
    """
    shapes = {tuple(sample['inputs'].shape) for sample in samples}
    if len(shapes) > 1 and not resizes_images(model):
        raise UserError(
            f'images of a batch differ in size, [channels, height, width]: {sorted(shapes)[:3]}. Set test_size of '
            'SaliencyDataPreProcessor, or use --batch-size 1.'
        )


def predict_maps(model: BaseSegmentor, samples: Sequence[dict]) -> list[np.ndarray]:
    """Predict the saliency maps of a batch.

    Args:
        model: The model, in eval mode.
        samples: Samples packed by the test pipeline.

    Returns:
        uint8 saliency maps ``[height, width]``, each of the original image size.

    Raises:
        UserError: Images differ in size, and the model does not resize them.
    """
    check_sizes(model, samples)
    return [to_grey(saliency) for saliency in predict_saliency(model, samples)]


@torch.no_grad()
def predict_saliency(model: BaseSegmentor, samples: Sequence[dict]) -> list[Tensor]:
    """Predict saliency, float32 ``[height, width]`` in [0, 1], of a batch; see :func:`predict_maps`."""
    return [saliency_of(result.seg_logits.data) for result in model.test_step(pseudo_collate(samples))]


class PictureReader:
    """Read images, video frames and data set samples, and prepare them by the test pipeline of a config.

    Args:
        cfg: The config.

    Raises:
        UserError: The config's test set has no pipeline.
    """

    def __init__(self, cfg: Config) -> None:
        require(cfg, 'test_dataloader')
        self.dataset = cfg.test_dataloader.dataset
        pipeline = find_test_pipeline(cfg)
        loader = next(filter(loads_image, pipeline), {'type': 'LoadCheckedImageFromFile'})
        self.load = TRANSFORMS.build(loader)
        self.pack = Compose([TRANSFORMS.build(step) for step in pipeline if step['type'] not in LOADERS])

    def pack_image(self, image: np.ndarray, source: str) -> dict:
        """Pack an image, uint8 ``[height, width, 3]``, BGR, as a sample; ``source`` is its name."""
        size = image.shape[:2]
        return self.pack(dict(img=image, img_path=source, img_shape=size, ori_shape=size))

    def read_image(self, image: ImageInput, source: str) -> Picture:
        """Read an image.

        Args:
            image: Path of a file, or an image as in :func:`~rescaps_plugin.data.memory_images.to_pixels`.
            source: Name of the picture.

        Raises:
            ImageError: The image cannot be decoded completely, or is not an image.
            OSError: The file is missing or cannot be read.
        """
        if isinstance(image, (str, os.PathLike)):
            results = self.load({'img_path': str(image)})
            alpha = read_alpha(image)
        else:
            results = load_image(image, source, self.load)
            alpha = results['alpha']
        return Picture(source, source, in_colors(results['img']), self.pack(results), alpha=alpha)

    def read_files(
        self, paths: Sequence[Path], limit: int | None, failures: list[str]
    ) -> Generator[Picture, None, None]:
        """Read images and frames of videos.

        Args:
            paths: The files.
            limit: Number of images, and of frames per video, evenly spaced. None reads all.
            failures: List that the error messages of unusable files are appended to.

        Yields:
            The pictures.
        """
        names = name_outputs(paths, [path.suffix.lower() in VIDEO_SUFFIXES for path in paths])
        names = dict(zip(paths, names, strict=True))
        images = [path for path in paths if path.suffix.lower() not in VIDEO_SUFFIXES]
        kept = {images[index] for index in evenly_spaced(len(images), limit)}
        for path in paths:
            try:
                if path in kept:
                    yield replace(self.read_image(path, str(path)), name=names[path])
                elif path.suffix.lower() in VIDEO_SUFFIXES:
                    yield from self.read_video(path, names[path], limit)
            except ImageError as error:
                failures.append(str(error))

    def read_video(self, path: Path, name: str, limit: int | None) -> Generator[Picture, None, None]:
        """Read the frames of a video, as :meth:`read_files` does.

        Raises:
            ImageError: The file is not a video, its frames exceed Pillow's size limit, or it is truncated (raised after
                the readable frames have been yielded).
        """
        check_video(path)
        video = cv2.VideoCapture(str(path))
        try:
            size = [int(video.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
            if math.prod(size) > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):
                raise ImageError(f'{path}: its frames of {size[0]} x {size[1]} pixels exceed the size limit')
            count = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
            # Some files have no frame count or frame rate.
            kept = set(evenly_spaced(count, limit)) if limit is not None and count else None
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
        if is_truncated(path):
            raise ImageError(f'{path}: truncated video, of which {number} frames can be read')

    def build_dataset(self) -> BaseDataset:
        """Build the config's test set."""
        return DATASETS.build(self.dataset)

    def read_dataset(
        self, dataset: BaseDataset, indices: Sequence[int], failures: list[str]
    ) -> Generator[Picture, None, None]:
        """Read samples of a data set, with their masks.

        Args:
            dataset: Data set built by :meth:`build_dataset`.
            indices: Indices of the samples.
            failures: List that the error messages of unusable files are appended to.

        Yields:
            The pictures.
        """
        names = set()
        for index in indices:
            info = dataset.get_data_info(index)
            path = info['img_path']
            try:
                image, alpha = (info['img'].copy(), None) if 'img' in info else (read_image(path), read_alpha(path))
                sample = dataset[index]
            except ImageError as error:
                failures.append(str(error))
                continue
            truth = sample['data_samples'].get('gt_sem_seg')
            mask = None if truth is None else truth.data[0].numpy() == 1
            name = '/'.join(part for part in (info.get('dataset'), Path(path).stem) if part)
            while name in names:  # of another folder
                name += f'-{index}'
            names.add(name)
            yield Picture(path, name, image, sample, mask, alpha)


def check_video(path: Path) -> None:
    """Check the signature of a video file, whatever its suffix: FFmpeg would follow a playlist to other files.

    Raises:
        ImageError: The file has no known video signature.
    """
    with path.open('rb') as file:
        start = file.read(189)
    known = (
        start[4:8] in QUICKTIME_STARTS
        or start.startswith(VIDEO_STARTS)
        or start[:4] + start[8:12] == b'RIFFAVI '
        or start[::188] == TRANSPORT_PACKETS
    )
    if not known:
        raise ImageError(
            f'{path}: no frame of this video can be read: it is not an AVI, Matroska, MPEG, MP4 or WebM file'
        )


def is_truncated(path: Path) -> bool:
    """Return whether the boxes of a video, by the lengths that it declares, extend beyond the end of the file.

    Frame counts do not show truncation: they are estimated from durations, or include frames that an edit list skips.
    MPEG streams, and recordings whose length was never filled in, declare no lengths.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        start = file.read(12)
        if start.startswith(EBML):
            file.seek(4)
            file.seek(_read_ebml_size(file) or 0, os.SEEK_CUR)
            segment = file.read(4) == SEGMENT
            length = _read_ebml_size(file)
            return segment and length is not None and file.tell() + length > size
        order = '<' if start.startswith(b'RIFF') else '>'
        place = 0
        while 0 <= place <= size - 8:
            file.seek(place)
            head = file.read(16)
            first, second = head[:4], head[4:8]
            kind, length = (first, second) if order == '<' else (second, first)
            if not kind.strip().isalnum():  # trailing data, not a box
                break
            (length,) = struct.unpack(f'{order}I', length)
            if order == '<':
                length += 8
            elif length == 1 and len(head) == 16:
                (length,) = struct.unpack('>Q', head[8:])
            if length <= 8:  # extends to the end, or not filled in
                break
            place += length
        return place > size


def _read_ebml_size(file: BinaryIO) -> int | None:
    """Read the size of a Matroska element; None if it is unknown."""
    first = int.from_bytes(file.read(1), 'big')
    count = 8 - first.bit_length()
    if count > 7:
        return None
    value = int.from_bytes(bytes([first & (1 << 7 - count) - 1]) + file.read(count), 'big')
    return None if value == (1 << 7 * (count + 1)) - 1 else value


def in_colors(image: np.ndarray) -> np.ndarray:
    """Convert a grey image to three channels."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
