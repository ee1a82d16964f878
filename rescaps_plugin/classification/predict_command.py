"""Implementation of ``tools/predict.py`` for classifiers: class and score of images."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.structures import BaseDataElement
from rich.progress import track

from rescaps_plugin.classification.image_inputs import ImageFiles, reads_bgr
from rescaps_plugin.classification.inference import build_test_set
from rescaps_plugin.classification.predictor import ClassPrediction, ClassPredictor
from rescaps_plugin.cli.arguments import check_predict_options
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import choose_out_dir
from rescaps_plugin.cli.plots import plain_text
from rescaps_plugin.cli.tables import shorten, show, write_table
from rescaps_plugin.data.folders import find_files, raise_unreadable
from rescaps_plugin.data.images import IMAGE_SUFFIXES, STANDARD_INPUT, ImageError
from rescaps_plugin.data.pictures import to_picture
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.export.predictor import make_predictor

# Images in the picture, and rows on the screen.
PICTURE_TILES = 25
SCREEN_ROWS = 10


def run(cfg: Config, args: Namespace) -> None:
    """Predict the classes of images with an mmpretrain classifier.

    Args:
        cfg: The config.
        args: Arguments of the tool.

    Raises:
        UserError: An option does not apply to classifiers, the checkpoint is not of the model, or inputs could not be
            read.
    """
    check_predict_options(args, classes=True)
    out_dir = choose_out_dir(args.out_dir, cfg.work_dir, 'predictions')
    predictor = make_predictor(ClassPredictor, cfg, args)
    if args.inputs:
        paths = find_files(args.inputs, 'images', IMAGE_SUFFIXES, standard_input=STANDARD_INPUT)
        samples = ImageFiles(paths, predictor.reader)
    else:
        samples = build_test_set(cfg, predictor.classes)
    indices = evenly_spaced(len(samples), args.max_images)

    batch_size = predictor.batch_size
    rows, tiles, failures = [], [], []
    for start in track(range(0, len(indices), batch_size), 'Predicting'):
        batch = load_samples(samples, indices[start : start + batch_size], failures)
        if not batch:
            continue
        results = predictor.predict_batch(list(batch.values()), args.top_k)
        for (index, sample), result in zip(batch.items(), results, strict=True):
            rows.append(describe(index, sample['data_samples'], result, predictor.name_class))
            tiles.append(sample['inputs'])
        del tiles[PICTURE_TILES:]

    if rows:
        write_table(rows, out_dir / f'predictions.{args.format}')
        report(rows)
        draw_picture(tiles, rows, reads_bgr(cfg), out_dir / 'predictions.png')
    raise_unreadable(failures)


def load_samples(samples: Sequence[dict], indices: Sequence[int], failures: list[str]) -> dict[int, dict]:
    """Load the samples of one batch by index; errors of those that cannot be read are appended to ``failures``."""
    batch = {}
    for index in indices:
        try:
            batch[index] = samples[index]
        except ImageError as error:
            failures.append(str(error))
    shapes = {tuple(sample['inputs'].shape) for sample in batch.values()}
    if len(shapes) > 1:
        raise UserError(
            f'the test pipeline returns images of different sizes, [channels, height, width]: {sorted(shapes)[:3]}. '
            'Put a Resize into it, or use --batch-size 1.'
        )
    return batch


def describe(index: int, sample: BaseDataElement, result: ClassPrediction, name: Callable[[int], str]) -> dict:
    """Return the row of one image: its name, the best classes and scores, and the true class where known."""
    row = {'image': sample.get('img_path', index)}
    for place, (best, score) in enumerate(zip(result.classes, result.scores, strict=True), 1):
        end = f'_{place}' if place > 1 else ''
        row |= {f'class{end}': best, f'score{end}': round(score, 6)}
    if 'gt_label' in sample:
        row['truth'] = ' '.join(name(label) for label in sample.gt_label.tolist())
    return row


def report(rows: Sequence[dict]) -> None:
    """Print the best classes of the first rows and, where the truth is known, the number of correct predictions."""
    for row in rows[:SCREEN_ROWS]:
        ends = [key.removeprefix('class') for key in row if key.startswith('class')]
        best = ', '.join(f'{show(row[f"class{end}"])} ({row[f"score{end}"]:.3f})' for end in ends)
        truth = f', truth {show(row["truth"])}' if 'truth' in row else ''
        print(f'image {show(row["image"])}: {best}{truth}')
    if len(rows) > SCREEN_ROWS:
        print(f'... and {len(rows) - SCREEN_ROWS} more')
    known = [row for row in rows if 'truth' in row]
    if known:
        right = sum(row['class'] == row['truth'] for row in known)
        print(f'{right} of {len(known)} predictions are right')


@plain_text
def draw_picture(tiles: Sequence[torch.Tensor], rows: Sequence[dict], bgr: bool, path: Path) -> None:
    """Draw the inputs of the model ``[c, h, w]``, each below its predictions; wrong ones are red."""
    columns = min(len(tiles), math.ceil(math.sqrt(PICTURE_TILES)))
    height = math.ceil(len(tiles) / columns)
    figure = Figure(figsize=(1.5 * columns, 1.8 * height), layout='constrained')
    axes = figure.subplots(height, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for axis, tile, row in zip(axes.flat, tiles, rows, strict=False):
        axis.imshow(to_picture(tile, bgr))
        lines = [f'{shorten(show(row["class"]), 16)} ({row["score"]:.2f})']
        if 'truth' in row:
            lines.append(f'truth {shorten(show(row["truth"]), 16)}')
        wrong = 'truth' in row and row['class'] != row['truth']
        axis.set_title('\n'.join(lines), fontsize=9, color='tab:red' if wrong else 'black')
    figure.savefig(path, dpi=120)
    print(f'wrote {path}')
