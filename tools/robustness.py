"""Test how models bear what they were not trained on, side by side.

    python tools/robustness.py CONFIG CHECKPOINT
    python tools/robustness.py CONFIG CHECKPOINT OTHER_CONFIG CHECKPOINT --modes rotation attack

The models must test on the same images. The modes:

    affine     the test set under random affine transforms in affNIST's ranges; of a config that tests on affNIST, that
               beside MNIST's own test digits placed as in training
    viewpoint  smallNORB, or data of its form, by azimuth and elevation: familiar and novel ones of Hinton et al. 2018
    rotation   accuracy by the angle that images are turned by
    attack     FGSM, BIM, PGD and Square, which sees outputs alone, by epsilon; what PGD made against each model tried
               on the others; and checks that gradients are not masked. Needs pip install '.[robustness]'

Without --modes, all that the data admit. Writes to work_dirs/<first config>/robustness: robustness.json, robustness.md,
and curves as PNG.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    import numpy as np
    import torch
    from mmengine.config import Config
    from mmengine.device import get_device
    from mmengine.fileio import dump
    from mmpretrain.datasets import BaseDataset, build_dataset
    from rich.progress import track

    from rescaps_plugin import __version__
    from rescaps_plugin.analysis.drawing import draw_curves
    from rescaps_plugin.analysis.robustness.attacks import (
        AFFINE,
        OBJECTIVES,
        TITLES,
        AttackSettings,
        attack_models,
        check_attacks,
        make_target,
        percentage,
        viewpoint_accuracy,
    )
    from rescaps_plugin.classification.inference import (
        insert_transforms,
        load_images,
        open_classifier,
        predict_dataset,
    )
    from rescaps_plugin.cli.arguments import add_config_arguments, positive_int
    from rescaps_plugin.cli.config import inner_datasets
    from rescaps_plugin.cli.extras import import_extra
    from rescaps_plugin.cli.outputs import check_folder_writable
    from rescaps_plugin.data.subset import spread

DEFAULT_EPSILONS = (0.02, 0.05, 0.1, 0.2)
DEFAULT_ANGLES = tuple(range(-90, 91, 15))


class Model(NamedTuple):
    """A model under test: what tables call it, its config, checkpoint, classifier in evaluation, and test set."""

    name: str
    cfg: Config
    checkpoint: str
    classifier: torch.nn.Module
    samples: BaseDataset


Mode = Callable[[Sequence[Model], Namespace], dict[str, Any]]


def test_config(model: Model) -> dict:
    return model.cfg.test_dataloader.dataset


def accuracies(
    models: Sequence[Model], datasets: Sequence[dict], args: Namespace, label: str
) -> dict[str, list[float]]:
    """Give every model's accuracy in per cent on each data set, of all or --max-images of its samples."""
    results = {model.name: [] for model in models}
    for dataset in track(datasets, label):
        for model in models:
            # Training pipelines draw from NumPy's global generator: the same for every model.
            np.random.seed(args.seed)
            samples = build_dataset(dataset)
            indices = spread(len(samples), args.max_images)
            predicted, truth = predict_dataset(model.classifier, samples, indices, args.batch_size)
            results[model.name].append(percentage((predicted == truth).numpy()))
    return results


def warped(dataset: dict, **parameters: Any) -> dict:
    """Give a data set whose images are transformed behind all of its pipeline that changes them."""
    return insert_transforms(dataset, [dict(type='AffineWarp', **parameters)])


