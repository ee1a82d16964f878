"""Predict with a trained model: the class and score of images, or the reconstruction of point clouds and meshes.

    python tools/predict.py CONFIG CHECKPOINT photo.jpg
    python tools/predict.py CONFIG CHECKPOINT photos/ --format json --out-dir results
    python tools/predict.py CONFIG CHECKPOINT --max-images 25   # of the config's own test set, beside the truth
    python tools/predict.py configs/pointcaps/pointcaps-rpr_kicad40.py CHECKPOINT chair.off

Writes ``predictions.csv`` (or ``.json``), one row per image or cloud, and ``predictions.png``, a picture of the first
of them. A cloud's reconstruction is a PLY file in the units of the input, coloured by latent capsule.
"""

import argparse
import csv
import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement
from mmengine.utils import scandir
from PIL import Image
from rich.progress import track
from torchvision.datasets.folder import IMG_EXTENSIONS

import rescaps_plugin  # noqa: F401  (registers the models, makes mmcv-lite suffice)
from rescaps_plugin.engine.checkpoint import check_exists, load_weights, trust_checkpoint
from rescaps_plugin.engine.cli import add_config_arguments, positive_int
from rescaps_plugin.engine.config import load_config, require, set_work_dir
from rescaps_plugin.engine.errors import UserError, user_errors
from rescaps_plugin.losses import chamfer_distance

# Images or clouds in the picture, and rows on the screen.
PICTURE_TILES = 25
PICTURE_CLOUDS = 6
SCREEN_ROWS = 10


class UnreadableImage(Exception):
    """An image file that cannot be decoded whole."""


class ImageFiles(Sequence):
    """Image files as samples of a data set: read as the config's test set reads its own, then its test pipeline.

    Args:
        paths: The files.
        read: Gives a file's ``img``, ``img_shape`` and ``ori_shape``.
        pipeline: The test pipeline after reading.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Path], dict], pipeline: Callable[[dict], dict]):
        self.paths = paths
        self.read = read
        self.pipeline = pipeline

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict:
        path = self.paths[index]
        try:
            # OpenCV fills up what a truncated file lacks and says nothing; Pillow refuses it.
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableImage(f'{path}: {error}') from error
        return self.pipeline({'img_path': str(path), **self.read(path)})


def find_files(inputs: Sequence[str], kind: str, suffixes: Sequence[str]) -> list[Path]:
    """List the files named, and those of the kind, by their suffixes, in the folders named and below them."""
    paths = []
    for given in map(Path, inputs):
        if given.is_dir():
            found = sorted(scandir(given, suffix=tuple(suffixes), recursive=True, case_sensitive=False))
            if not found:
                raise UserError(f'INPUT {given} holds no {kind}, at any depth: no {", ".join(suffixes)}.')
            paths += [given / name for name in found]
        elif given.is_file():
            paths.append(given)
        else:
            raise UserError(f'INPUT {given} does not exist.')
    return paths


def image_reader(cfg: Config, model: torch.nn.Module) -> Callable[[Path], dict]:
    """Choose how to read a file so that it looks like an image of the config's test set.

    A test pipeline that starts by reading files says how itself. One that gets arrays from its data set does not: then
    the first convolution tells grey from colour, and the data preprocessor the order of colours.
    """
    from mmcv import imread
    from mmpretrain.datasets.transforms.utils import get_transform_idx
    from mmpretrain.registry import TRANSFORMS

    pipeline = cfg.test_dataloader.dataset.pipeline
    index = get_transform_idx(pipeline, 'LoadImageFromFile')
    if index >= 0:
        load = TRANSFORMS.build(pipeline[index])
        return lambda path: load({'img_path': str(path)})

    stem = next((module for module in model.modules() if isinstance(module, torch.nn.Conv2d)), None)
    channels = 3 if stem is None else stem.in_channels
    if channels not in (1, 3):
        raise UserError(
            f'the model takes images of {channels} channels; an image file gives 1 or 3. Leave INPUT out to predict '
            "the config's test set."
        )
    color = {'flag': 'grayscale' if channels == 1 else 'color', 'channel_order': 'bgr' if reads_bgr(cfg) else 'rgb'}

    def read(path: Path) -> dict:
        img = imread(path, **color)
        return {'img': img, 'img_shape': img.shape[:2], 'ori_shape': img.shape[:2]}

    return read


def reads_bgr(cfg: Config) -> bool:
    """Tell whether the data preprocessor gets colours in OpenCV's order, blue first."""
    return (cfg.model.get('data_preprocessor') or {}).get('to_rgb', False)


