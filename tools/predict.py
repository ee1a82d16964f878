"""Predict with a trained model: classes of images, saliency maps of images and videos, reconstructions of clouds.

    python tools/predict.py CONFIG CHECKPOINT photo.jpg
    python tools/predict.py rescaps-small_mnist digit.png      # a published model, by name
    python tools/predict.py model.onnx photos/                 # a file of tools/export.py (.onnx, .xml)
    python tools/predict.py CONFIG CHECKPOINT photos/ --top-k 5 --format json --out-dir results
    python tools/predict.py CONFIG CHECKPOINT --max-images 25   # the config's own test set, with true labels
    python tools/predict.py configs/icon/icon-v-rpr_duts.py CHECKPOINT photos/ clip.mp4 --overlay --cutout
    cat photo.jpg | python tools/predict.py CONFIG CHECKPOINT - --cutout --refine --background white
    python tools/predict.py configs/pointcaps/pointcaps-rpr_kicad40.py CHECKPOINT chair.off

Writes predictions.csv (or .json), one row per image or cloud (further classes in class_2, score_2 and so on), and
predictions.png, a figure of the first ones. A saliency map is an 8-bit PNG file at the size of the input, in maps/. A
cloud's reconstruction is a PLY file in the units of the input, coloured by latent capsule.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from mmengine.device import get_device

    from rescaps_plugin.cli.arguments import (
        add_config_arguments,
        add_out_dir_argument,
        colour,
        positive_int,
    )
    from rescaps_plugin.export.exported import read_config
    from rescaps_plugin.export.formats import RUNTIMES, SUFFIXES, is_exported
    from rescaps_plugin.training.model_arguments import add_model_arguments, parse_model_arguments
    from rescaps_plugin.training.trained_model import call_by_scope

PREDICTORS = {
    'mmpretrain': 'rescaps_plugin.classification.predict_command:run',
    'mmseg': 'rescaps_plugin.saliency.predict_command:run',
    'mmengine': 'rescaps_plugin.pointcloud.predict_command:run',
}


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_model_arguments(parser, exported=SUFFIXES)
    parser.add_argument(
        'inputs',
        nargs='*',
        metavar='INPUT',
        help='image, video, cloud or mesh files, or folders searched recursively; - is an image on standard input; '
        "default: the config's test set",
    )
    add_out_dir_argument(parser, '<work-dir>/predictions')
    parser.add_argument('--work-dir', help="default: the config's, or work_dirs/<config>")
    parser.add_argument('--format', choices=('csv', 'json'), default='csv', help='format of the table (default: csv)')
    parser.add_argument(
        '--max-images', type=positive_int, help='maximum number of images, and of frames per video, evenly spaced'
    )
    parser.add_argument(
        '--batch-size', type=positive_int, help='images or clouds per batch (default: 32, for saliency maps 1)'
    )
    parser.add_argument(
        '--device', help=f'cpu, cuda, cuda:1, ... (default: {get_device()}; cpu unless --runtime torch)'
    )
    parser.add_argument(
        '--runtime',
        choices=('torch', *RUNTIMES),
        help='program that runs the network: PyTorch, ONNX Runtime or OpenVINO (default: torch; for an exported file, '
        'the one that is installed)',
    )
    parser.add_argument(
        '--prepack', action='store_true', help='pack weights for the processor: faster in PyTorch on a CPU'
    )
    parser.add_argument(
        '--top-k',
        type=positive_int,
        default=1,
        metavar='K',
        help='number of classes per image, best first (default: 1)',
    )
    saliency = parser.add_argument_group('saliency maps')
    saliency.add_argument(
        '--overlay', action='store_true', help='also write images with salient regions tinted; for a video, a video'
    )
    saliency.add_argument(
        '--cutout', action='store_true', help='also write images whose opacity is the map; for a video, a video'
    )
    saliency.add_argument(
        '--refine',
        action='store_true',
        help='bring the edges of cut-outs to the resolution of the image, and remove the background from their colours',
    )
    saliency.add_argument(
        '--background',
        type=colour,
        metavar='COLOUR',
        help='colour behind cut-outs, such as white or #00b140 (default: transparent)',
    )
    add_config_arguments(parser)
    args = parse_model_arguments(parser, argv)
    in_torch = args.runtime in (None, 'torch') and not is_exported(args.config)
    args.device = args.device or (get_device() if in_torch else 'cpu')
    if is_exported(args.config) and not args.inputs:
        parser.error(f'an INPUT must follow {args.config}: an exported file has no test set')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        args = parse_args(argv)
        call_by_scope(args, PREDICTORS, args.work_dir, read_config)


if __name__ == '__main__':
    main()
