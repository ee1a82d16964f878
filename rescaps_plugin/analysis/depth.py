"""Networks of equal width and growing depth: their training, and their accuracy and gradients by depth.

The identity in ``p (1 + w)`` adds a path, and sets the scale of the poses, since ``w`` starts small. A ``p w`` with a
``w`` that is drawn large enough to keep the norm of the poses has only the second effect.

A *run* is the record of one training: ``method``, ``depth``, ``accuracy`` in per cent, and by iteration ``losses`` and
``norms``, the norm of the loss's gradient with respect to the poses of every block; also its ``settings``, ``date`` and
``machine``.
"""

import json
import math
import statistics
from argparse import Namespace
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mmengine.config import Config
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rescaps_plugin.analysis.experiments import describe_config, digest
from rescaps_plugin.analysis.gradients import PoseGradientHook
from rescaps_plugin.analysis.machine import describe_machine
from rescaps_plugin.cli.config import inner_datasets, load_config, require
from rescaps_plugin.cli.outputs import write_whole
from rescaps_plugin.training.runner import build_runner

POSE_SIZE = 4


class Method(NamedTuple):
    """A kind of network: its name in tables, arguments of ResCaps, and whether it has batch normalisation."""

    label: str
    network: dict[str, Any] | None = None
    norm: bool = True


# A matrix with entries of variance 1 / POSE_SIZE keeps the expected squared norm of a pose.
_SCALED = dict(residual='none', transform_std=POSE_SIZE**-0.5)
METHODS = {
    'rpr': Method('p + p w', dict(residual='identity')),
    'none': Method('p w', dict(residual='none')),
    'rpr-no-norm': Method('p + p w, no batch norm', dict(residual='identity'), norm=False),
    'none-no-norm': Method('p w, no batch norm', dict(residual='none'), norm=False),
    'scaled-no-norm': Method('p w at unit scale, no batch norm', _SCALED, norm=False),
    'em': Method('EM routing'),
}
# Arguments that change the result of a training, as the contents of the config do.
SETTINGS = ('types', 'layers', 'epochs', 'batch_size', 'indices', 'seed')

NOTES = """\
Gradient: the norm of the loss's gradient with respect to the poses of the first block, divided by that of the last
block; 1 means that it arrives undiminished. At start: the first step. In training: the median of the second half of the
steps.
"""


def train_once(args: Namespace, method: str, depth: int) -> dict[str, Any]:
    """Train a network, unless a run with the same settings exists.

    Args:
        args: Arguments of ``tools/analyse_depth.py``.
        method: One of :data:`METHODS`.
        depth: Number of blocks.

    Returns:
        The run.
    """
    cfg = load_config(args.config)
    settings = {name: value for name, value in vars(args).items() if name in SETTINGS}
    settings['config'] = digest(describe_config(cfg))
    record = args.out_dir / f'{method}-{depth}.json'
    if record.is_file():
        run = json.loads(record.read_text(encoding='utf-8'))
        if run['settings'] == settings:
            return run
    run = dict(
        train(cfg, args, method, depth),
        settings=settings,
        date=datetime.now().astimezone().isoformat(timespec='seconds'),
        machine=describe_machine('cuda' if torch.cuda.is_available() else 'cpu', torch.get_num_threads()),
    )
    write_whole(record, json.dumps(run).encode())
    return run


