"""Implementation of ``tools/visualise_clouds.py``."""

from argparse import Namespace

import torch

from rescaps_plugin.cli.outputs import choose_out_dir
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.losses import chamfer_distance
from rescaps_plugin.pointcloud.drawing import capsule_colors, draw_clouds, write_page
from rescaps_plugin.pointcloud.inference import open_model, predict
from rescaps_plugin.training.model_arguments import model_names
from rescaps_plugin.training.splits import build_dataset


def run(args: Namespace) -> None:
    """Draw clouds of a test set and their reconstructions by models.

    Args:
        args: Arguments of ``tools/visualise_clouds.py``.

    Raises:
        UserError: A model is given twice, a model or the test set cannot be opened, or the folder cannot be written.
    """
    names = model_names(args.models)
    loaded = [open_model(config, checkpoint, args) for config, checkpoint in args.models]
    first = loaded[0][0]
    out_dir = choose_out_dir(args.out_dir, first.work_dir, 'clouds')

    dataset = build_dataset(first, 'test')
    samples = [dataset[index] for index in evenly_spaced(len(dataset), args.clouds)]
    rows = {'input': [sample['inputs'].numpy() for sample in samples]}
    titles, colors = {}, {}
    classes = dataset.metainfo.get('classes')
    if classes:
        titles['input'] = [classes[sample['data_samples'].gt_label] for sample in samples]
    for name, (_, model) in zip(names, loaded, strict=True):
        predicted = torch.stack([sample.pred_points for _, sample in predict(model, samples)])
        distances = chamfer_distance(predicted, torch.stack([sample['inputs'] for sample in samples]))
        rows[name] = list(predicted.numpy())
        titles[name] = [f'{1000 * distance:.2f}' for distance in distances]
        colors[name] = capsule_colors(predicted.shape[1], model.decoder.latent_capsules)

    out_dir.mkdir(parents=True, exist_ok=True)
    draw_clouds(rows, out_dir / 'clouds.png', titles=titles, up=args.up)
    draw_clouds(rows, out_dir / 'capsules.png', colors, titles, args.up)
    write_page(rows, out_dir / 'clouds.html', colors, args.up)
    print(f'wrote clouds.png, capsules.png and clouds.html to {out_dir}')
