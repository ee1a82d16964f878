"""Implementation of ``tools/publish.py``: add a trained model to the zoo."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from argparse import Namespace
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import CheckpointLoader
from safetensors.torch import save
from torch import Tensor

from rescaps_plugin import __version__
from rescaps_plugin.cli.config import load_config, require
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.main import ROOT
from rescaps_plugin.cli.outputs import replacing
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.models.published import ZOO, PublishedModel, pack_weights, read_index, unpack_weights
from rescaps_plugin.training.checkpoint_loader import MatchCheckpointHook, open_safely
from rescaps_plugin.training.runner import build_runner
from rescaps_plugin.zoo.cards import write_card, write_table
from rescaps_plugin.zoo.tasks import TASKS, describe_metric

# Most samples of the subset; at most a fifth of the test set.
SUBSET = 100
DTYPES = ('float16', 'int8', 'float32')


def run(args: Namespace) -> None:
    """Test a trained model; add its weights, entry in the index, card, and rows in the metafile and README.md.

    Args:
        args: Arguments of ``tools/publish.py``.

    Raises:
        UserError: A name is not allowed or taken, the config is not in a family's folder or of no task of the zoo, the
            test does not give the stated metric, the weights in fewer bits are worse than the metric's noise, or timm's
            network is another.
    """
    if not re.fullmatch(r'[a-z0-9][\w.+-]*', args.name):
        raise UserError(f'NAME must be of letters, digits and . _ + -, got {args.name!r}.')
    others = [each.name for each in read_index() if each.timm.get('name') == args.timm and each.name != args.name]
    if args.timm and others:
        raise UserError(f'--timm {args.timm}: that is {others[0]} already.')
    cfg = load_config(args.config)
    require(cfg, 'model', 'test_dataloader', 'test_cfg', 'test_evaluator', 'default_scope')
    tasks = {task.scope: name for name, task in TASKS.items()}
    if cfg.default_scope not in tasks:
        raise UserError(f'config {args.config} has default_scope {cfg.default_scope!r}; it may be {", ".join(tasks)}.')
    init_default_scope(cfg.default_scope)
    metafile = _find_metafile(Path(cfg.filename))
    with open_safely(args.checkpoint, trust=args.trust_checkpoint):
        checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu', logger='silent')
    meta = checkpoint.get('meta', {})
    trained = {name: value.float() if value.is_floating_point() else value for name, value in _weights(checkpoint)}
    try:
        packed = pack_weights(trained, args.dtype)
    except ValueError as error:
        raise UserError(f'--dtype float16: {error}.') from error

    timm_entries = _describe_timm(args.timm, cfg, trained) if args.timm else {}

    samples = len(DATASETS.build(_test_set(cfg)))
    count = min(SUBSET, samples // 5)
    metric, stated = args.metric
    stored = dict(state_dict=unpack_weights(packed), meta=meta)
    with TemporaryDirectory() as folder:  # one for all tests: MMSegmentation's visualizer keeps the first
        metrics = {
            'trained': _test(cfg, dict(state_dict=trained, meta=meta), folder),
            'stored': _test(cfg, stored, folder),
        }
        _check_metric(metric, stated, metrics, samples)
        subset = deepcopy(cfg)
        _test_set(subset).indices = evenly_spaced(samples, count)
        subset_metrics = _test(subset, stored, folder)

    # One entry: safetensors writes several in random order, and equal weights should make equal files.
    contents = save(packed, metadata=dict(format='pt'))
    model = PublishedModel(
        name=args.name,
        task=tasks[cfg.default_scope],
        config=f'configs/{metafile.parent.name}/{Path(cfg.filename).name}',
        sha256=hashlib.sha256(contents).hexdigest(),
        bytes=len(contents),
        dtype=args.dtype,
        parameters=_count_parameters(trained),
        data=args.data,
        data_license=args.data_license,
        train=args.train,
        test=args.test,
        metric=metric,
        metrics=metrics['stored'],
        metrics_trained=metrics['trained'],
        samples=samples,
        subset=dict(samples=count, metrics=subset_metrics),
        command=args.command,
        seed=args.seed,
        commit=args.commit or _commit(),
        time=args.time,
        machine=args.machine,
        version=__version__,
        tags=tuple(args.tag),
        limits=tuple(args.limit),
        labels=tuple(meta.get('dataset_meta', {}).get('classes') or ()) if cfg.default_scope == 'mmpretrain' else (),
        timm=timm_entries,
    )
    with replacing(model.path) as draft:
        draft.write_bytes(contents)
    write_index([*(each for each in read_index() if each.name != model.name), model])
    write_card(model)
    add_to_metafile(model, metafile)
    write_table(ROOT / 'README.md')
    print(f'published {model.name}: {metric} {metrics["stored"][metric]:g}, {model.bytes / 1e6:.2f} MB')


def _weights(checkpoint: Mapping[str, Any]) -> list[tuple[str, Tensor]]:
    state = checkpoint.get('state_dict', checkpoint)
    return [(name, value) for name, value in state.items() if not name.startswith('data_preprocessor.')]


def _test_set(cfg: Config) -> Any:
    return cfg.test_dataloader.dataset


def _test(cfg: Config, checkpoint: dict[str, Any], folder: str) -> dict[str, float]:
    """Return the metrics of a checkpoint on the test set, as ``tools/test.py`` computes them."""
    cfg = deepcopy(cfg)
    cfg.work_dir, cfg.load_from, cfg.launcher, cfg.log_level = folder, f'{folder}/weights.pth', 'none', 'ERROR'
    torch.save(checkpoint, cfg.load_from)
    with open_safely(cfg.load_from):
        results = build_runner(cfg, MatchCheckpointHook()).test()
    return {name: round(float(value), 6) for name, value in results.items()}


def _check_metric(metric: str, stated: str, metrics: Mapping[str, Mapping[str, float]], samples: int) -> None:
    """Check that the trained weights give the stated metric, and the stored ones the same within its noise."""
    trained, stored = metrics['trained'], metrics['stored']
    if metric not in trained:
        raise UserError(f'--metric {metric}={stated}: the test gives {", ".join(trained)}.')
    digits = len(stated.partition('.')[2])
    if f'{trained[metric]:.{digits}f}' != stated:
        raise UserError(f'--metric {metric}={stated}: the test of the checkpoint gives {trained[metric]}.')
    # One standard error of an accuracy in per cent; half a per cent of any other value.
    share = trained[metric] / 100
    accuracy = metric.startswith('accuracy')
    noise = 100 * (share * (1 - share) / samples) ** 0.5 if accuracy else 0.005 * abs(trained[metric])
    if abs(stored[metric] - trained[metric]) > noise:
        raise UserError(
            f'--dtype: the stored weights give {metric} {stored[metric]}, the trained ones {trained[metric]}, which is '
            f'more than the noise of {noise:.3g}.'
        )


def _commit() -> str:
    return subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=ROOT, capture_output=True, text=True).stdout.strip()[:12]


def _find_metafile(config: Path) -> Path:
    metafile = config.with_name('metafile.yml')
    if ROOT.resolve() not in metafile.resolve().parents or not metafile.is_file():
        raise UserError(f'config {config} is not in a folder of {ROOT}/configs with a metafile.yml.')
    return metafile


def _count_parameters(state_dict: Mapping[str, Tensor]) -> int:
    buffers = ('running_mean', 'running_var', 'num_batches_tracked')
    return sum(value.numel() for name, value in state_dict.items() if not name.endswith(buffers))


def _describe_timm(name: str, cfg: Config, state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the entries of the ``pretrained_cfg`` of the network, after a check that it loads the weights."""
    network, _, tag = name.partition('.')
    if not tag or not timm.is_model(network):
        raise UserError(f'--timm {name}: must be the name of a network of timm and a tag, such as rescaps_small.mnist.')
    inputs = DATASETS.build(_test_set(cfg))[0]['inputs']
    options = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    channels, *size = inputs.shape
    fixed = dict(img_size=tuple(size)) if timm.get_pretrained_cfg_value(network, 'fixed_input_size') else {}
    model = timm.create_model(network, in_chans=channels, num_classes=options.num_classes, **fixed).eval()
    try:
        model.load_state_dict(state_dict)
    except (RuntimeError, ValueError) as error:
        raise UserError(f'--timm {name}: the network is not the one of the config: {error}') from error
    with torch.no_grad():
        features = model.forward_features(torch.zeros(1, *inputs.shape))
    return dict(
        name=name,
        input_size=(channels, *size),
        mean=tuple(round(value / 255, 4) for value in options.get('mean') or [0] * channels),
        std=tuple(round(value / 255, 4) for value in options.get('std') or [255] * channels),
        num_classes=options.num_classes,
        pool_size=tuple(features.shape[-2:]),
    )


