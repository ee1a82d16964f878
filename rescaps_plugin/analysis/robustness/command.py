"""Implementation of ``tools/robustness.py``."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from mmengine.fileio import dump

from rescaps_plugin import __version__
from rescaps_plugin.analysis.robustness.attacks import AttackSettings, attack_models
from rescaps_plugin.analysis.robustness.checks import check_attacks
from rescaps_plugin.analysis.robustness.models import Model, open_models
from rescaps_plugin.analysis.robustness.report import draw, write_page
from rescaps_plugin.analysis.robustness.targets import make_target
from rescaps_plugin.analysis.robustness.transforms import measure_affine, measure_rotation
from rescaps_plugin.analysis.robustness.viewpoints import have_viewpoints, measure_viewpoints
from rescaps_plugin.classification.inference import load_images
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.outputs import choose_out_dir
from rescaps_plugin.compat.allocator import keep_freed_memory
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.training.checkpoint_writer import whole_files


def run(args: Namespace) -> None:
    """Test models in the requested modes, and write the results.

    Args:
        args: Arguments of ``tools/robustness.py``.

    Raises:
        UserError: A model cannot be opened, models test on different images, or a mode cannot run on them.
    """
    if args.device == 'cpu':
        keep_freed_memory()
    models = open_models(args)
    out_dir = choose_out_dir(args.out_dir, models[0].cfg.work_dir, 'robustness')
    test_set = models[0].test_set
    report = {
        'data': f'{test_set["type"]} {test_set.get("data_root", "")}'.rstrip(),
        'models': [
            {'name': model.name, 'config': model.cfg.filename, 'checkpoint': model.checkpoint} for model in models
        ],
        'seed': args.seed,
        'device': args.device,
        'torch': torch.__version__,
        'rescaps': __version__,
        'results': {},
    }
    for mode in _choose_modes(models, args.modes):
        report['results'][mode] = MODES[mode](models, args)
    for line in report['results'].get('attack', {}).get('lines', ()):
        print(line)
    with whole_files():
        dump(report, str(out_dir / 'robustness.json'), indent=2)
    write_page(report, out_dir / 'robustness.md')
    files = draw(report, out_dir)
    print(f'wrote {", ".join(["robustness.json", "robustness.md", *files])} to {out_dir}')


def attack(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    """Attack images of the test set, and check the results for masked gradients.

    Args:
        models: The models.
        args: Arguments of ``tools/robustness.py``.

    Returns:
        The result of :func:`~rescaps_plugin.analysis.robustness.attacks.attack_models`; ``images``, their number;
        ``epsilons``; ``settings``; and ``checks`` and their ``lines``.
    """
    batch = load_images(models[0].samples, evenly_spaced(len(models[0].samples), args.attack_images))
    images = batch['inputs']
    labels = np.array([sample.gt_label.item() for sample in batch['data_samples']])
    settings = AttackSettings(
        steps=args.steps,
        restarts=args.restarts,
        queries=args.queries,
        batch_size=args.batch_size,
        seed=args.seed,
        objective=args.objective,
    )
    targets = []
    for model in models:
        classifier = deepcopy(model.classifier).double() if args.double else model.classifier
        targets.append(make_target(model.name, classifier, images, args.objective))
    results = attack_models(targets, images.numpy() / np.float32(255), labels, args.epsilons, settings)
    checks = check_attacks(results, len(labels))
    return {
        'images': len(labels),
        'epsilons': args.epsilons,
        'settings': {**asdict(settings), 'arithmetic': 'float64' if args.double else 'float32'},
        **results,
        'checks': [asdict(check) for check in checks],
        'lines': [str(check) for check in checks],
    }


def _have_byte_images(models: Sequence[Model]) -> bool:
    """Return whether the test pipeline packs images as bytes; an attack's epsilon is in units of their range."""
    return models[0].samples[0]['inputs'].dtype == torch.uint8


MODES: dict[str, Callable[[Sequence[Model], Namespace], dict[str, Any]]] = {
    'affine': measure_affine,
    'viewpoint': measure_viewpoints,
    'rotation': measure_rotation,
    'attack': attack,
}


def _choose_modes(models: Sequence[Model], wanted: Sequence[str] | None) -> Sequence[str]:
    """Return the modes to run: those requested, or by default all that the data support."""
    supported = {'viewpoint': have_viewpoints(models), 'attack': _have_byte_images(models)}
    modes = wanted or [mode for mode in MODES if supported.get(mode, True)]
    if 'viewpoint' in modes and not supported['viewpoint']:
        raise UserError(
            f'--modes viewpoint needs a data set with viewpoints, SmallNORB, not {models[0].test_set["type"]}.'
        )
    if 'attack' in modes:
        import_extra('art', 'robustness')  # before other modes, which take long
    return modes
