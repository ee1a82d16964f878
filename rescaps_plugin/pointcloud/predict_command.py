"""Implementation of ``tools/predict.py`` for point capsule autoencoders: reconstructions of clouds and meshes."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mmengine.config import Config
from rich.progress import track

from rescaps_plugin.cli.arguments import check_predict_options
from rescaps_plugin.cli.outputs import choose_out_dir
from rescaps_plugin.cli.tables import show, write_table
from rescaps_plugin.data.folders import find_files, raise_unreadable
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.export.predictor import make_predictor
from rescaps_plugin.losses import chamfer_distance
from rescaps_plugin.pointcloud.drawing import draw_clouds
from rescaps_plugin.pointcloud.files import SUFFIXES, is_cloud
from rescaps_plugin.pointcloud.inference import in_input_units, read_samples, write_ply
from rescaps_plugin.pointcloud.predictor import CloudPredictor
from rescaps_plugin.training.splits import build_dataset

# Clouds in the picture, and rows on the screen.
PICTURE_CLOUDS = 6
SCREEN_ROWS = 10
# A character takes up to four bytes, and file systems allow 255 bytes per name.
MAX_STEM = 60


def run(cfg: Config, args: Namespace) -> None:
    """Reconstruct clouds and meshes with a point capsule autoencoder.

    Args:
        cfg: The config.
        args: Arguments of the tool.

    Raises:
        UserError: An option does not apply to autoencoders, the checkpoint is not of the model, or inputs could not be
            read.
    """
    check_predict_options(args)
    out_dir = choose_out_dir(args.out_dir, cfg.work_dir, 'predictions')
    predictor = make_predictor(CloudPredictor, cfg, args)
    num_points = predictor.model.decoder.num_points
    failures: list[str] = []
    if args.inputs:
        paths = find_files(args.inputs, 'clouds or meshes', SUFFIXES, is_cloud)
        paths = [paths[index] for index in evenly_spaced(len(paths), args.max_images)]
        total = len(paths)
        samples = read_samples(paths, predictor.read, failures)
    else:
        dataset = build_dataset(cfg, 'test')
        indices = evenly_spaced(len(dataset), args.max_images)
        samples, total = (dataset[index] for index in indices), len(indices)

    out_dir.mkdir(parents=True, exist_ok=True)
    rows, clouds, predicted, drawn = [], [], [], []
    for cloud, points, latent, sample in track(predictor.reconstruct(samples), 'Reconstructing', total=total):
        name = str(sample.get('path', sample.sample_idx))
        file = f'{len(rows):04d}_{Path(name).stem[:MAX_STEM]}.ply'
        write_ply(out_dir / file, in_input_units(points, sample), len(latent))
        distance = 1000 * chamfer_distance(points[None], cloud[None]).item()
        rows.append({'cloud': name, 'points': len(cloud), 'chamfer': round(distance, 4), 'file': file})
        if sample.get('points_of_file', 0) > len(cloud) and not sample.is_mesh:
            drawn.append(f'{name} ({sample.points_of_file})')
        if len(clouds) < PICTURE_CLOUDS:
            clouds.append(cloud.numpy())
            predicted.append(points.numpy())

    if rows:
        write_table(rows, out_dir / f'predictions.{args.format}')
        titles = {'reconstruction': [f'{row["chamfer"]:.2f}' for row in rows]}
        draw_clouds({'input': clouds, 'reconstruction': predicted}, out_dir / 'predictions.png', titles=titles)
        print(f'wrote {out_dir / "predictions.png"}')
    for row in rows[:SCREEN_ROWS]:
        file, distance = show(row['file']), row['chamfer']
        print(f'cloud {show(row["cloud"])}: Chamfer distance {distance:.2f}e-3 in the unit sphere, {file}')
    if drawn:
        print(
            f'{len(drawn)} clouds have more points than the {num_points} of the model, and as many were '
            f'drawn of each: {show(", ".join(drawn[:SCREEN_ROWS]))}'
        )
    raise_unreadable(failures)