def write_index(models: list[PublishedModel]) -> None:
    """Write the index, sorted by task and name."""
    order = list(TASKS)
    entries = [asdict(each) for each in sorted(models, key=lambda each: (order.index(each.task), each.name))]
    with replacing(ZOO / 'index.json') as draft:
        draft.write_text(json.dumps(entries, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    read_index.cache_clear()


class _Dumper(yaml.SafeDumper):
    """Indent lists, as in the metafiles."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def add_to_metafile(model: PublishedModel, path: Path) -> None:
    """Write weights and results of a published model into the metafile of its family."""
    contents = yaml.safe_load(path.read_text(encoding='utf-8'))
    (entry,) = [each for each in contents['Models'] if each['Config'] == model.config] or [{}]
    if not entry:
        contents['Models'].append(entry)
        entry |= {'Name': model.name, 'In Collection': contents['Collections'][0]['Name'], 'Config': model.config}
    title, value = describe_metric(model.metric, model.metrics[model.metric])
    entry |= {
        'Name': model.name,
        'Weights': model.arguments[1],
        'Results': [
            {
                'Dataset': model.data,
                'Task': TASKS[model.task].title,
                'Metrics': {title: float(value)},
            }
        ],
    }
    with replacing(path) as draft:
        draft.write_text(format_metafile(contents), encoding='utf-8')


def format_metafile(contents: Any) -> str:
    """Format a metafile as YAML."""
    text = yaml.dump(contents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return text.replace('\nModels:', '\n\nModels:')
