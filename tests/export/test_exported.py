"""Exported files in place of a config and a checkpoint: what their metadata say, and files that are of no use."""

import json
import re

import pytest
import torch
from mmengine.config import ConfigDict
from torch import nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export import formats
from rescaps_plugin.export.exported import ExportedModel, read_config
from rescaps_plugin.export.formats import FORMATS, Export, choose_runtime

for package in ('onnx', 'onnxruntime', 'openvino'):
    pytest.importorskip(package, reason="needs pip install '.[openvino]'")

PIPELINE = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=[8, 8]), dict(type='PackInputs')]
METADATA = {
    'task': 'classification',
    'input_size': [3, 8, 8],
    'dynamic_batch': True,
    'channel_order': 'RGB',
    'mean': [1.0] * 3,
    'std': [2.0] * 3,
    'classes': ['a', 'b'],
    'test_pipeline': PIPELINE,
    'rescaps': '0.1.0',
}


@pytest.fixture
def write(tmp_path):
    """Write a file with metadata and return its path."""

    def call(form='onnx', metadata=METADATA):
        network = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten()).requires_grad_(False).eval()
        path = tmp_path / f'model{FORMATS[form].suffix}'
        FORMATS[form].save(Export(network, torch.randn(1, 3, 8, 8), 'images', ('scores',), metadata), path)
        return path

    return call


@pytest.mark.parametrize('form', ['onnx', 'openvino'])
def test_metadata_are_a_config(write, form):
    path = write(form)
    cfg = read_config(str(path))
    assert cfg.default_scope == 'mmpretrain' and cfg.filename == str(path)
    assert cfg.test_dataloader.dataset.pipeline == PIPELINE
    assert cfg.model.data_preprocessor == dict(mean=[1.0] * 3, std=[2.0] * 3, to_rgb=True)
    assert cfg.model.classes == ['a', 'b'] and cfg.model.input_size == (3, 8, 8)


def test_runtimes_of_files(tmp_path, monkeypatch):
    onnx, openvino = tmp_path / 'a.onnx', tmp_path / 'a.xml'
    assert (choose_runtime(onnx), choose_runtime(openvino)) == ('onnx', 'openvino')
    assert choose_runtime(onnx, 'openvino') == 'openvino'
    for path, name, message in [
        (openvino, 'onnx', "'onnx' does not run .*a.xml; 'openvino' can"),
        (onnx, 'torch', "'torch' does not run .*a.onnx; 'onnx' and 'openvino' can"),
    ]:
        with pytest.raises(UserError, match=message):
            choose_runtime(path, name)
    monkeypatch.setattr(formats, 'find_spec', lambda name: None if name == 'onnxruntime' else object())
    assert choose_runtime(onnx) == 'openvino'


def test_missing_runtime_is_named(write, monkeypatch):
    """ONNX files need a runtime, and not the packages that write them."""
    path = write()
    monkeypatch.setattr(formats, 'find_spec', lambda name: object() if name == 'onnxruntime' else None)
    assert read_config(str(path))
    monkeypatch.setattr(formats, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"runtime 'onnx' needs onnxruntime: pip install '\.\[export\]'"):
        read_config(str(path))


@pytest.mark.parametrize('form', ['onnx', 'openvino'])
@pytest.mark.parametrize('part', [0.0, 0.5, 0.95])
def test_truncated_files(write, form, part):
    path = write(form)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    package = 'onnxruntime' if form == 'onnx' else 'openvino'
    with pytest.raises(UserError, match=rf'{re.escape(str(path))} cannot be read by {package}: \S') as fault:
        read_config(str(path))
    assert '\n' not in str(fault.value)


def test_missing_and_truncated_weights(write):
    path = write('openvino')
    weights = path.with_suffix('.bin')
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match='model.xml cannot be read by openvino: '):
        read_config(str(path))
    weights.unlink()
    with pytest.raises(UserError, match='model.xml: the file of its weights, model.bin, is missing beside it'):
        read_config(str(path))
    path.unlink()
    with pytest.raises(UserError, match='model.xml does not exist'):
        read_config(str(path))
    path.mkdir()
    with pytest.raises(UserError, match='model.xml is a folder, not a file'):
        read_config(str(path))


@pytest.mark.parametrize('form', ['onnx', 'openvino'])
@pytest.mark.parametrize('metadata', [None, {}, {'author': 'someone'}, 'text', ['rescaps']])
def test_files_of_others(write, monkeypatch, form, metadata):
    text = 'metadata.json' if metadata is not None else 'other'
    monkeypatch.setattr(formats, 'METADATA', text)
    path = write(form, metadata or {})
    monkeypatch.undo()
    with pytest.raises(UserError, match='does not say how inputs are prepared: it must be a file .* rescaps export'):
        read_config(str(path))


@pytest.mark.parametrize(
    ('changes', 'fault'),
    [
        ({'task': 'detection'}, "KeyError: 'detection'"),
        ({'input_size': 8}, 'TypeError: '),
        ({'std': ...}, "KeyError: 'std'"),
        ({'dynamic_batch': ...}, "KeyError: 'dynamic_batch'"),
        ({'classes': ...}, "KeyError: 'classes'"),
        ({'task': 'saliency'}, "KeyError: 'align_corners'"),
        ({'test_pipeline': ['Resize']}, 'TypeError: |AttributeError: '),
    ],
)
def test_metadata_of_another_version(write, changes, fault):
    metadata = {key: value for key, value in {**METADATA, **changes}.items() if value is not ...}
    with pytest.raises(UserError, match=rf'its metadata are not those of this version \({fault}'):
        read_config(str(write(metadata=metadata)))


def test_options_are_of_configs(write):
    with pytest.raises(UserError, match='--cfg-options are of configs; .*model.onnx is an exported file'):
        read_config(str(write()), {'model.type': 'A'})


@pytest.mark.parametrize(
    ('step', 'name'),
    [
        (dict(type='os.system', command='true'), 'os.system'),
        (dict(type='Resize', inner=[dict(type='antigravity')]), 'antigravity'),
        (dict(type='Resize', _scope_='os'), 'os'),
        (dict(type=['Resize']), ['Resize']),
    ],
)
def test_files_are_data(step, name):
    """The name of a module is not a transform: MMEngine would import it and call what it names."""
    pytest.importorskip('mmpretrain.datasets')
    cfg = json.loads(json.dumps(dict(METADATA, file='a.onnx', test_pipeline=[*PIPELINE, step])))
    with pytest.raises(UserError, match=re.escape(f'a.onnx: its test_pipeline has a {name!r}, not registered here')):
        ExportedModel(ConfigDict(cfg))
    cfg['test_pipeline'].pop()
    assert ExportedModel(ConfigDict(cfg)).input_size == (3, 8, 8)
