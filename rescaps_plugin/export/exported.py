"""Exported files in place of a config and a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import TRANSFORMS
from torch import nn

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.pictures import leaves_bgr
from rescaps_plugin.export.formats import choose_runtime, find_runtime, is_exported

# Scope of the test pipeline, and the fields of the metadata beside those of all files, by task.
_IMAGES = ('channel_order', 'mean', 'std')
_TASKS = {
    'classification': ('mmpretrain', (*_IMAGES, 'classes')),
    'saliency': ('mmseg', (*_IMAGES, 'align_corners')),
    'reconstruction': ('mmengine', ()),
}


def read_config(config: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config, or the metadata of an exported file as a config.

    Args:
        config: Path of the config, ``package::path``, or path of the file.
        options: Dotted keys and values that override the config's.

    Returns:
        The config. That of a file has ``default_scope``, the test pipeline, and as ``model`` the metadata.

    Raises:
        ConfigError: As :func:`~rescaps_plugin.cli.config.load_config`.
        UserError: The file is missing or damaged, its format's runtimes are not installed, it was not exported by this
            project, or there are options.
    """
    if not is_exported(config):
        return load_config(config, options)
    if options:
        raise UserError(f'--cfg-options are of configs; {config} is an exported file.')
    path = Path(config)
    metadata = _read_metadata(path)
    try:
        scope, fields = _TASKS[metadata['task']]
        model = {name: metadata[name] for name in ('input_size', 'dynamic_batch', 'test_pipeline', *fields)}
        model |= dict(type='ExportedModel', file=config, input_size=tuple(model['input_size']))
        pipeline = model['test_pipeline']
        if 'channel_order' in fields:
            order = model['channel_order']
            to_rgb = order is not None and leaves_bgr(pipeline, False) == (order == 'RGB')
            model['data_preprocessor'] = dict(mean=model['mean'], std=model['std'], to_rgb=to_rgb)
            model['resizes'] = 'resize' in metadata
        return Config(
            dict(
                default_scope=scope,
                model=model,
                test_dataloader=dict(dataset=dict(pipeline=pipeline)),
            ),
            cfg_text=json.dumps(metadata),  # or the file would be read as text
            filename=config,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        fault = f'{type(error).__name__}: {error}'
        raise UserError(f'{path}: its metadata are not those of this version ({fault}); export it again.') from error


def _read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of an exported file."""
    if not path.is_file():
        raise UserError(f'{path} {"is a folder, not a file" if path.is_dir() else "does not exist"}.')
    weights = path.with_suffix('.bin')
    if path.suffix.lower() == '.xml' and not weights.is_file():
        raise UserError(f'{path}: the file of its weights, {weights.name}, is missing beside it.')
    name = choose_runtime(path)
    runtime = find_runtime(name, 'cpu', exports=False)
    try:
        text = runtime.read_metadata(path)
    except Exception as error:  # damage can fail a reader in any way
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f'{path} cannot be read by {runtime.package}: {reason}') from error
    try:
        metadata = json.loads(text or '')
    except ValueError:
        metadata = None
    if isinstance(metadata, dict) and 'rescaps' in metadata:
        return metadata
    raise UserError(f'{path} does not say how inputs are prepared: it must be a file written by rescaps export.')


class ExportedModel(nn.Module):
    """What predictors read of a model other than its network, which is in an exported file.

    Args:
        cfg: ``model`` of a config of :func:`read_config`, with its test pipeline.

    Raises:
        UserError: The pipeline has a transform that is not registered. A file is data: the name of a module would be
            imported.
    """

    def __init__(self, cfg: ConfigDict) -> None:
        super().__init__()
        self.file = Path(cfg.file)
        self.input_size = tuple(cfg.input_size)
        self.dynamic_batch = cfg.dynamic_batch
        known = {name for registry in (TRANSFORMS, *TRANSFORMS.children.values()) for name in registry.module_dict}
        for name in _find_types(cfg.test_pipeline):
            if not isinstance(name, str) or name not in known:
                raise UserError(f'{self.file}: its test_pipeline has a {name!r}, not registered here as a transform.')


def _find_types(value: Any) -> Iterator[Any]:
    """Iterate over the types, and the scopes of types, in the configs of transforms."""
    if isinstance(value, dict):
        yield from (value[key] for key in ('type', '_scope_') if key in value)
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str):
        for each in value:
            yield from _find_types(each)
