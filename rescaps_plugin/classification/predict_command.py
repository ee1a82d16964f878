"""Implementation of ``tools/predict.py`` for classifiers: class and score of images."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.structures import BaseDataElement
from mmpretrain import ImageClassificationInferencer
from mmpretrain.datasets import build_dataset
from rich.progress import track

from rescaps_plugin.classification.image_inputs import ImageFiles, reads_bgr
from rescaps_plugin.cli.arguments import check_predict_options
from rescaps_plugin.cli.config import unwrap_test_set
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import choose_out_dir
from rescaps_plugin.cli.plots import plain_text
from rescaps_plugin.cli.tables import shorten, show, write_table
from rescaps_plugin.data.folders import find_files, raise_unreadable
from rescaps_plugin.data.images import IMAGE_SUFFIXES, STANDARD_INPUT, ImageError
from rescaps_plugin.data.pictures import to_picture
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.training.checkpoint_loader import load_weights
from rescaps_plugin.training.checkpoint_reader import CheckpointError
from rescaps_plugin.training.run_checks import find_class_count

# Default batch size, images in the picture, and rows on the screen.
BATCH_SIZE = 32
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
    inferencer = ImageClassificationInferencer(unwrap_test_set(cfg), pretrained=False, device=args.device)
    checkpoint = load_weights(inferencer.model, args.checkpoint)
    inferencer.classes = checkpoint.get('meta', {}).get('dataset_meta', {}).get('classes', inferencer.classes)
    _, outputs = find_class_count(inferencer.model) or ('', 0)
    if inferencer.classes is not None and len(inferencer.classes) < outputs:
        raise CheckpointError(
            f'checkpoint {args.checkpoint} names {len(inferencer.classes)} classes; its model has {outputs}.'
        )

    if args.inputs:
        paths = find_files(args.inputs, 'images', IMAGE_SUFFIXES, standard_input=STANDARD_INPUT)
        samples = ImageFiles(paths, inferencer.config, inferencer.model)
    else:
        samples = build_dataset(cfg.test_dataloader.dataset)
    indices = evenly_spaced(len(samples), args.max_images)

    batch_size = args.batch_size or BATCH_SIZE
    rows, tiles, failures = [], [], []
    for start in track(range(0, len(indices), batch_size), 'Predicting'):
        batch = load_samples(samples, indices[start : start + batch_size], failures)
        if not batch:
            continue
        inputs = default_collate(list(batch.values()))
        results = inferencer.postprocess(inferencer.forward(inputs), None)
        for (index, sample), result in zip(batch.items(), results, strict=True):
            rows.append(describe(index, sample['data_samples'], result, inferencer.classes, args.top_k))
            tiles.append(sample['inputs'])
        del tiles[PICTURE_TILES:]

    if rows:
        write_table(rows, out_dir / f'predictions.{args.format}')
        report(rows)
        draw_picture(tiles, rows, reads_bgr(inferencer.config), out_dir / 'predictions.png')
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


def describe(index: int, sample: BaseDataElement, result: dict, classes: Sequence[str] | None, count: int = 1) -> dict:
    """Return the row of one image: its name, the best ``count`` classes and scores, and the true class where known."""

    def name(label: int) -> str:
        return str(label) if classes is None else classes[label]

    row = {
        'image': sample.get('img_path', index),
        'class': name(result['pred_label']),
        'score': round(result['pred_score'], 6),
    }
    scores = np.asarray(result['pred_scores'])
    # A stable descending sort: among equal scores the first class wins, as in the prediction.
    order = np.argsort(-scores, kind='stable')[:count]
    for place, label in enumerate(order[1:].tolist(), 2):
        row |= {f'class_{place}': name(label), f'score_{place}': round(float(scores[label]), 6)}
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