def classify(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Predict the classes of images with an mmpretrain classifier.

    Returns:
        What went wrong with the images that could not be predicted.
    """
    from mmpretrain import ImageClassificationInferencer
    from mmpretrain.datasets import build_dataset

    inferencer = ImageClassificationInferencer(cfg, pretrained=False, device=args.device)
    checkpoint = load_weights(inferencer.model, args.checkpoint)
    inferencer.classes = checkpoint.get('meta', {}).get('dataset_meta', {}).get('classes', inferencer.classes)

    if args.inputs:
        read = image_reader(inferencer.config, inferencer.model)
        samples = ImageFiles(find_files(args.inputs, 'images', IMG_EXTENSIONS), read, inferencer.pipeline)
    else:
        samples = build_dataset(cfg.test_dataloader.dataset)
    indices = spread(len(samples), args.max_images)

    rows, tiles, failures = [], [], []
    for start in track(range(0, len(indices), args.batch_size), 'Predicting'):
        batch = load_samples(samples, indices[start : start + args.batch_size], failures)
        if not batch:
            continue
        inputs = default_collate(list(batch.values()))
        results = inferencer.postprocess(inferencer.forward(inputs), None)
        for (index, sample), result in zip(batch.items(), results, strict=True):
            rows.append(describe(index, sample['data_samples'], result, inferencer.classes))
            tiles.append(sample['inputs'])
        del tiles[PICTURE_TILES:]

    if rows:
        report(rows)
        args.out_dir.mkdir(parents=True, exist_ok=True)
        write_table(rows, args.out_dir / f'predictions.{args.format}')
        draw_picture(tiles, rows, reads_bgr(inferencer.config), args.out_dir / 'predictions.png')
    return failures


def load_samples(samples: Sequence[dict], indices: Sequence[int], failures: list[str]) -> dict[int, dict]:
    """Load the samples of one batch by index; what cannot be read goes to ``failures`` instead."""
    batch = {}
    for index in indices:
        try:
            batch[index] = samples[index]
        except UnreadableImage as error:
            failures.append(str(error))
    shapes = {tuple(sample['inputs'].shape) for sample in batch.values()}
    if len(shapes) > 1:
        raise UserError(
            f'the test pipeline leaves images of different sizes, [channels, height, width]: {sorted(shapes)[:3]}. '
            'Put a Resize into it, or use --batch-size 1.'
        )
    return batch


def spread(count: int, limit: int | None) -> list[int]:
    """Give all indices below ``count``, or ``limit`` of them at even distances."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def describe(index: int, sample: BaseDataElement, result: dict, classes: Sequence[str] | None) -> dict:
    """Make the row of one image: its name, the class predicted, the score, and the true class where it is known."""

    def name(label: int) -> str:
        return str(label) if classes is None else classes[label]

    row = {
        'image': sample.get('img_path', index),
        'class': name(result['pred_label']),
        'score': round(result['pred_score'], 6),
    }
    if 'gt_label' in sample:
        row['truth'] = ' '.join(name(label) for label in sample.gt_label.tolist())
    return row


def report(rows: Sequence[dict]) -> None:
    """Print the first rows and, where the truth is known, how many are right."""
    for row in rows[:SCREEN_ROWS]:
        truth = f', truth {row["truth"]}' if 'truth' in row else ''
        print(f'image {row["image"]}: {row["class"]} ({row["score"]:.3f}){truth}')
    if len(rows) > SCREEN_ROWS:
        print(f'... and {len(rows) - SCREEN_ROWS} more')
    known = [row for row in rows if 'truth' in row]
    if known:
        right = sum(row['class'] == row['truth'] for row in known)
        print(f'{right} of {len(known)} predictions are right')


def write_table(rows: Sequence[dict], path: Path) -> None:
    """Write the rows as CSV or JSON, as the path ends."""
    with path.open('w', newline='', encoding='utf-8') as file:
        if path.suffix == '.json':
            json.dump(rows, file, indent=2, ensure_ascii=False)
        else:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    print(f'wrote {path}')


def draw_picture(tiles: Sequence[torch.Tensor], rows: Sequence[dict], bgr: bool, path: Path) -> None:
    """Draw what the model was shown ``[c, h, w]`` under its predictions; a wrong one is red."""
    columns = min(len(tiles), math.ceil(math.sqrt(PICTURE_TILES)))
    height = math.ceil(len(tiles) / columns)
    figure = Figure(figsize=(1.5 * columns, 1.8 * height), layout='constrained')
    axes = figure.subplots(height, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis('off')
    for axis, tile, row in zip(axes.flat, tiles, rows, strict=False):
        colored = len(tile) == 3
        image = (tile.flip(0) if bgr and colored else tile)[: 3 if colored else 1].permute(1, 2, 0).float()
        low, high = (0, 255) if tile.dtype == torch.uint8 else (image.min(), image.max())
        image = ((image - low) / max(high - low, 1)).expand(-1, -1, 3)
        axis.imshow(image.numpy())
        lines = [f'{shorten(row["class"], 16)} ({row["score"]:.2f})']
        if 'truth' in row:
            lines.append(f'truth {shorten(row["truth"], 16)}')
        wrong = 'truth' in row and row['class'] != row['truth']
        axis.set_title('\n'.join(lines), fontsize=9, color='tab:red' if wrong else 'black')
    figure.savefig(path, dpi=120)
    print(f'wrote {path}')


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f'{text[: length - 1]}…'


def reconstruct(cfg: Config, args: argparse.Namespace) -> list[str]:
    """Reconstruct clouds and meshes with a point capsule autoencoder.

    Returns:
        What was wrong with the files that could not be used.
    """
    from rescaps_plugin.pointcloud.drawing import draw_clouds
    from rescaps_plugin.pointcloud.files import SUFFIXES
    from rescaps_plugin.pointcloud.inference import build_dataset, load_model, predict, read_samples, write_ply

    model = load_model(cfg, args.checkpoint, args.device)
    failures = []
    if args.inputs:
        paths = find_files(args.inputs, 'clouds or meshes', SUFFIXES)
        paths = [paths[index] for index in spread(len(paths), args.max_images)]
        samples, failures = read_samples(paths, cfg.test_dataloader.dataset.pipeline, model.decoder.num_points)
    else:
        dataset = build_dataset(cfg, 'test')
        samples = [dataset[index] for index in spread(len(dataset), args.max_images)]

    args.out_dir.mkdir(parents=True, exist_ok=True)
    rows, clouds, predicted = [], [], []
    for cloud, sample in track(predict(model, samples, args.batch_size), 'Reconstructing', total=len(samples)):
        name = str(sample.get('path', sample.sample_idx))
        file = f'{len(rows):04d}_{Path(name).stem}.ply'
        write_ply(args.out_dir / file, sample, model.decoder.latent_capsules)
        distance = 1000 * chamfer_distance(sample.pred_points[None], cloud[None]).item()
        rows.append({'cloud': name, 'chamfer': round(distance, 4), 'file': file})
        if len(clouds) < PICTURE_CLOUDS:
            clouds.append(cloud.numpy())
            predicted.append(sample.pred_points.numpy())

    for row in rows[:SCREEN_ROWS]:
        print(f'cloud {row["cloud"]}: Chamfer distance {row["chamfer"]:.2f}e-3 in the unit sphere, {row["file"]}')
    if rows:
        write_table(rows, args.out_dir / f'predictions.{args.format}')
        titles = {'reconstruction': [f'{row["chamfer"]:.2f}' for row in rows]}
        draw_clouds({'input': clouds, 'reconstruction': predicted}, args.out_dir / 'predictions.png', titles=titles)
        print(f'wrote {args.out_dir / "predictions.png"}')
    return failures


# What predicts for a config of each default_scope.
PREDICTORS = {'mmpretrain': classify, 'mmengine': reconstruct}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        'inputs',
        nargs='*',
        metavar='INPUT',
        help="image, cloud or mesh files, or folders of them at any depth; none: the config's test set",
    )
    parser.add_argument('--out-dir', type=Path, help='folder for the results (default: work_dirs/<config>/predictions)')
    parser.add_argument('--format', choices=('csv', 'json'), default='csv', help='of the table (default: csv)')
    parser.add_argument('--max-images', type=positive_int, help='take so many, at even distances (default: all)')
    parser.add_argument('--batch-size', type=positive_int, default=32, help='images or clouds at a time (default: 32)')
    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')
    add_config_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors():
        cfg = load_config(args.config, args.cfg_options)
        require(cfg, 'model', 'test_dataloader')
        scope = cfg.get('default_scope')
        if scope not in PREDICTORS:
            raise UserError(f'config {args.config} has default_scope {scope!r}; it may be {", ".join(PREDICTORS)}.')
        init_default_scope(scope)
        check_exists(args.checkpoint)
        if args.out_dir is None:
            set_work_dir(cfg, None)
            args.out_dir = Path(cfg.work_dir, 'predictions')
        with trust_checkpoint(args.checkpoint) if args.trust_checkpoint else nullcontext():
            failures = PREDICTORS[scope](cfg, args)
        if failures:
            raise UserError('\n  '.join([f'{len(failures)} inputs could not be read:', *failures]))


if __name__ == '__main__':
    main()