def train(cfg: Config, args: Namespace, method: str, depth: int) -> dict[str, Any]:
    """Train a network with the config, which is modified; see :func:`train_once`."""
    require(cfg, 'model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'data_preprocessor')
    if args.indices:
        for dataset in inner_datasets(cfg.train_dataloader.dataset):
            dataset.indices = args.indices
    cfg.train_dataloader.batch_size = args.batch_size
    whole = cfg.train_cfg.max_epochs
    cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = args.epochs
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in [schedulers] if isinstance(schedulers, dict) else schedulers:
        # A scheduler without an end follows the length of the training.
        scheduler.update({end: scheduler[end] * args.epochs / whole for end in ('begin', 'end') if end in scheduler})
    cfg.model, names = make_model(cfg, method, depth, args.types, args.layers)
    cfg.work_dir = str(args.out_dir / f'{method}-{depth}')
    cfg.log_level = 'WARNING'
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=args.seed)
    cfg.default_hooks = dict(cfg.get('default_hooks') or {}, checkpoint=None)
    hook = PoseGradientHook({name: POSE_SIZE**2 * args.types for name in names})
    runner = build_runner(cfg, hook)
    if not METHODS[method].norm:
        remove_batch_norm(runner.model)
    runner.train()
    accuracy = runner.message_hub.get_scalar('val/accuracy/top1').current()
    return dict(method=method, depth=depth, accuracy=float(accuracy), losses=hook.losses, norms=hook.norms)


def make_model(cfg: Config, method: str, depth: int, types: int, layers: int) -> tuple[dict[str, Any], list[str]]:
    """Make the config of a model.

    Args:
        cfg: Config of the data.
        method: One of :data:`METHODS`.
        depth: Number of blocks.
        types: Capsule types of every block.
        layers: ResP layers of a block.

    Returns:
        The config, and the name of every block in the model.
    """
    image = _load_image_shape(cfg.train_dataloader.dataset)
    strides = (2,) + (1,) * (depth - 1)
    network = dict(in_chans=image[0], img_size=image[1:], num_classes=cfg.data_preprocessor.num_classes)
    if METHODS[method].network is None:
        # The stem has a stride of 2, as the first block of ResCaps.
        network.update(
            model_name='em_caps_tiny',
            capsule_types=(types,) * (depth + 1),
            strides=(1,) * depth,
            padding=1,
        )
        names = [f'model.layers.{index}' for index in range(depth)]
    else:
        network.update(
            model_name='rescaps_tiny',
            capsule_types=(types,) * depth,
            strides=strides,
            num_layers=layers,
            **METHODS[method].network,
        )
        names = [f'model.blocks.{index}' for index in range(depth)]
    return dict(type='TimmCapsuleClassifier', loss=dict(type='SpreadLoss'), **network), names


