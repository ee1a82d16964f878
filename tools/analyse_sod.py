"""Compare salient object detectors on a test set: pictures of images, masks and maps, tables, and curves.

    python tools/analyse_sod.py ICON_CONFIG CHECKPOINT TSPOANET_CONFIG CHECKPOINT
    python tools/analyse_sod.py CONFIG CHECKPOINT MAPS/PUBLISHED --max-images 100
    python tools/analyse_sod.py MAPS/ICON MAPS/TSPOANet --images data/ECSSD/images --masks data/ECSSD/ground_truth_mask

A method is a config with a checkpoint, or a folder of saved maps. The images are those of the first config's test set,
or of --images and --masks. Writes to work_dirs/<first method>/analysis: maps.png, a row for each of --rows images, with
each method's error; metrics.md, .csv and .json; curves.png; and <method>.npz, the curves.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from mmengine.device import get_device

    import rescaps_plugin  # noqa: F401  (makes mmcv-lite suffice)
    from rescaps_plugin.cli.arguments import add_config_arguments, positive_int
    from rescaps_plugin.cli.extras import import_extra
    from rescaps_plugin.cli.outputs import check_folder_writable


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('methods', nargs='+', metavar='METHOD', help='CONFIG CHECKPOINT, or a folder of maps')
    parser.add_argument('--names', nargs='+', help='names of the methods (default: of their configs and folders)')
    parser.add_argument('--images', type=Path, help='folder of images, with --masks')
    parser.add_argument('--masks', type=Path, help='folder of masks, with --images')
    parser.add_argument('--max-images', type=positive_int, help='take so many, at even distances (default: all)')
    parser.add_argument('--common', action='store_true', help='take only images whose maps all folders have')
    parser.add_argument('--rows', type=positive_int, default=6, help='images in the picture (default: 6)')
    parser.add_argument('--show', nargs='+', metavar='STEM', help='these in the picture, by names without suffix')
    parser.add_argument('--resize', action='store_true', help='bring saved maps of another size to that of their masks')
    parser.add_argument('--batch-size', type=positive_int, default=1, help='images at a time (default: 1)')
    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')
    parser.add_argument('--out-dir', type=Path, help='folder to write to')
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    if (args.images is None) != (args.masks is None):
        parser.error('--images and --masks: both or none')
    args.pairs = []
    words = iter(args.methods)
    for word in words:
        if Path(word).is_dir():
            args.pairs.append((Path(word), None))
        else:
            args.pairs.append((Path(word), next(words, None)))
            if args.pairs[-1][1] is None:
                parser.error(f'METHOD {word}: it is not a folder of maps, and no CHECKPOINT follows it')
    if args.names is not None and len(args.names) != len(args.pairs):
        parser.error(f'--names: {len(args.pairs)} names are needed, one for each METHOD, not {len(args.names)}')
    if args.names is not None and len(set(args.names)) < len(args.names):
        parser.error('--names: two methods have one name')
    if args.images is None and all(checkpoint is None for _, checkpoint in args.pairs):
        parser.error('folders of maps alone need --images and --masks')
    return args


def main(argv=None):
    args = parse_args(argv)
    with user_errors():
        import_extra('py_sod_metrics', 'saliency')
        # Here, so that --help and mistaken flags do without MMSegmentation.
        from rescaps_plugin.saliency.comparison import compare
        from rescaps_plugin.saliency.report import unique_names

        names = args.names or unique_names([path for path, _ in args.pairs])
        out_dir = args.out_dir or Path('work_dirs', names[0], 'analysis')
        check_folder_writable(out_dir, '--out-dir')
        compare(dict(zip(names, args.pairs, strict=True)), args, out_dir)


if __name__ == '__main__':
    main()
