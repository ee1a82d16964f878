"""Measure saliency prediction end to end: an image from file to map and cut-out, and frames of a video per second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import cv2
import numpy as np
from timm.utils import reparameterize_model

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export.exported import read_config
from rescaps_plugin.export.formats import RUNTIMES, SUFFIXES, is_exported
from rescaps_plugin.saliency.datasets import SyntheticSOD
from rescaps_plugin.saliency.predict_command import MapWriter, Predictions, predict_ahead, predict_pictures
from rescaps_plugin.saliency.predictor import SaliencyPredictor
from rescaps_plugin.saliency.video import VideoFile
from rescaps_plugin.training.model_arguments import find_model

# Side of the image and of the video's frames, in pixels: 1 megapixel.
SIDE = 1000
FRAMES = 24
STAGES = ('decode', 'resize', 'network', 'resize back', 'encode')


class PipelineSpeed(NamedTuple):
    """Speed of saliency prediction, by runtime.

    Args:
        stages: Median milliseconds of each of :data:`STAGES`.
        video: Frames per second of a video, from file to maps and a video of overlays: with the stages in turn, and
            overlapping as in ``tools/predict.py``.
    """

    stages: dict[str, dict[str, float]]
    video: dict[str, tuple[float, float]]


def measure_pipeline(words: Sequence[str], repeats: int) -> PipelineSpeed:
    """Measure a detector in PyTorch, in its deploy form, and in the other runtimes that are installed.

    Args:
        words: ``CONFIG CHECKPOINT``, the name of a published model, or an exported file, which PyTorch does not run.
        repeats: Rounds over the runtimes, after one that warms up.

    Returns:
        The speeds.

    Raises:
        UserError: There is no such model, it is not a detector, or other words follow.
    """
    config, checkpoint, rest = find_model(words, SUFFIXES)
    if rest:
        raise UserError(f'--pipeline measures one model; {" ".join(rest)} follows.')
    cfg = read_config(config)
    suffix = Path(config).suffix.lower() if is_exported(config) else '.onnx'
    names = [name for name, each in RUNTIMES.items() if suffix in each.suffixes and find_spec(each.package)]
    predictors = {name: SaliencyPredictor(cfg, checkpoint, runtime=name) for name in names}
    if not is_exported(config):
        torch = SaliencyPredictor(cfg, checkpoint)
        torch.model = reparameterize_model(torch.model)
        predictors = {'torch': torch, **predictors}
    stages, video = defaultdict(list), defaultdict(list)
    with TemporaryDirectory() as folder:
        image, clip = _write_inputs(Path(folder))
        for _ in range(repeats + 1):
            for name, predictor in predictors.items():
                stages[name].append(time_stages(predictor, image, Path(folder, 'out')))
                for predict in (predict_pictures, predict_ahead):
                    video[name, predict].append(time_video(predictor, predict, clip, Path(folder, 'out')))
    return PipelineSpeed(
        {name: {stage: median(each[stage] for each in stages[name][1:]) for stage in STAGES} for name in predictors},
        {
            name: tuple(median(video[name, predict][1:]) for predict in (predict_pictures, predict_ahead))
            for name in predictors
        },
    )


def _write_inputs(folder: Path) -> tuple[Path, Path]:
    """Write a synthetic image and a video in which it moves; return their paths."""
    pixels, _ = SyntheticSOD(split='test', num_images=1, sizes=(SIDE, SIDE)).draw(0)
    image = folder / 'image.jpg'
    image.write_bytes(cv2.imencode('.jpg', pixels)[1].tobytes())
    video = VideoFile(folder / 'clip', 25.0, pixels.shape)
    for number in range(FRAMES):
        video.write(np.roll(pixels, 8 * number, axis=1))
    video.close()
    return image, video.path


def time_stages(predictor: SaliencyPredictor, image: Path, folder: Path) -> dict[str, float]:
    """Time the stages of one image file, to a map and a cut-out as PNG files.

    Args:
        predictor: The predictor.
        image: The image file.
        folder: Folder for the outputs.

    Returns:
        Milliseconds of each of :data:`STAGES`.
    """
    network = (predictor.model, 'inference') if predictor.runtime == 'torch' else (predictor, 'run_file')
    spent: dict[str, float] = {}
    with (
        MapWriter(folder, overlays=False, cutouts=True) as writer,
        _timed(predictor.reader, 'read_image', spent, 'decode'),
        _timed(predictor.model.data_preprocessor, 'forward', spent, 'resize'),
        _timed(*network, spent, 'network'),
        _timed(predictor, 'predict_maps', spent, 'resize back'),
        _timed(writer, 'write', spent, 'encode'),
    ):
        picture = predictor.reader.read_image(image, image.stem)
        (saliency,) = predictor.predict_maps([picture])
        writer.write(picture, saliency)
    spent['resize back'] -= spent['resize'] + spent['network']  # which it includes
    return spent


@contextmanager
def _timed(owner: Any, method: str, spent: dict[str, float], stage: str) -> Iterator[None]:
    """Note the milliseconds of the calls of an object's method inside the block."""
    call = getattr(owner, method)

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[stage] = 1000 * (perf_counter() - start)

    setattr(owner, method, timed)
    try:
        yield
    finally:
        delattr(owner, method)


def time_video(predictor: SaliencyPredictor, predict: Callable[..., Predictions], clip: Path, folder: Path) -> float:
    """Return the frames per second of a video, from file to maps and a video of overlays.

    Args:
        predictor: The predictor.
        predict: :func:`~rescaps_plugin.saliency.predict_command.predict_pictures` or
            :func:`~rescaps_plugin.saliency.predict_command.predict_ahead`.
        clip: The video.
        folder: Folder for the outputs.
    """
    start, frames = perf_counter(), 0
    with MapWriter(folder, overlays=True, cutouts=False) as writer:
        with closing(predict(predictor, predictor.reader.read_video(clip, clip.stem, None))) as predictions:
            for picture, saliency in predictions:
                writer.write(picture, saliency)
                frames += 1
    return frames / (perf_counter() - start)


def make_pipeline_page(words: Sequence[str], speed: PipelineSpeed) -> str:
    """Format the speeds as Markdown."""
    lines = [
        '# Saliency prediction end to end',
        '',
        f'`{" ".join(words)}`, {SIDE} x {SIDE} pixels; an image from file to map and cut-out in ms, and a video from '
        'file to maps and a video of overlays in frames per second.',
        '',
        f'| | {" | ".join(STAGES)} | sum | video, in turn | video, overlapping |',
        f'| --- |{" --- |" * (len(STAGES) + 3)}',
    ]
    for name, times in speed.stages.items():
        cells = [*times.values(), sum(times.values()), *speed.video[name]]
        lines.append(f'| {name} | {" | ".join(f"{cell:.1f}" for cell in cells)} |')
    return '\n'.join(lines) + '\n'
