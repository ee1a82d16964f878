"""Draw point clouds beside what autoencoders make of them.

    python tools/visualise_clouds.py CONFIG CHECKPOINT
    python tools/visualise_clouds.py DYNAMIC_CONFIG CHECKPOINT RPR_CONFIG CHECKPOINT --clouds 8

Clouds are of the first config's test set, at even distances. Writes to work_dirs/<first config>/clouds: clouds.png, the
inputs above the reconstruction of every model, with its Chamfer distance times 1000; capsules.png, the reconstructions
coloured by the latent capsule that a point comes from; and clouds.html, all of it to turn in a browser.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    import torch
    from mmengine.device import get_device

    import rescaps_plugin  # noqa: F401  (makes mmcv-lite suffice for configs that need mmcv)
    from rescaps_plugin.cli.arguments import add_config_arguments, positive_int
    from rescaps_plugin.losses import chamfer_distance


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', metavar='CONFIG CHECKPOINT', help='config and checkpoint of each model')
    parser.add_argument('--clouds', type=positive_int, default=6, help='number of clouds (default: 6)')
    parser.add_argument('--up', choices=('y', 'z'), default='y', help='axis that points up (default: y)')
    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')
    parser.add_argument('--out-dir', type=Path, help='folder to write to (default: work_dirs/<first config>/clouds)')
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    if len(args.models) % 2:
        parser.error(f'a CONFIG and a CHECKPOINT of each model: {len(args.models)} arguments were given')
    return args


def main(argv=None):
    args = parse_args(argv)
    with user_errors():
        pairs = list(zip(args.models[::2], args.models[1::2], strict=True))
        # Here, so that --help and mistaken flags do without trimesh.
        from rescaps_plugin.pointcloud.drawing import capsule_colors, draw_clouds, write_page
        from rescaps_plugin.pointcloud.inference import build_dataset, open_model, predict

        loaded = [open_model(config, checkpoint, args) for config, checkpoint in pairs]

        dataset = build_dataset(loaded[0][0], 'test')
        count = min(args.clouds, len(dataset))
        samples = [dataset[index * len(dataset) // count] for index in range(count)]
        rows = {'input': [sample['inputs'].numpy() for sample in samples]}
        titles, colors = {}, {}
        classes = dataset.metainfo.get('classes')
        if classes:
            titles['input'] = [classes[sample['data_samples'].gt_label] for sample in samples]
        for (config, _), (_, model) in zip(pairs, loaded, strict=True):
            alone = sum(other.routing == model.routing for _, other in loaded) == 1
            name = model.routing if alone else Path(config).stem
            predicted = torch.stack([sample.pred_points for _, sample in predict(model, samples)])
            distances = chamfer_distance(predicted, torch.stack([sample['inputs'] for sample in samples]))
            rows[name] = list(predicted.numpy())
            titles[name] = [f'{1000 * distance:.2f}' for distance in distances]
            colors[name] = capsule_colors(predicted.shape[1], model.decoder.latent_capsules)

        out_dir = args.out_dir or Path(loaded[0][0].work_dir, 'clouds')
        out_dir.mkdir(parents=True, exist_ok=True)
        draw_clouds(rows, out_dir / 'clouds.png', titles=titles, up=args.up)
        draw_clouds(rows, out_dir / 'capsules.png', colors, titles, args.up)
        write_page(rows, out_dir / 'clouds.html', colors, args.up)
        print(f'wrote clouds.png, capsules.png and clouds.html to {out_dir}')


if __name__ == '__main__':
    main()