def run_affine(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    dataset = test_config(models[0])
    affnist = all(part['type'] == 'AffNIST' for part in inner_datasets(dataset))
    if affnist:
        training = deepcopy(models[0].cfg.train_dataloader.dataset)
        conditions = {'MNIST test digits, placed as in training': dict(training, split='test'), 'affNIST': dataset}
    else:
        conditions = {'test set': dataset}
        for draw in range(args.draws):
            conditions[f'draw {draw}'] = warped(dataset, **AFFINE, fill=args.fill, seed=args.seed + draw)
    measured = accuracies(models, list(conditions.values()), args, 'Affine transforms')
    familiar, *others = conditions
    return {
        'familiar': familiar,
        'transformed': others[0] if len(others) == 1 else f'random affine transforms, mean of {len(others)} draws',
        'ranges': None if affnist else AFFINE,
        'accuracy': {
            name: {'familiar': values[0], 'transformed': float(np.mean(values[1:])), 'draws': values[1:]}
            for name, values in measured.items()
        },
    }


def run_viewpoint(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    results = {}
    for model in track(models, 'Viewpoints'):
        samples = build_dataset(dict(test_config(model), azimuth='all', elevation='all'))
        indices = spread(len(samples), args.max_images)
        predicted, truth = predict_dataset(model.classifier, samples, indices, args.batch_size)
        training = model.cfg.get('train_dataloader', {}).get('dataset', {})
        trained = {axis: training.get(axis, 'all') for axis in ('azimuth', 'elevation')}
        measured = viewpoint_accuracy(samples.info[indices], (predicted == truth).numpy())
        results[model.name] = {'trained_on': trained, **measured}
    return results


def run_rotation(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    datasets = [
        warped(test_config(models[0]), rotation=(angle, angle), fill=args.fill, seed=args.seed) for angle in args.angles
    ]
    return {'angles': args.angles, 'accuracy': accuracies(models, datasets, args, 'Rotations')}


def run_attack(models: Sequence[Model], args: Namespace) -> dict[str, Any]:
    batch = load_images(models[0].samples, spread(len(models[0].samples), args.attack_images))
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
    pixels = images.numpy() / np.float32(255)
    results = attack_models(targets, pixels, labels, args.epsilons, settings)
    checks = check_attacks(results, args.epsilons, len(labels))
    return {
        'images': len(labels),
        'epsilons': args.epsilons,
        'settings': {**asdict(settings), 'arithmetic': 'float64' if args.double else 'float32'},
        **results,
        'checks': [asdict(check) for check in checks],
        'lines': [str(check) for check in checks],
    }


def is_norb(models: Sequence[Model]) -> bool:
    return all(test_config(model)['type'] == 'SmallNORB' for model in models)


def always(models: Sequence[Model]) -> bool:
    return True


def gives_bytes(models: Sequence[Model]) -> bool:
    """Tell whether images end as bytes, whose perturbation in pixels has a meaning."""
    return models[0].samples[0]['inputs'].dtype == torch.uint8


# How to run a mode, and whether the data admit it.
MODES: dict[str, tuple[Mode, Callable[[Sequence[Model]], bool]]] = {
    'affine': (run_affine, always),
    'viewpoint': (run_viewpoint, is_norb),
    'rotation': (run_rotation, always),
    'attack': (run_attack, gives_bytes),
}


def choose_modes(models: Sequence[Model], wanted: Sequence[str] | None) -> Sequence[str]:
    modes = wanted or [mode for mode, (_, admits) in MODES.items() if admits(models)]
    if 'viewpoint' in modes and not is_norb(models):
        raise UserError(
            f'--modes viewpoint needs data sets that know viewpoints, SmallNORB, not {test_config(models[0])["type"]}.'
        )
    if 'attack' in modes:
        import_extra('art', 'robustness')  # before other modes have taken their time
    return modes


def open_models(args: Namespace) -> list[Model]:
    pairs = list(zip(args.models[::2], args.models[1::2], strict=True))
    stems = [Path(config).stem for config, _ in pairs]
    models = []
    for stem, (config, checkpoint) in zip(stems, pairs, strict=True):
        cfg, classifier = open_classifier(config, checkpoint, args)
        name = stem if stems.count(stem) == 1 else checkpoint
        models.append(Model(name, cfg, checkpoint, classifier, build_dataset(cfg.test_dataloader.dataset)))
    first, *others = models
    for other in others:
        for index in (0, -1):
            image, its = first.samples[index]['inputs'], other.samples[index]['inputs']
            if len(first.samples) != len(other.samples) or its.dtype != image.dtype or not torch.equal(its, image):
                raise UserError(
                    f'{other.name} tests on other images than {first.name}; models are compared on the same, as their '
                    "configs' test pipelines leave them."
                )
    return models


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Give a Markdown table; numbers are rounded to two places."""
    cells = [[f'{cell:.2f}' if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    return ['', *(f'| {" | ".join(row)} |' for row in [head, ['---'] * len(head), *cells]), '']


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write the results as Markdown."""
    results = report['results']
    names = [model['name'] for model in report['models']]
    lines = [f'# Robustness on {report["data"]}', '']
    lines += [f'- {model["name"]}: {model["config"]}, {model["checkpoint"]}' for model in report['models']]
    lines += [f'- seed {report["seed"]}, {report["device"]}, torch {report["torch"]}', '']
    if 'affine' in results:
        found = results['affine']
        rows = [[name, found['accuracy'][name]['familiar'], found['accuracy'][name]['transformed']] for name in names]
        lines += ['## Affine transforms', '', f'Accuracy in per cent. Ranges: {found["ranges"]}.']
        lines += table(['model', found['familiar'], found['transformed']], rows)
    if 'viewpoint' in results:
        lines += ['## Viewpoints', '', 'Accuracy in per cent.']
        rows = [
            [name, entry['trained_on'][axis], entry[axis]['familiar'], entry[axis]['novel']]
            for axis in ('azimuth', 'elevation')
            for name, entry in ((f'{name}, {axis}', results['viewpoint'][name]) for name in names)
        ]
        lines += table(['model', 'trained on', 'familiar', 'novel'], rows)
    if 'rotation' in results:
        found = results['rotation']
        lines += ['## Rotation', '', 'Accuracy in per cent, by degrees counter-clockwise.']
        lines += table(
            ['model', *(f'{angle:g}' for angle in found['angles'])],
            [[name, *found['accuracy'][name]] for name in names],
        )
    if 'attack' in results:
        lines += describe_attacks(results['attack'], names)
    path.write_text('\n'.join(lines).rstrip() + '\n', encoding='utf-8')


def describe_attacks(found: dict[str, Any], names: Sequence[str]) -> list[str]:
    epsilons = [f'eps {eps:g}' for eps in found['epsilons']]
    settings = ', '.join(f'{key} {value}' for key, value in found['settings'].items())
    lines = ['## Attacks', '', f'Accuracy in per cent on {found["images"]} images, pixels in [0, 1]; {settings}.']
    rows = [
        [name, TITLES[attack], found['clean'][name]['accuracy'], *(entry['accuracy'] for entry in entries)]
        for name in names
        for attack, entries in found['white_box'][name].items()
    ]
    lines += table(['model', 'attack', 'clean', *epsilons], rows)
    if len(names) > 1:
        lines += ['### Transfer', '', 'Accuracy of a model on what PGD made against another.']
        rows = [
            [f'{source} → {other}', *(entry['accuracy'] for entry in entries)]
            for source in names
            for other, entries in found['transfer'][source].items()
        ]
        lines += table(['from → to', *epsilons], rows)
    return [*lines, '### Checks', '', *(f'- {line}' for line in found['lines']), '']


def draw(results: dict[str, Any], names: Sequence[str], out_dir: Path) -> list[str]:
    """Draw the curves; gives the files' names."""
    files = []
    if 'rotation' in results:
        found = results['rotation']
        lines = {name: (found['angles'], found['accuracy'][name]) for name in names}
        draw_curves({'turned images': lines}, out_dir / 'rotation.png', 'angle, degrees', ['accuracy, %'])
        files.append('rotation.png')
    if 'viewpoint' in results:
        panels = {
            axis: {name: tuple(zip(*results['viewpoint'][name][axis]['curve'].items(), strict=True)) for name in names}
            for axis in ('azimuth', 'elevation')
        }
        draw_curves(panels, out_dir / 'viewpoint.png', 'degrees', ['accuracy, %'] * 2)
        files.append('viewpoint.png')
    if 'attack' in results:
        found = results['attack']
        epsilons = [0, *found['epsilons']]

        def curve(name: str, attack: str, key: str) -> tuple[list[float], list[float]]:
            entries = [found['clean'][name], *found['white_box'][name][attack]]
            return epsilons, [entry[key] for entry in entries]

        panels = {TITLES[attack]: {name: curve(name, attack, 'accuracy') for name in names} for attack in TITLES}
        panels["PGD's loss"] = {name: curve(name, 'pgd', 'loss') for name in names}
        ylabels = ['accuracy, %'] * len(TITLES) + ['margin of log-odds']
        draw_curves(panels, out_dir / 'attack.png', 'epsilon', ylabels)
        files.append('attack.png')
    return files


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('models', nargs='+', metavar='CONFIG CHECKPOINT', help='config and checkpoint of each model')
    parser.add_argument('--modes', nargs='+', choices=MODES, help='default: all that the data admit')
    parser.add_argument('--max-images', type=positive_int, help='of the test set, at even distances (default: all)')
    parser.add_argument('--draws', type=positive_int, default=3, help='of affine transforms, an image (default: 3)')
    parser.add_argument(
        '--angles',
        nargs='+',
        type=float,
        default=DEFAULT_ANGLES,
        help='in degrees, counter-clockwise (default: -90 to 90, 15 apart)',
    )
    parser.add_argument(
        '--fill', type=float, default=0.0, help='value of what lies outside a transformed image (default: 0)'
    )
    parser.add_argument(
        '--epsilons',
        nargs='+',
        type=float,
        default=DEFAULT_EPSILONS,
        help='largest changes of a pixel in [0, 1], rising (default: 0.02 0.05 0.1 0.2)',
    )
    parser.add_argument('--attack-images', type=positive_int, default=200, help='to attack (default: 200)')
    parser.add_argument('--steps', type=positive_int, default=20, help='of BIM and PGD (default: 20)')
    parser.add_argument('--restarts', type=positive_int, default=1, help='random starts of PGD (default: 1)')
    parser.add_argument('--queries', type=positive_int, default=200, help='iterations of Square (default: 200)')
    parser.add_argument(
        '--objective',
        choices=OBJECTIVES,
        default='margin',
        help="of the attacks: the margin of log-odds, or the libraries' own, cross-entropy of raw outputs, which "
        'saturated activations can weaken (default: margin)',
    )
    parser.add_argument(
        '--double', action='store_true', help='attack in float64, where the check finds gradients of zero'
    )
    parser.add_argument('--batch-size', type=positive_int, default=128, help='images at a time (default: 128)')
    parser.add_argument('--seed', type=int, default=0, help='of transforms and attacks (default: 0)')
    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')
    parser.add_argument(
        '--out-dir', type=Path, help='folder to write to (default: work_dirs/<first config>/robustness)'
    )
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    if len(args.models) % 2:
        parser.error(f'a CONFIG and a CHECKPOINT of each model: {len(args.models)} arguments were given')
    if min(args.epsilons) <= 0 or max(args.epsilons) > 1 or list(args.epsilons) != sorted(set(args.epsilons)):
        parser.error(f'--epsilons must rise, in (0, 1], not {args.epsilons}')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors():
        models = open_models(args)
        out_dir = args.out_dir or Path(models[0].cfg.work_dir, 'robustness')
        check_folder_writable(out_dir, '--out-dir')
        report = {
            'data': f'{test_config(models[0])["type"]} {test_config(models[0]).get("data_root", "")}'.rstrip(),
            'models': [
                {'name': model.name, 'config': model.cfg.filename, 'checkpoint': model.checkpoint} for model in models
            ],
            'seed': args.seed,
            'device': args.device,
            'torch': torch.__version__,
            'rescaps': __version__,
            'results': {},
        }
        for mode in choose_modes(models, args.modes):
            report['results'][mode] = MODES[mode][0](models, args)
        for line in report['results'].get('attack', {}).get('lines', ()):
            print(line)
        dump(report, str(out_dir / 'robustness.json'), indent=2)
        write_report(report, out_dir / 'robustness.md')
        files = draw(report['results'], [model.name for model in models], out_dir)
        print(f'wrote {", ".join(["robustness.json", "robustness.md", *files])} to {out_dir}')


if __name__ == '__main__':
    main()
