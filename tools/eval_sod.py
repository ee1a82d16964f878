"""Score folders of saved saliency maps, of one method or several side by side, as published tables do.

    python tools/eval_sod.py MAPS/ICON MAPS/TSPOANet data/ECSSD/ground_truth_mask
    python tools/eval_sod.py work_dirs/icon/maps data/ECSSD/ground_truth_mask --common --workers 8

Maps and masks belong together by their names without suffix. Writes metrics.md, metrics.csv and metrics.json, a row for
each method; curves.png, precision over recall, F- and E-measure over the threshold; and <method>.npz, the curves.
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rich.progress import track

    import rescaps_plugin  # noqa: F401  (makes mmcv-lite suffice)
    from rescaps_plugin.cli.arguments import positive_int
    from rescaps_plugin.cli.extras import import_extra
    from rescaps_plugin.cli.outputs import check_folder_writable


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('maps', nargs='+', type=Path, metavar='PRED_DIR', help="folder of a method's maps")
    parser.add_argument('masks', type=Path, metavar='GT_DIR', help='folder of the masks')
    parser.add_argument('--names', nargs='+', help="names of the methods (default: their folders')")
    parser.add_argument('--common', action='store_true', help='score only what the masks and all methods have')
    parser.add_argument('--resize', action='store_true', help='bring maps of another size to the size of their masks')
    parser.add_argument('--workers', type=positive_int, default=1, help='number of processes (default: 1)')
    parser.add_argument('--out-dir', type=Path, default=Path('work_dirs', 'eval_sod'), help='default: %(default)s')
    args = parser.parse_args(argv)
    if args.names is not None and len(args.names) != len(args.maps):
        parser.error(f'--names: {len(args.maps)} names are needed, one for each PRED_DIR, not {len(args.names)}')
    return args


def main(argv=None):
    args = parse_args(argv)
    with user_errors():
        import_extra('py_sod_metrics', 'saliency')
        # Here, so that --help and mistaken flags do without MMSegmentation.
        from rescaps_plugin.saliency.evaluation import list_maps, score_files
        from rescaps_plugin.saliency.report import unique_names, write_report

        check_folder_writable(args.out_dir, '--out-dir')
        masks, methods = list_maps(args.maps, args.masks, args.common, args.resize)
        scores = {}
        for name, maps in zip(args.names or unique_names(args.maps), methods, strict=True):
            if name in scores:
                raise UserError(f'--names: {name} names two methods')
            progress = track(score_files(maps, masks, args.resize, args.workers), name, total=len(masks))
            scores[name] = list(progress)
        write_report(scores, args.out_dir, title=f'{args.masks}: {len(masks)} images')


if __name__ == '__main__':
    main()
