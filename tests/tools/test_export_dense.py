"""``tools/export.py`` on salient object detectors and point capsule autoencoders, with synthetic images and digits."""

import json
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.pointcloud.files import read_geometry
from rescaps_plugin.saliency.datasets import SyntheticSOD

onnxruntime = pytest.importorskip('onnxruntime', reason="needs pip install '.[export]'")
SUFFIXES = {'onnx': '.onnx', 'openvino': '.xml', 'torchscript': '.pt', 'exported': '.pt2'}
DETECTOR = {
    'model.backbone.init_cfg': None,
    'model.data_preprocessor.test_size': 64,
    'test_dataloader.dataset.num_images': 4,
}
CLOUDS = {'test_dataloader.dataset.num_points': 64}


def export(load_tool, config, options, *arguments):
    """Export a model with random weights and return it in its training form."""
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
    [
        ('icon/icon-rpr', 'onnx'),
        ('icon/icon-rpr', 'openvino'),
        ('icon/icon-rpr', 'torchscript'),
        ('tspoanet/tspoanet-rpr', 'exported'),
    ],
)
def test_maps_of_a_file_equal_pytorchs(load_tool, repository, here, capsys, name, form):
    config = str(repository / f'configs/{name}_efficientnet-lite0_synthetic.py')
    out = f'model{SUFFIXES[form]}'
    export(load_tool, config, DETECTOR, '--format', form, '--dynamic-batch', '--check', '--out', out)
    found = re.search(
        r'to PyTorch (\S+) on 4 images of the test set, salient or not agrees on', capsys.readouterr().out
    )
    assert float(found[1]) < 1e-4 and (here / out).is_file()


def test_metadata_of_the_file(load_tool, repository, here):
    config = str(repository / 'configs/icon/icon-rpr_efficientnet-lite0_synthetic.py')
    model = export(load_tool, config, DETECTOR, '--out', 'model.onnx')
    session = onnxruntime.InferenceSession('model.onnx')
    metadata = json.loads(session.get_modelmeta().custom_metadata_map['metadata.json'])
    assert metadata['task'] == 'saliency' and metadata['input_size'] == [3, 64, 64]
    assert metadata['resize'] == {'to': [64, 64], 'keep_ratio': False, 'filter': 'bilinear', 'antialias': True}
    assert [step.split()[0] for step in metadata['recipe']] == [
        'decode',
        'resize',
        'subtract',
        'run',
        'resize',
        'sigmoid',
    ]
    assert metadata['channel_order'] == 'RGB' and metadata['mean'] == metadata['std'] == [127.5] * 3
    images = torch.randn(1, 3, 64, 64)
    (saliency,) = session.run(['saliency'], {'images': images.numpy()})
    with torch.no_grad():
        (expected,) = model(images, mode='predict')
    assert saliency.shape == (1, 1, 64, 64)
    np.testing.assert_allclose(saliency[0], expected.seg_logits.data.numpy(), atol=1e-4)


@pytest.mark.parametrize('size', [(83, 120), (40, 31)])
def test_script_of_the_page_needs_only_the_file(load_tool, repository, here, size):
    """Its map equals that of tools/predict.py, for images larger and smaller than the input size."""
    config = str(repository / 'configs/icon/icon-rpr_efficientnet-lite0_synthetic.py')
    export(load_tool, config, DETECTOR, '--out', 'model.onnx')
    image = SyntheticSOD(split='test', num_images=1).get_data_info(0)['img']
    Image.fromarray(cv2.resize(image, size)[..., ::-1]).save('photo.png')
    page = (repository / 'configs/icon/README.md').read_text()
    (script,) = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'onnxruntime' in block)
    assert 'rescaps' not in script and 'torch' not in script and len(script.splitlines()) <= 18
    subprocess.run([sys.executable, '-c', script, 'model.onnx', 'photo.png', 'map.png'], check=True, cwd=here)
    changes = [f'{key}={value}' for key, value in DETECTOR.items()]
    arguments = [config, 'random.pth', 'photo.png', '--device', 'cpu', '--out-dir', 'out', '--cfg-options', *changes]
    load_tool('predict').main(arguments)
    ours, theirs = (np.asarray(Image.open(path)).astype(int) for path in ('map.png', 'out/maps/photo.png'))
    assert np.ptp(theirs) > 20 and abs(ours - theirs).max() <= 1


@pytest.mark.parametrize(
    ('routing', 'form'),
    [('rpr', 'onnx'), ('dynamic', 'onnx'), ('rpr', 'openvino'), ('rpr', 'torchscript'), ('rpr', 'exported')],
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


def test_script_of_the_page_reconstructs_a_cloud(load_tool, repository, here):
    """Its points equal those of tools/predict.py, far from the origin too."""
    config = str(repository / 'configs/pointcaps/pointcaps-rpr_digitclouds.py')
    changes = {**CLOUDS, 'model.num_points': 64}
    export(load_tool, config, changes, '--out', 'model.onnx')
    np.save('cloud.npy', np.random.RandomState(0).randn(64, 3) * (1, 2, 3) + (5e5, 0, -100))
    page = (repository / 'configs/pointcaps/README.md').read_text()
    (script,) = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'onnxruntime' in block)
    assert 'rescaps' not in script and 'torch' not in script and len(script.splitlines()) <= 18
    subprocess.run([sys.executable, '-c', script, 'model.onnx', 'cloud.npy', 'points.npy'], check=True, cwd=here)
    options = [f'{key}={value}' for key, value in changes.items()]
    arguments = [config, 'random.pth', 'cloud.npy', '--device', 'cpu', '--out-dir', 'out', '--cfg-options', *options]
    load_tool('predict').main(arguments)
    expected = read_geometry(here / 'out/0000_cloud.ply').vertices
    assert np.ptp(expected, axis=0).min() > 1e-3
    np.testing.assert_allclose(np.load('points.npy'), expected, rtol=0, atol=1e-4)
