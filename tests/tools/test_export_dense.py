"""``tools/export.py`` on salient object detectors and point capsule autoencoders: drawn objects and real digits."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from rescaps_plugin.engine.config import load_config

onnxruntime = pytest.importorskip('onnxruntime', reason="needs pip install 'rescaps[export]'")
SUFFIXES = {'onnx': '.onnx', 'torchscript': '.pt', 'exported': '.pt2'}
DETECTOR = {
    'model.backbone.init_cfg': None,
    'model.data_preprocessor.test_size': 64,
    'test_dataloader.dataset.num_images': 4,
}
CLOUDS = {'test_dataloader.dataset.num_points': 64}


def export(load_tool, config, options, *arguments):
    """Export a model with random weights, and give it in its training form."""
    cfg = load_config(config, options)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    torch.save(model.state_dict(), 'random.pth')
    changes = [f'{key}={value}' for key, value in options.items()]
    load_tool('export').main([config, 'random.pth', *arguments, '--cfg-options', *changes])
    return model


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'form'),
    [('icon/icon-rpr', 'onnx'), ('icon/icon-rpr', 'torchscript'), ('tspoanet/tspoanet-rpr', 'exported')],
)
def test_maps_of_a_file_equal_pytorchs(load_tool, repository, here, capsys, name, form):
    config = str(repository / f'configs/{name}_efficientnet-lite0_synthetic.py')
    out = f'model{SUFFIXES[form]}'
    export(load_tool, config, DETECTOR, '--format', form, '--dynamic-batch', '--check', '--out', out)
    found = re.search(
        r'to PyTorch (\S+) on 4 images of the test set, salient or not agrees on', capsys.readouterr().out
    )
    assert float(found[1]) < 1e-4 and (here / out).is_file()


def test_file_says_what_maps_are_of(load_tool, repository, here):
    config = str(repository / 'configs/icon/icon-rpr_efficientnet-lite0_synthetic.py')
    model = export(load_tool, config, DETECTOR, '--out', 'model.onnx')
    session = onnxruntime.InferenceSession('model.onnx')
    metadata = json.loads(session.get_modelmeta().custom_metadata_map['metadata.json'])
    assert metadata['task'] == 'saliency' and metadata['input_size'] == [3, 64, 64]
    assert metadata['channel_order'] == 'RGB' and metadata['mean'] == metadata['std'] == [127.5] * 3
    images = torch.randn(1, 3, 64, 64)
    (saliency,) = session.run(['saliency'], {'images': images.numpy()})
    with torch.no_grad():
        (expected,) = model(images, mode='predict')
    assert saliency.shape == (1, 1, 64, 64)
    np.testing.assert_allclose(saliency[0], expected.seg_logits.data.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ('routing', 'form'), [('rpr', 'onnx'), ('dynamic', 'onnx'), ('rpr', 'torchscript'), ('rpr', 'exported')]
)
def test_clouds_of_a_file_equal_pytorchs(load_tool, repository, here, capsys, routing, form):
    config = str(repository / f'configs/pointcaps/pointcaps-{routing}_digitclouds.py')
    out = f'model{SUFFIXES[form]}'
    export(load_tool, config, CLOUDS, '--format', form, '--dynamic-batch', '--check', '--out', out)
    found = re.search(r'to PyTorch (\S+) on 64 clouds of the test set, points are at most', capsys.readouterr().out)
    assert float(found[1]) < 1e-4 and (here / out).is_file()


def test_size_of_clouds_is_one_number(load_tool, repository, here):
    config = str(repository / 'configs/pointcaps/pointcaps-rpr_digitclouds.py')
    with pytest.raises(SystemExit, match='--input-size of clouds is N, not 4 4'):
        export(load_tool, config, CLOUDS, '--input-size', '4', '4')
