"""Does the residual make depth possible? Trains capsule networks of 1 to 10 blocks of equal width.

    python tools/analyse_depth.py
    python tools/analyse_depth.py --config configs/rescaps/mnist_small.py --depths 1 2 4 8 --epochs 2 --indices 3000

Compares residual pose routing (p + p w, Liu et al. 2024, eq. 14), the same without its identity (p w), and EM routing.
Every network has the same types in every block, and only its first block has a stride. The norm of the loss's gradient
with respect to every block's poses is recorded at the first step and as the training goes on. Writes depth.json,
depth.md and depth.png; what was trained under the same settings is not trained again.
"""

import json
import math
import shlex
import statistics
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import datetime
from pathlib import Path

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    import torch
    from matplotlib.figure import Figure

    import rescaps_plugin  # noqa: F401  (registers the models, makes mmcv-lite suffice)
    from rescaps_plugin.analysis.gradients import PoseGradientHook
    from rescaps_plugin.analysis.machine import describe_machine
    from rescaps_plugin.cli.arguments import positive_int
    from rescaps_plugin.cli.config import inner_datasets, load_config, require
    from rescaps_plugin.cli.outputs import write_whole
    from rescaps_plugin.training.runner import build_runner

POSE_ENTRIES = 16
# Arguments that change what a training gives.
SETTINGS = ('config', 'types', 'layers', 'epochs', 'batch_size', 'indices', 'seed')
METHODS = {'rpr': 'RPR, p + p w', 'none': 'RPR without its identity, p w', 'em': 'EM routing'}

NOTES = """\
Gradient: the norm of the loss's gradient with respect to the poses of the first block, divided by that of the last
block; 1 means that it arrives undiminished. At start: the first step. In training: the median of the second half of the
steps.
"""


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('--config', default='rescaps::rescaps/digits.py', help='data and recipe; default: %(default)s')
    parser.add_argument('--depths', nargs='+', type=positive_int, default=list(range(1, 11)), metavar='N')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))
    parser.add_argument('--types', type=positive_int, default=4, metavar='N', help='capsule types; default: 4')
    parser.add_argument('--layers', type=positive_int, default=2, metavar='N', help='ResP layers a block; default: 2')
    parser.add_argument('--em-depth', type=positive_int, default=10, metavar='N', help='deepest with EM; default: 10')
    parser.add_argument('--epochs', type=positive_int, default=3, metavar='N', help='default: 3')
    parser.add_argument('--batch-size', type=positive_int, default=32, metavar='N', help='default: 32')
    parser.add_argument('--indices', type=positive_int, metavar='N', help='first training samples; default: all')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/depth'), help='folder; default: %(default)s')
    return parser.parse_args(argv)


