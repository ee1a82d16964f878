"""Compare salient object detectors on a test set: figures of images, masks and maps, tables, and curves.

    python tools/analyse_sod.py ICON_CONFIG CHECKPOINT TSPOANET_CONFIG CHECKPOINT
    python tools/analyse_sod.py CONFIG CHECKPOINT MAPS/PUBLISHED --max-images 100
    python tools/analyse_sod.py MAPS/ICON MAPS/TSPOANet --images data/ECSSD/images --masks data/ECSSD/ground_truth_mask

A method is a config with a checkpoint, the name of a published model, or a folder of saved maps. The images are those
of the first config's test set, or of --images and --masks. Writes to work_dirs/<first method>/analysis: maps.png, a row
for each of --rows images, with each method's error; metrics.md, .csv and .json; curves.png; and <method>.npz, the
curves.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import (
        add_config_arguments,
        add_device_argument,
        add_out_dir_argument,
        positive_int,
    )
    from rescaps_plugin.training.model_arguments import add_methods_argument


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_methods_argument(parser)
    parser.add_argument('--names', nargs='+', help='names of the methods (default: those of their configs or folders)')
    parser.add_argument('--images', type=Path, help='folder of images; needs --masks')
    parser.add_argument('--masks', type=Path, help='folder of masks; needs --images')
    parser.add_argument('--max-images', type=positive_int, help='number of images to use, evenly spaced (default: all)')
    parser.add_argument('--common', action='store_true', help='use only images that have a map in every folder')
    parser.add_argument('--rows', type=positive_int, default=6, help='number of images in maps.png (default: 6)')
    parser.add_argument('--show', nargs='+', metavar='STEM', help='images to show in maps.png, by name without suffix')
    parser.add_argument('--resize', action='store_true', help='resize saved maps to the size of their masks')
    parser.add_argument('--batch-size', type=positive_int, default=1, help='images per batch (default: 1)')
    add_device_argument(parser)
    add_out_dir_argument(parser, 'work_dirs/<first method>/analysis')
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    if (args.images is None) != (args.masks is None):
        parser.error('--images and --masks must be given together')
    if args.names is not None and len(args.names) != len(args.methods):
        parser.error(f'--names: {len(args.methods)} names are needed, one for each METHOD, not {len(args.names)}')
    if args.names is not None and len(set(args.names)) < len(args.names):
        parser.error('--names: two methods have the same name')
    if args.images is None and all(checkpoint is None for _, checkpoint in args.methods):
        parser.error('folders of maps alone need --images and --masks')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        args = parse_args(argv)
        # Imported here, so that --help and argument errors do not need MMSegmentation.
        from rescaps_plugin.saliency.analyse_sod_command import run

        run(args)


if __name__ == '__main__':
    main()
