"""Published weights: how they are stored, the index and its files, and timm's names."""

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf

from rescaps_plugin.models import published
from rescaps_plugin.models.published import (
    PublishedWeightsError,
    find_published,
    pack_weights,
    read_index,
    read_published,
    unpack_weights,
)

NAMES = [model.timm['name'] for model in read_index() if model.timm]


pytestmark = pytest.mark.usefixtures('offline')


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A copy of the zoo that a test may change."""
    shutil.copytree(published.ZOO, tmp_path / 'zoo')
    monkeypatch.setattr(published, 'ZOO', tmp_path / 'zoo')
    read_index.cache_clear()
    yield tmp_path / 'zoo'
    read_index.cache_clear()


@given(
    shape=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    exponent=st.integers(-30, 4),
    seed=st.integers(0, 99),
)
def test_packed_weights_are_close(shape, exponent, seed):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2.0**exponent
    state = dict(weight=weight, bias=weight.flatten()[:3], steps=torch.tensor(7))
    for dtype, error in (('float32', 0), ('float16', weight.abs() * 2**-11 + 2.0**-25), ('int8', None)):
        packed = pack_weights(state, dtype)
        restored = unpack_weights(packed)
        assert list(restored) == list(state)
        assert torch.equal(restored['bias'], state['bias']) and torch.equal(restored['steps'], state['steps'])
        if dtype == 'int8':  # half a step of the row's scale
            error = weight.abs().flatten(1).amax(dim=1).view(-1, *[1] * (weight.dim() - 1)) / 253
            assert packed['weight'].dtype == torch.int8
        assert ((restored['weight'] - weight).abs() <= error).all()


def test_zero_rows_stay_zero():
    state = dict(weight=torch.tensor([[0.0, 0.0], [1.0, -2.0]]))
    assert torch.equal(unpack_weights(pack_weights(state, 'int8'))['weight'][0], torch.zeros(2))


def test_weights_beyond_float16_are_refused():
    with pytest.raises(ValueError, match='a.weight exceeds the range of float16'):
        pack_weights({'a.weight': torch.full((2, 2), 70000.0)}, 'float16')


def test_other_state_dicts_stay_as_they_are():
    state = timm.create_model('rescaps_tiny', dtype=torch.float64).state_dict()
    restored = unpack_weights(state)
    assert all(restored[name] is value for name, value in state.items()) and list(restored) == list(state)


@pytest.mark.parametrize('model', read_index(), ids=lambda model: model.name)
def test_index_describes_the_file(model):
    state = read_published(model)
    assert model.path.stat().st_size == model.bytes
    assert all(value.isfinite().all() for value in state.values())
    assert model.metric in model.metrics and model.metrics.keys() == model.metrics_trained.keys()
    assert model.subset['samples'] <= model.samples and model.limits and model.command.startswith('python tools/train')
    assert f'--seed {model.seed}' in model.command


def test_files_fit_into_the_wheel():
    files = {path.stem: path.stat().st_size for path in published.ZOO.glob('weights/*')}
    assert files.keys() == {model.name for model in read_index()}
    assert sum(files.values()) <= 45e6


def test_damaged_and_missing_files_are_named(zoo):
    model = read_index()[0]
    contents = bytearray(model.path.read_bytes())
    contents[-1] ^= 1
    model.path.write_bytes(contents)
    message = rf'the weights of {model.name} are damaged: {model.path} .*Install the package again'
    with pytest.raises(PublishedWeightsError, match=message):
        read_published(model)
    model.path.unlink()
    with pytest.raises(PublishedWeightsError, match=f'the weights of {model.name} are missing: there is no'):
        read_published(model)


@pytest.mark.parametrize('change', ['damaged', 'missing'])
def test_timm_refuses_such_files(zoo, monkeypatch, change):
    model = find_published(NAMES[0])
    if change == 'damaged':
        model.path.write_bytes(model.path.read_bytes()[:-1] + b'?')
    else:
        model.path.unlink()
    with pytest.raises(PublishedWeightsError, match=f'the weights of {model.name} are {change}'):
        timm.create_model(NAMES[0], pretrained=True, pretrained_cfg_overlay=dict(file=str(model.path)))


def test_unknown_names_get_close_ones():
    with pytest.raises(PublishedWeightsError, match=r"no published model is named 'rescaps-tiny_digit'. Close: resc"):
        find_published('rescaps-tiny_digit')
    with pytest.raises(PublishedWeightsError, match='rescaps zoo lists the names'):
        find_published('qqq')
    with pytest.raises(PublishedWeightsError, match=r"no published model is named 'mnist'. Close: .*rescaps-small_mn"):
        find_published('mnist')
    model = find_published('rescaps_tiny.digits')
    assert find_published('RESCAPS-TINY_digits') is model and find_published('rescaps://rescaps-tiny_digits') is model


def test_index_of_other_versions_is_refused(zoo):
    entries = json.loads((zoo / 'index.json').read_text())
    (zoo / 'index.json').write_text(json.dumps([entries[0] | dict(colour='red')]))
    with pytest.raises(
        PublishedWeightsError, match=r'index.json, cannot be read \(.*colour.*Install the package again'
    ):
        read_index()
    (zoo / 'index.json').write_text('[')
    with pytest.raises(PublishedWeightsError, match='cannot be read'):
        read_index()


def test_timm_lists_them():
    assert set(timm.list_pretrained('*caps*')) | set(timm.list_pretrained('resnet*_cifar*')) >= set(NAMES)
    assert not timm.is_model_pretrained('rescaps_tiny.untrained')


@pytest.mark.parametrize('name', NAMES)
def test_timm_builds_them(name, caplog):
    model = timm.create_model(name, pretrained=True).eval()
    entry = find_published(name)
    channels, *size = entry.timm['input_size']
    x = torch.randn(2, channels, *size)
    scores = model(x)
    assert scores.shape == (2, entry.timm['num_classes']) and not caplog.records
    assert model.pretrained_cfg['label_names'] == entry.labels and len(entry.labels) == scores.shape[1]
    # the same network without its head, with another head, with features, and for other channels
    features = timm.create_model(name, pretrained=True, num_classes=0).eval()
    assert torch.equal(features.forward_features(x), model.forward_features(x))
    levels = timm.create_model(name, pretrained=True, features_only=True, out_indices=(1, 2)).eval()(x)
    expected = model.forward_intermediates(x, [1, 2], intermediates_only=True)
    assert all(map(torch.equal, levels, expected))
    other = timm.create_model(name, pretrained=True, num_classes=3).eval()
    assert other(x).shape == (2, 3) and torch.equal(other.forward_features(x), model.forward_features(x))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    if channels == 1:  # an image whose channels are equal
        colour = timm.create_model(name, pretrained=True, in_chans=3).eval()
        torch.testing.assert_close(colour(x.expand(2, 3, *size)), scores, atol=1e-4, rtol=0)
        first = f'{model.pretrained_cfg["first_conv"]}.weight'
        weight = model.get_parameter(first)
        torch.testing.assert_close(colour.get_parameter(first), weight.expand(-1, 3, -1, -1) / 3)


@pytest.mark.parametrize('name', NAMES)
def test_data_config_is_that_of_the_training(name):
    entry = find_published(name)
    config = resolve_model_data_config(timm.create_model(name, pretrained=True))
    assert config['input_size'] == entry.timm['input_size'] and config['crop_pct'] == 1
    assert (config['mean'], config['std']) == (entry.timm['mean'], entry.timm['std'])
    channels, height, width = entry.timm['input_size']
    image = Image.new('L' if channels == 1 else 'RGB', (2 * width, 2 * height), 0)
    pixels = create_transform(**config)(image)
    assert pixels.shape == entry.timm['input_size']
    expected = -torch.tensor(entry.timm['mean']) / torch.tensor(entry.timm['std'])
    torch.testing.assert_close(pixels[:, 0, 0], expected)


def test_names_without_weights_tell_tags():
    with pytest.raises(RuntimeError, match=r'no weights of rescaps_tiny without a tag; there are of rescaps_tiny\.d'):
        timm.create_model('rescaps_tiny', pretrained=True)
    with pytest.raises(RuntimeError, match='no weights of rescaps_imagenet; timm.list_pretrained lists'):
        timm.create_model('rescaps_imagenet', pretrained=True)
    # A name without a tag keeps its size of image.
    assert timm.create_model('rescaps_tiny').pretrained_cfg['input_size'] == (3, 32, 32)


def test_deploy_form_is_made_after_loading():
    with pytest.raises(ValueError, match='without deploy=True, then call timm.utils.reparameterize_model'):
        timm.create_model('rescaps_tiny.digits', pretrained=True, deploy=True)


def test_hub_folder_holds_the_model(tmp_path):
    model = timm.create_model('rescaps_tiny.digits', pretrained=True).eval()
    save_for_hf(model, str(tmp_path))
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(again(x), model(x))
    assert tuple(again.pretrained_cfg['label_names']) == model.pretrained_cfg['label_names']


def test_entries_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        read_index()[0].name = 'x'
    assert Path(read_index()[0].path).suffix == '.safetensors'
