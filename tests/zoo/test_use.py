"""Published models in use: prediction by name, fine-tuning in timm, export."""

import numpy as np
import pytest
import timm
import torch

from rescaps_plugin import zoo
from rescaps_plugin.data.digits import load_digits
from rescaps_plugin.models.published import PublishedWeightsError
from tests.zoo.published import MODELS, open_published


def digits(split):
    """Images uint8 ``[n, 8, 8]`` and labels of a split."""
    images, labels = load_digits(split, 'classification')
    return np.uint8(np.rint(images * 255 / 16)), labels


@pytest.mark.usefixtures('offline')
@pytest.mark.parametrize('name', ['rescaps-tiny_digits', 'rescaps_tiny.digits'])
def test_digits_by_name(name):
    images, labels = digits('test')
    predictor = zoo.load(name, batch_size=64)
    results = predictor.predict(list(images))
    assert np.mean([result.labels[0] == label for result, label in zip(results, labels, strict=True)]) > 0.98
    assert all(result.classes[0] == str(result.labels[0]) for result in results)
    alone = predictor.predict(images[0])
    assert alone.labels == results[0].labels and alone.scores == pytest.approx(results[0].scores, abs=1e-5)


@pytest.mark.usefixtures('offline')
def test_clouds_by_name():
    cloud = np.random.default_rng(0).normal(size=(600, 3)) * [1, 2, 0.2] + [400_000, 5_000_000, 30]
    result = zoo.load('pointcaps-rpr_digitclouds').predict(cloud)
    assert result.points.shape == (512, 3) and result.latent.shape == (32, 16)
    assert np.abs(result.points.mean(axis=0) - cloud.mean(axis=0)).max() < 1


@pytest.mark.usefixtures('offline')
def test_exported_files_load_by_path(tmp_path, load_tool):
    pytest.importorskip('onnxruntime')
    images, _ = digits('test')
    path = tmp_path / 'digits.onnx'
    load_tool('export').main(['rescaps-tiny_digits', '--out', str(path), '--dynamic-batch', '--input-size', '16', '16'])
    predictor = zoo.load(path)
    assert predictor.runtime == 'onnx'
    results, expected = predictor.predict(list(images[:20])), zoo.load('rescaps-tiny_digits').predict(list(images[:20]))
    for result, other in zip(results, expected, strict=True):
        assert result.classes == other.classes and result.scores == pytest.approx(other.scores, abs=1e-5)


@pytest.mark.usefixtures('offline')
@pytest.mark.parametrize(('form', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_quantised_files_load_by_path(tmp_path, load_tool, form, suffix):
    pytest.importorskip(form)
    images, labels = digits('test')
    arguments = ['--format', form, '--int8', '--calibration-images', '64', '--input-size', '16', '16']
    load_tool('export').main(['rescaps-tiny_digits', '--out', str(tmp_path / f'digits{suffix}'), *arguments])
    results = zoo.load(tmp_path / f'digits_int8{suffix}').predict(list(images[:50]))
    assert sum(result.labels[0] == label for result, label in zip(results, labels, strict=False)) >= 48


def test_unknown_names():
    with pytest.raises(PublishedWeightsError, match='Close: rescaps-tiny_digits'):
        zoo.load('rescaps-tiny-digits')


def test_fine_tuning_in_timm():
    """One epoch to tell even from odd digits, with a new head."""
    torch.manual_seed(0)
    model = timm.create_model('rescaps_tiny.digits', pretrained=True, num_classes=2, output='logit')
    mean, std = (model.pretrained_cfg[name][0] for name in ('mean', 'std'))

    def prepare(images, labels):
        x = torch.nn.functional.interpolate(torch.from_numpy(images)[:, None] / 255, size=16, mode='bicubic')
        return (x - mean) / std, torch.from_numpy(labels % 2)

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for x, y in zip(*(each.split(32) for each in prepare(*digits('train'))), strict=True):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = prepare(*digits('test'))
    with torch.no_grad():
        accuracy = (model.eval()(x).argmax(dim=1) == y).float().mean()
    assert accuracy > 0.9


@pytest.mark.parametrize('model', MODELS)
def test_exports_agree(model, load_tool, tmp_path, monkeypatch, repository, capsys):
    monkeypatch.chdir(repository)
    open_published(model, tmp_path)
    load_tool('export').main([model.name, '--out', str(tmp_path / 'model.onnx'), '--dynamic-batch', '--check'])
    assert 'largest difference to PyTorch' in capsys.readouterr().out and (tmp_path / 'model.onnx').is_file()
