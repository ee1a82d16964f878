"""Predict with a trained model: classes of images, saliency maps of images and videos, reconstructions of clouds.

    python tools/predict.py CONFIG CHECKPOINT photo.jpg
    python tools/predict.py CONFIG CHECKPOINT photos/ --top-k 5 --format json --out-dir results
    python tools/predict.py CONFIG CHECKPOINT --max-images 25   # of the config's own test set, beside the truth
    python tools/predict.py configs/icon/icon-v-rpr_duts.py CHECKPOINT photos/ clip.mp4 --overlay --cutout
    python tools/predict.py configs/pointcaps/pointcaps-rpr_kicad40.py CHECKPOINT chair.off

Writes predictions.csv (or .json), one row per image or cloud (of classes beyond the first,
class_2, score_2 and so on), and predictions.png, a picture of the first of them.
A saliency map is an 8-bit PNG file at the size of the input, in maps/. A cloud's reconstruction is a PLY file in the
units of the input, coloured by latent capsule.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from mmengine.device import get_device
    from mmengine.registry import init_default_scope

    import rescaps_plugin  # noqa: F401  (registers the models, makes mmcv-lite suffice)
    from rescaps_plugin.cli.arguments import add_config_arguments, positive_int
    from rescaps_plugin.cli.config import load_config, require, set_work_dir
    from rescaps_plugin.cli.outputs import check_folder_writable
    from rescaps_plugin.data.pipelines import check_images
    from rescaps_plugin.training.checkpoint_loader import check_exists, open_safely

# The module that predicts for a config of each default_scope.
PREDICTORS = {
    'mmpretrain': 'rescaps_plugin.classification.predict_command',
    'mmseg': 'rescaps_plugin.saliency.predict_command',
    'mmengine': 'rescaps_plugin.pointcloud.predict_command',
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        'inputs',
        nargs='*',
        metavar='INPUT',
        help="image, video, cloud or mesh files, or folders of them at any depth; none: the config's test set",
    )
    parser.add_argument('--out-dir', type=Path, help='folder for the results (default: <work-dir>/predictions)')
    parser.add_argument('--work-dir', help="default: the config's, or work_dirs/<config>")
    parser.add_argument('--format', choices=('csv', 'json'), default='csv', help='of the table (default: csv)')
    parser.add_argument(
        '--max-images', type=positive_int, help='take so many, and so many frames of a video, at even distances'
    )
    parser.add_argument(
        '--batch-size', type=positive_int, help='images or clouds at a time (default: 32, for saliency maps 1)'
    )
    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')
    parser.add_argument(
        '--top-k',
        type=positive_int,
        default=1,
        metavar='K',
        help='classes of an image to give, best first (default: 1)',
    )
    saliency = parser.add_argument_group('saliency maps')
    saliency.add_argument(
        '--overlay', action='store_true', help='also write images tinted where salient; of a video, one'
    )
    saliency.add_argument('--cutout', action='store_true', help='also write images whose opacity is the map')
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
        if scope != 'mmseg' and (args.overlay or args.cutout):
            raise UserError(f'--overlay and --cutout are of saliency maps; config {args.config} makes none.')
        if scope != 'mmpretrain' and args.top_k > 1:
            raise UserError(f'--top-k is of classes; config {args.config} predicts none.')
        init_default_scope(scope)
        cfg = check_images(cfg)
        check_exists(args.checkpoint)
        if args.out_dir is None:
            set_work_dir(cfg, args.work_dir)
            args.out_dir = Path(cfg.work_dir, 'predictions')
        check_folder_writable(args.out_dir, '--out-dir')
        predict = import_module(PREDICTORS[scope]).predict
        with open_safely(args.checkpoint, trust=args.trust_checkpoint):
            failures = predict(cfg, args)
        if failures:
            raise UserError('\n  '.join([f'{len(failures)} inputs could not be read:', *failures]))


if __name__ == '__main__':
    main()