def make_model(cfg, method, depth, types, layers):
    """Give the model's config and, for every block, its name in the model."""
    loader = cfg.train_dataloader.dataset
    image = load_image_shape(loader)
    strides = (2,) + (1,) * (depth - 1)
    network = dict(in_chans=image[0], img_size=image[1:], num_classes=cfg.data_preprocessor.num_classes)
    if method == 'em':
        # The stem has a stride of 2, as the first block of ResCaps. The inverse temperature is the paper's, 0.01, times
        # how many fewer children than the paper's 32 types at 4x4 positions the classes have.
        positions = math.prod((size + 1) // 2 for size in image[1:])
        network.update(
            model_name='em_caps_tiny',
            capsule_types=(types,) * (depth + 1),
            strides=(1,) * depth,
            padding=1,
            inverse_temperature=0.01 * 32 * 4 * 4 / (types * positions),
        )
        names = [f'model.layers.{index}' for index in range(depth)]
    else:
        network.update(
            model_name='rescaps_tiny',
            capsule_types=(types,) * depth,
            strides=strides,
            num_layers=layers,
            residual='identity' if method == 'rpr' else 'none',
        )
        names = [f'model.blocks.{index}' for index in range(depth)]
    return dict(type='TimmCapsuleClassifier', loss=dict(type='SpreadLoss'), **network), names


def load_image_shape(dataset):
    """Give channels, height and width of a training image."""
    from mmpretrain.registry import DATASETS

    sample = DATASETS.build(dict(inner_datasets(dataset)[0], indices=1))[0]
    return tuple(sample['inputs'].shape)


def train_once(args, method, depth):
    """Train a network, unless that was done before under the same settings."""
    settings = {name: value for name, value in vars(args).items() if name in SETTINGS}
    record = args.out / f'{method}-{depth}.json'
    if record.is_file():
        run = json.loads(record.read_text(encoding='utf-8'))
        if run['settings'] == settings:
            return run
    run = dict(train(args, method, depth), settings=settings)
    write_whole(record, json.dumps(run).encode())
    return run


def train(args, method, depth):
    """Train a network; gives accuracy, losses and gradient norms by iteration."""
    cfg = load_config(args.config)
    require(cfg, 'model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'data_preprocessor')
    if args.indices:
        for dataset in inner_datasets(cfg.train_dataloader.dataset):
            dataset.indices = args.indices
    cfg.train_dataloader.batch_size = args.batch_size
    whole = cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = args.epochs
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        # One without an end follows the length of the training.
        scheduler.update({end: scheduler[end] * args.epochs / whole for end in ('begin', 'end') if end in scheduler})
    cfg.model, names = make_model(cfg, method, depth, args.types, args.layers)
    cfg.work_dir = str(args.out / f'{method}-{depth}')
    cfg.log_level = 'WARNING'
    cfg.randomness.seed = args.seed
    cfg.default_hooks.checkpoint = None
    hook = PoseGradientHook({name: POSE_ENTRIES * args.types for name in names})
    runner = build_runner(cfg, hook)
    runner.train()
    accuracy = runner.message_hub.get_scalar('val/accuracy/top1').current()
    return dict(method=method, depth=depth, accuracy=float(accuracy), losses=hook.losses, norms=hook.norms)


def ratio(norms):
    """Give the gradient at the first block over that at the last; None where the last has none."""
    return norms[0] / norms[-1] if norms[-1] > 0 else None


def late_ratio(run):
    """Give the median ratio of the second half of the steps."""
    ratios = [ratio(norms) for norms in run['norms'][len(run['norms']) // 2 :]]
    found = [value for value in ratios if value is not None and math.isfinite(value)]
    return statistics.median(found) if found else None


def sentence(runs):
    """Say what the runs show, from the figures alone."""
    parts = []
    for method in dict.fromkeys(run['method'] for run in runs):
        own = sorted((run for run in runs if run['method'] == method), key=lambda run: run['depth'])
        shallow, deep = max(own, key=lambda run: run['accuracy']), own[-1]
        start, late = ratio(deep['norms'][0]), late_ratio(deep)
        parts.append(
            f'{METHODS[method]}: best at {shallow["depth"]} blocks ({shallow["accuracy"]:.1f} %), at {deep["depth"]} '
            f"blocks {deep['accuracy']:.1f} %, where the first block gets {write(start)} of the last one's gradient "
            f'at the start and {write(late)} in training'
        )
    return '. '.join(parts) + '.'


def write(value):
    return '–' if value is None else f'{value:.2g}'


def make_page(runs, about):
    methods = list(dict.fromkeys(run['method'] for run in runs))
    found = {(run['method'], run['depth']): run for run in runs}
    heads = [f'{METHODS[method]}: accuracy [%], gradient at start, in training' for method in methods]
    lines = ['# Depth', '', sentence(runs), '', f'| blocks | {" | ".join(heads)} |', f'| --- {"| --- " * len(heads)}|']
    for depth in sorted({run['depth'] for run in runs}):
        cells = []
        for method in methods:
            run = found.get((method, depth))
            cells.append(
                '–'
                if run is None
                else f'{run["accuracy"]:.2f}, {write(ratio(run["norms"][0]))}, {write(late_ratio(run))}'
            )
        lines.append(f'| {depth} | {" | ".join(cells)} |')
    machine = ', '.join(f'{name} {value}' for name, value in about['machine'].items())
    lines += ['', NOTES, f'{about["protocol"]} {about["date"]}, {machine}.', '', f'    {about["command"]}', '']
    return '\n'.join(lines)


def draw(runs, path):
    """Draw accuracy and gradient ratio by depth, and the gradient at every block of the deepest networks."""
    figure = Figure(figsize=(12, 3.6), layout='constrained')
    accuracy, gradient, blocks = figure.subplots(1, 3)
    for color, method in enumerate(dict.fromkeys(run['method'] for run in runs)):
        own = sorted((run for run in runs if run['method'] == method), key=lambda run: run['depth'])
        depths, style = [run['depth'] for run in own], dict(color=f'C{color}')
        accuracy.plot(depths, [run['accuracy'] for run in own], 'o-', label=METHODS[method], **style)
        deep = [run for run in own if run['depth'] > 1]
        for ratios, line, when in (
            ([ratio(run['norms'][0]) for run in deep], 'o-', 'at start'),
            ([late_ratio(run) for run in deep], 'x--', 'in training'),
        ):
            points = [(run['depth'], value) for run, value in zip(deep, ratios, strict=True) if value]
            if points:
                gradient.plot(*zip(*points, strict=True), line, label=f'{METHODS[method]}, {when}', **style)
        norms = own[-1]['norms']
        late = torch.tensor(norms[len(norms) // 2 :]).median(dim=0).values.tolist()
        numbers = range(1, own[-1]['depth'] + 1)
        blocks.plot(numbers, norms[0], 'o-', label=f'{METHODS[method]}, at start', **style)
        blocks.plot(numbers, late, 'x--', label=f'{METHODS[method]}, in training', **style)
    accuracy.set(xlabel='blocks', ylabel='test accuracy [%]', title='accuracy')
    gradient.set(xlabel='blocks', yscale='log', title="gradient, first block's poses / last's")
    blocks.set(xlabel='block', yscale='log', title='gradient norm at poses, deepest networks')
    for axis in (accuracy, gradient, blocks):
        axis.title.set_fontsize(10)
        axis.legend(fontsize=6.5)
        axis.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=100)


def main(argv=None):
    args = parse_args(argv)
    command = shlex.join(['python', 'tools/analyse_depth.py', *(sys.argv[1:] if argv is None else argv)])
    with user_errors():
        runs = []
        for depth in sorted(set(args.depths)):
            for method in args.methods:
                if method == 'em' and depth > args.em_depth:
                    continue
                run = train_once(args, method, depth)
                runs.append(run)
                print(f'{METHODS[method]}, {depth} blocks: accuracy {run["accuracy"]:.2f} %', flush=True)
        if not runs:
            raise UserError('--em-depth: nothing is left to train.')
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        about = dict(
            command=command,
            date=datetime.now().astimezone().isoformat(timespec='seconds'),
            machine=describe_machine(device, torch.get_num_threads()),
            protocol=f'{args.config}, {args.epochs} epochs, batches of {args.batch_size}, {args.types} capsule types, '
            f'{args.layers} ResP layers a block, seed {args.seed}.',
        )
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'depth.json').write_text(json.dumps(dict(about=about, runs=runs)), encoding='utf-8')
        page = make_page(runs, about)
        (args.out / 'depth.md').write_text(page, encoding='utf-8')
        draw(runs, args.out / 'depth.png')
        print(page)


if __name__ == '__main__':
    main()