def remove_batch_norm(model: nn.Module) -> None:
    """Replace every batch normalisation by the identity, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm):
                setattr(parent, name, nn.Identity())


def _load_image_shape(dataset: dict) -> tuple[int, ...]:
    """Return channels, height and width of an image of a data set."""
    from mmpretrain.registry import DATASETS

    sample = DATASETS.build(dict(inner_datasets(dataset)[0], indices=1))[0]
    return tuple(sample['inputs'].shape)


def gradient_ratio(norms: Sequence[float]) -> float | None:
    """Return the gradient norm at the first block over that at the last; None where the last is 0."""
    return norms[0] / norms[-1] if norms[-1] > 0 else None


def late_gradient_ratio(run: dict[str, Any]) -> float | None:
    """Return the median of :func:`gradient_ratio` over the second half of the steps of a run."""
    ratios = [gradient_ratio(norms) for norms in run['norms'][len(run['norms']) // 2 :]]
    found = [value for value in ratios if value is not None and math.isfinite(value)]
    return statistics.median(found) if found else None


def _summarise(runs: Sequence[dict[str, Any]]) -> str:
    """Summarise the runs in a few sentences."""
    parts = []
    for method in dict.fromkeys(run['method'] for run in runs):
        own = sorted((run for run in runs if run['method'] == method), key=lambda run: run['depth'])
        shallow, deep = max(own, key=lambda run: run['accuracy']), own[-1]
        start, late = gradient_ratio(deep['norms'][0]), late_gradient_ratio(deep)
        parts.append(
            f'With {METHODS[method].label}: best accuracy {shallow["accuracy"]:.1f} %, with {shallow["depth"]} blocks; '
            f'{deep["accuracy"]:.1f} % with {deep["depth"]}, where the first block gets {_write(start)} of the last '
            f"one's gradient at the start and {_write(late)} in training"
        )
    return '. '.join(parts) + '.'


def _write(value: float | None) -> str:
    return '–' if value is None else f'{value:.2g}'


def make_page(runs: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """Write runs as Markdown.

    Args:
        runs: The runs.
        about: ``command``, ``date`` and ``protocol``.

    Returns:
        The page.
    """
    methods = list(dict.fromkeys(run['method'] for run in runs))
    found = {(run['method'], run['depth']): run for run in runs}
    heads = [f'{METHODS[method].label}: accuracy [%], gradient at start, in training' for method in methods]
    lines = [
        '# Depth',
        '',
        _summarise(runs),
        '',
        f'| blocks | {" | ".join(heads)} |',
        f'| --- {"| --- " * len(heads)}|',
    ]
    for depth in sorted({run['depth'] for run in runs}):
        cells = []
        for method in methods:
            run = found.get((method, depth))
            if run is None:
                cells.append('–')
            else:
                start, late = gradient_ratio(run['norms'][0]), late_gradient_ratio(run)
                cells.append(f'{run["accuracy"]:.2f}, {_write(start)}, {_write(late)}')
        lines.append(f'| {depth} | {" | ".join(cells)} |')
    machines = dict.fromkeys(', '.join(f'{name} {value}' for name, value in run['machine'].items()) for run in runs)
    lines += ['', NOTES, f'{about["protocol"]} {about["date"]}, {"; ".join(machines)}.', '']
    lines += [f'    {about["command"]}', '']
    return '\n'.join(lines)


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw accuracy and gradient ratio by depth, and the gradient at every block of the deepest networks."""
    figure = Figure(figsize=(12, 4), layout='constrained')
    accuracy, gradient, blocks = figure.subplots(1, 3)
    for color, method in enumerate(dict.fromkeys(run['method'] for run in runs)):
        own = sorted((run for run in runs if run['method'] == method), key=lambda run: run['depth'])
        values = [run['accuracy'] for run in own]
        accuracy.plot([run['depth'] for run in own], values, 'o-', label=METHODS[method].label, color=f'C{color}')
        deep = [run for run in own if run['depth'] > 1]
        deep_depths, norms = [run['depth'] for run in deep], own[-1]['norms']
        _plot(gradient, deep_depths, [gradient_ratio(run['norms'][0]) for run in deep], 'o-', color)
        _plot(gradient, deep_depths, [late_gradient_ratio(run) for run in deep], 'x--', color)
        numbers = range(1, own[-1]['depth'] + 1)
        _plot(blocks, numbers, norms[0], 'o-', color)
        _plot(blocks, numbers, torch.tensor(norms[len(norms) // 2 :]).median(dim=0).values.tolist(), 'x--', color)
    accuracy.set(xlabel='blocks', ylabel='test accuracy [%]', title='accuracy')
    gradient.set(xlabel='blocks', yscale='log', title="gradient, first block's poses / last's")
    blocks.set(xlabel='block', yscale='log', title='gradient norm at poses, deepest networks')
    for axis in (accuracy, gradient, blocks):
        axis.title.set_fontsize(10)
        axis.spines[['top', 'right']].set_visible(False)
    when = [Line2D([], [], color='grey', linestyle=line, marker=mark) for line, mark in (('-', 'o'), ('--', 'x'))]
    gradient.legend(when, ['at start', 'in training'], fontsize=8)
    figure.legend(loc='outside lower center', ncols=len(accuracy.lines), fontsize=8)
    figure.savefig(path, dpi=100)


def _plot(axis: Axes, places: Sequence[int], values: Sequence[float | None], line: str, color: int) -> None:
    """Draw the values that a logarithmic axis can show."""
    points = [(place, value) for place, value in zip(places, values, strict=True) if value]
    if points:
        axis.plot(*zip(*points, strict=True), line, color=f'C{color}')
