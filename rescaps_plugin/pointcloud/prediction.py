"""``tools/predict.py`` for point capsule autoencoders: the reconstruction of clouds and meshes."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from mmengine.config import Config
from rich.progress import track

from rescaps_plugin.engine.config import find_test_pipeline
from rescaps_plugin.engine.files import find_files, spread
from rescaps_plugin.engine.tables import write_table
from rescaps_plugin.losses import chamfer_distance
from rescaps_plugin.pointcloud.drawing import draw_clouds
from rescaps_plugin.pointcloud.files import SUFFIXES
from rescaps_plugin.pointcloud.inference import build_dataset, load_model, read_samples, write_ply
from rescaps_plugin.pointcloud.inference import predict as reconstruct

# Clouds at a time where --batch-size does not say, in the picture, and rows on the screen.
BATCH_SIZE = 32
PICTURE_CLOUDS = 6
SCREEN_ROWS = 10


def predict(cfg: Config, args: Namespace) -> list[str]:
    """Reconstruct clouds and meshes with a point capsule autoencoder.

    Args:
        cfg: The config.
        args: Arguments of the tool.

    Returns:
        What was wrong with the files that could not be used.
    """
    model = load_model(cfg, args.checkpoint, args.device)
    failures = []
    if args.inputs:
        paths = find_files(args.inputs, 'clouds or meshes', SUFFIXES)
        paths = [paths[index] for index in spread(len(paths), args.max_images)]
        samples, failures = read_samples(paths, find_test_pipeline(cfg), model.decoder.num_points)
    else:
        dataset = build_dataset(cfg, 'test')
        samples = [dataset[index] for index in spread(len(dataset), args.max_images)]

    args.out_dir.mkdir(parents=True, exist_ok=True)
    rows, clouds, predicted = [], [], []
    for cloud, sample in track(
        reconstruct(model, samples, args.batch_size or BATCH_SIZE), 'Reconstructing', total=len(samples)
    ):
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
