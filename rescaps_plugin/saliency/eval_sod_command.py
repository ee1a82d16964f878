"""Implementation of ``tools/eval_sod.py``."""

from argparse import Namespace
from functools import partial

from rich.progress import track

from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.outputs import check_folder_writable
from rescaps_plugin.saliency.boundary import score_boundary
from rescaps_plugin.saliency.evaluation import list_maps, parallel_map, score_files
from rescaps_plugin.saliency.report import name_methods, write_report


def run(args: Namespace) -> None:
    """Score folders of saved saliency maps against masks, and write tables and curves.

    Args:
        args: Arguments of ``tools/eval_sod.py``.

    Raises:
        UserError: A package is missing, methods have no names of their own, a map or a mask cannot be used, or the
            folder cannot be written.
    """
    import_extra('py_sod_metrics', 'saliency')
    check_folder_writable(args.out_dir, '--out-dir')
    names = name_methods([(path, None) for path in args.maps], args.names)
    masks, methods = list_maps(args.maps, args.masks, args.common, args.resize)
    scores, boundaries = {}, {}
    with parallel_map(args.workers) as map_files:
        for name, maps in zip(names, methods, strict=True):
            score = partial(score_files, maps, masks, map_files=map_files, resize=args.resize, alpha=args.alpha)
            scores[name] = list(track(score(), name, total=len(masks)))
            if args.boundary:
                boundaries[name] = list(track(score(score=score_boundary), f'{name}, boundaries', total=len(masks)))
    write_report(scores, args.out_dir, title=f'{args.masks}: {len(masks)} images', boundaries=boundaries)
