"""Implementation of ``tools/predict.py`` for detectors: saliency maps, overlays and cut-outs of images and videos."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from rich.progress import track

from rescaps_plugin.cli.arguments import check_predict_options
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.outputs import choose_out_dir, replacing
from rescaps_plugin.cli.tables import show, write_table
from rescaps_plugin.data.folders import find_files, raise_unreadable
from rescaps_plugin.data.images import IMAGE_SUFFIXES, STANDARD_INPUT
from rescaps_plugin.data.pictures import to_picture
from rescaps_plugin.data.prefetch import prefetch
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.export.predictor import make_predictor
from rescaps_plugin.saliency.cutouts import blend, cutout
from rescaps_plugin.saliency.drawing import draw_grid, overlay
from rescaps_plugin.saliency.inference import VIDEO_SUFFIXES, Picture
from rescaps_plugin.saliency.masks import SALIENT
from rescaps_plugin.saliency.metric import score_map
from rescaps_plugin.saliency.predictor import SaliencyPredictor
from rescaps_plugin.saliency.video import VideoFile, has_ffmpeg

# Images in the picture, and rows on the screen.
PICTURE_ROWS = 8
SCREEN_ROWS = 10
# Pictures that are read ahead of the network, and maps that are predicted ahead of the writer.
PICTURES_AHEAD = 4

Pictures = Generator[Picture, None, None]
Predictions = Generator[tuple[Picture, np.ndarray], None, None]


def run(cfg: Config, args: Namespace) -> None:
    """Predict saliency maps of images and videos, or of the config's test set.

    Args:
        cfg: The config.
        args: Arguments of the tool.

    Raises:
        UserError: An option does not apply to detectors, the checkpoint is not of the model, or inputs could not be
            read.
    """
    check_predict_options(args, maps=True)
    out_dir = choose_out_dir(args.out_dir, cfg.work_dir, 'predictions')
    predictor, failures = make_predictor(SaliencyPredictor, cfg, args), []
    reader = predictor.reader
    if args.inputs:
        suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
        paths = find_files(args.inputs, 'images or videos', suffixes, standard_input=STANDARD_INPUT)
        pictures, total = reader.read_files(list(dict.fromkeys(paths)), args.max_images, failures), None
    else:
        dataset = reader.build_dataset()
        indices = evenly_spaced(len(dataset), args.max_images)
        pictures, total = reader.read_dataset(dataset, indices, failures), len(indices)

    rows, shown = [], []
    with MapWriter(out_dir, args.overlay, args.cutout, args.refine, args.background) as writer:
        with closing(predict_ahead(predictor, pictures)) as predictions:
            for picture, saliency in track(predictions, 'Predicting', total=total):
                rows.append(describe(picture, saliency, writer.write(picture, saliency)))
                if len(shown) < PICTURE_ROWS:
                    shown.append((picture, saliency))

    if rows:
        write_table(rows, out_dir / f'predictions.{args.format}')
        report(rows)
        draw_picture(shown, rows, out_dir / 'predictions.png')
    raise_unreadable(failures)


def predict_pictures(predictor: SaliencyPredictor, pictures: Pictures) -> Predictions:
    """Predict pictures, batch by batch.

    Args:
        predictor: The predictor.
        pictures: The pictures.

    Yields:
        The pictures and their maps, uint8 ``[height, width]``, in input order.
    """
    with closing(pictures):
        while batch := list(islice(pictures, predictor.batch_size)):
            yield from zip(batch, predictor.predict_maps(batch), strict=True)


def predict_ahead(predictor: SaliencyPredictor, pictures: Pictures) -> Predictions:
    """Predict pictures as :func:`predict_pictures`, where reading, the network and the consumer overlap in threads.

    At most :data:`PICTURES_AHEAD` pictures wait for the network, and as many for the consumer.
    """
    return prefetch(predict_pictures(predictor, prefetch(pictures, PICTURES_AHEAD)), PICTURES_AHEAD)


class MapWriter:
    """Writer of the files of pictures: maps always, overlays and cut-outs on demand.

    All are PNG files at the picture's size, except for the overlays and cut-outs of a video, which form videos. Without
    imageio-ffmpeg, which encodes alpha channels, the frames of transparent cut-outs are PNG files, too. Files appear
    when they are complete: videos at the end of the block, unless it raises.

    Args:
        folder: Folder for ``maps``, ``overlays`` and ``cutouts``.
        overlays: Whether to write overlays.
        cutouts: Whether to write cut-outs.
        refine: Whether to refine their edges and colours.
        background: Red, green and blue level behind them. Defaults to None: they have an alpha channel.

    Raises:
        UserError: ``refine`` is set, and pymatting is not installed.
    """

    def __init__(
        self,
        folder: Path,
        overlays: bool,
        cutouts: bool,
        refine: bool = False,
        background: tuple[int, int, int] | None = None,
    ) -> None:
        if refine:
            import_extra('pymatting', 'cutout')
        self.folder = folder
        self.overlays = overlays
        self.cutouts = cutouts
        self.refine = refine
        self.background = background
        self.videos = {}

    def __enter__(self) -> MapWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        with ExitStack() as videos:  # which closes all of them, even if one fails
            for video in self.videos.values():
                videos.callback(video.close, keep=kind is None)

    def write(self, picture: Picture, saliency: np.ndarray) -> dict[str, str]:
        """Write the files of a picture.

        Args:
            picture: The picture.
            saliency: Its uint8 map ``[height, width]``.

        Returns:
            Paths of the files below the folder, by kind.

        Raises:
            UserError: There is no encoder for the video, or it failed.
        """
        files = {'map': self._write_png('maps', picture.name, saliency)}
        if self.overlays:
            files['overlay'] = self._write('overlays', picture, overlay(picture.image, saliency))
        if self.cutouts:
            image = cutout(picture.image, saliency, picture.alpha, self.refine)
            if self.background is not None:
                image = blend(image, self.background[::-1])
            files['cutout'] = self._write('cutouts', picture, image)
        return files

    def _write(self, kind: str, picture: Picture, image: np.ndarray) -> str:
        if picture.video is None or (image.shape[2] == 4 and not has_ffmpeg()):
            return self._write_png(kind, picture.name, image)
        name, rate = picture.video
        if (kind, name) not in self.videos:
            # A video ends where the next one begins.
            for ended in [key for key in self.videos if key[1] != name]:
                self.videos.pop(ended).close()
            stem = self.folder / kind / name
            stem.parent.mkdir(parents=True, exist_ok=True)
            self.videos[kind, name] = VideoFile(stem, rate, image.shape)
        self.videos[kind, name].write(image)
        return str(self.videos[kind, name].path.relative_to(self.folder))

    def _write_png(self, kind: str, name: str, image: np.ndarray) -> str:
        path = self.folder / kind / f'{name}.png'
        with replacing(path) as draft:
            draft.write_bytes(cv2.imencode('.png', image)[1].tobytes())
        return str(path.relative_to(self.folder))


def describe(picture: Picture, saliency: np.ndarray, files: dict[str, str]) -> dict[str, str | float]:
    """Return the row of a picture: its files, its salient fraction, and scores where the mask is known."""
    row = {'image': picture.source, 'salient': round(float((saliency >= SALIENT).mean()), 4)}
    if picture.mask is not None:
        scores = score_map(saliency, picture.mask)
        row.update(maxF=round(float(scores.f.max()), 4), S=round(scores.s, 4), MAE=round(scores.mae, 4))
    return {**row, **files}


def report(rows: Sequence[dict]) -> None:
    """Print the first rows and, where masks are known, the mean error."""
    for row in rows[:SCREEN_ROWS]:
        known = f', MAE {row["MAE"]:.4f}' if 'MAE' in row else ''
        print(f'image {show(row["image"])}: {row["salient"]:.1%} salient{known}, {show(row["map"])}')
    if len(rows) > SCREEN_ROWS:
        print(f'... and {len(rows) - SCREEN_ROWS} more')
    errors = [row['MAE'] for row in rows if 'MAE' in row]
    if errors:
        print(f'mean MAE of {len(errors)} images: {np.mean(errors):.4f}')


def draw_picture(shown: Sequence[tuple[Picture, np.ndarray]], rows: Sequence[dict], path: Path) -> None:
    """Draw the first images, their masks where all are known, and their maps."""
    columns = {'image': [to_picture(picture.image, bgr=True) for picture, _ in shown]}
    notes = {'map': [f'{row["salient"]:.1%} salient' for row in rows]}
    if all(picture.mask is not None for picture, _ in shown):
        columns['mask'] = [picture.mask * np.uint8(255) for picture, _ in shown]
        notes['map'] = [f'MAE {row["MAE"]:.3f}' for row in rows]
    columns['map'] = [saliency for _, saliency in shown]
    columns['overlay'] = [to_picture(overlay(picture.image, saliency), bgr=True) for picture, saliency in shown]
    draw_grid(columns, path, [Path(picture.name).name for picture, _ in shown], notes)
    print(f'wrote {path}')
