"""Predicted classes of images from files and memory."""

import json

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain import get_model
from PIL import Image

from rescaps_plugin.classification.predictor import ClassPredictor
from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.images import ImageError
from rescaps_plugin.export.exported import read_config
from rescaps_plugin.training.checkpoint_reader import CheckpointError, UntrustedCheckpointError
from tests.tools.colors import FILES, RESIZE, write_classifier

PIXELS = np.random.RandomState(0).randint(0, 120, (12, 20, 3)).astype(np.uint8) + np.array([130, 0, 60], np.uint8)


@pytest.fixture
def make_predictor(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def make(pipeline=FILES, options=(), **model):
        config, checkpoint = write_classifier(tmp_path, tmp_path, pipeline, **{'to_rgb': True, **model})
        return ClassPredictor(load_config(str(config)), str(checkpoint), **dict(options))

    return make


@pytest.fixture
def image(tmp_path):
    """A file of ``PIXELS``."""
    Image.fromarray(PIXELS).save(tmp_path / 'image.png')
    return tmp_path / 'image.png'


def inputs_of(path):
    """The image of a file in every form."""
    pixels = np.array(Image.open(path))
    tensor = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)
    return [path, str(path), Image.open(path), pixels, tensor, tensor / 255]


# Files and arrays in RGB and BGR.
@pytest.mark.parametrize(('pipeline', 'to_rgb'), [(FILES, True), (RESIZE, True), (RESIZE, False)])
def test_every_form_of_an_image_has_the_same_result(make_predictor, image, pipeline, to_rgb):
    predictor = make_predictor(pipeline, to_rgb=to_rgb)
    results = [predictor.predict(each) for each in inputs_of(image)]
    assert len(set(results)) == 1 and predictor.predict(inputs_of(image)) == results
    assert results[0].classes == ('red', 'blue', 'green') and results[0].labels == (0, 2, 1)
    means = np.array([PIXELS[..., channel].mean() for channel in results[0].labels])
    expected = np.exp(20 * means / 255) / np.exp(20 * means / 255).sum()
    np.testing.assert_allclose(results[0].scores, expected, atol=0.02)


def test_rotated_and_transparent_images(make_predictor, tmp_path):
    predictor = make_predictor([FILES[0], dict(type='CenterCrop', crop_size=(2, 8)), dict(type='PackInputs')])
    stripe = np.zeros((12, 20, 4), np.uint8)
    stripe[...] = (0, 0, 250, 100)
    stripe[:, 9:11] = (250, 0, 0, 100)
    exif = Image.Exif()
    exif[274] = 6
    for name, options, expected in [('rgba', {}, 'red'), ('turned', {'exif': exif}, 'blue')]:
        path = tmp_path / f'{name}.png'
        Image.fromarray(stripe).save(path, **options)
        results = predictor.predict([path, Image.open(path)])
        assert results[0] == results[1] and results[0].classes[0] == expected


def test_grey_model(make_predictor, image, tmp_path):
    weight, bias = torch.tensor([[-1.0], [1.0]]), torch.tensor([8.0, -8.0])
    predictor = make_predictor(RESIZE, channels=1, to_rgb=False, weight=weight, bias=bias, classes=None)
    Image.fromarray(PIXELS).convert('L').save(tmp_path / 'grey.png')
    for path in (image, tmp_path / 'grey.png'):
        results = {predictor.predict(each) for each in inputs_of(path)}
        assert len(results) == 1 and 0.01 < results.pop().scores[0] < 0.99
    assert predictor.predict(np.full((9, 9), 240, np.uint8)).classes == ('1', '0')  # no names in the checkpoint


def test_topk_and_equal_scores(make_predictor):
    predictor = make_predictor()
    grey = np.full((9, 9, 3), 200, np.uint8)
    assert predictor.predict(grey).classes == ('red', 'green', 'blue')
    assert predictor.predict([grey], topk=2)[0].labels == (0, 1)
    assert repr(predictor.predict(grey, topk=1)) == 'ClassPrediction(red: 0.333)'
    assert predictor.predict(grey, topk=99) == predictor.predict(grey)
    with pytest.raises(ValueError, match='topk must be a positive integer, got 0'):
        predictor.predict(grey, topk=0)
    result = predictor.predict(grey)
    with pytest.raises(AttributeError):
        result.labels = ()


def test_images_of_sizes_that_stay_different(make_predictor):
    predictor = make_predictor([FILES[0], dict(type='PackInputs')])
    images = [PIXELS, PIXELS[:7], PIXELS[:, :5], PIXELS[:7]]
    results = predictor.predict(images)
    for image, result in zip(images, results, strict=True):
        assert predictor.predict(image, batch_size=1) == result


@pytest.fixture(scope='module')
def digits(repository, tmp_path_factory):
    """Config, checkpoint and images of an untrained network whose scores differ between images."""
    cfg = load_config(str(repository / 'configs/rescaps/digits.py'))
    torch.manual_seed(0)
    model = get_model(cfg)
    model.train()
    for _ in range(30):  # statistics of the normalisation layers
        model(100 * torch.randn(16, 1, 16, 16), mode='tensor')
    checkpoint = tmp_path_factory.mktemp('digits') / 'model.pth'
    torch.save({'state_dict': model.state_dict()}, checkpoint)
    blocks = np.random.RandomState(0).randint(0, 256, (5, 2, 2)).astype(np.uint8)
    images = [np.kron(each, np.ones((4 + index, 4), np.uint8)) for index, each in enumerate(blocks)]
    return cfg, str(checkpoint), images


def scores_of(results):
    return np.array([[score for _, score in sorted(zip(each.labels, each.scores, strict=True))] for each in results])


def test_same_as_the_tool(digits, load_tool, tmp_path, monkeypatch, repository):
    monkeypatch.chdir(tmp_path)
    cfg, checkpoint, images = digits
    for index, image in enumerate(images):
        Image.fromarray(image).save(f'{index}.png')
    names = [f'{index}.png' for index in range(len(images))]
    arguments = [str(repository / 'configs/rescaps/digits.py'), checkpoint, *names, '--out-dir', 'out']
    load_tool('predict').main([*arguments, '--top-k', '10', '--format', 'json', '--device', 'cpu'])
    rows = json.loads((tmp_path / 'out/predictions.json').read_text())
    results = ClassPredictor(cfg, checkpoint).predict(images, topk=10)
    ends = ['', *(f'_{place}' for place in range(2, 11))]
    for row, result in zip(rows, results, strict=True):
        assert tuple(row[f'class{end}'] for end in ends) == result.classes
        assert [row[f'score{end}'] for end in ends] == [round(score, 6) for score in result.scores]


def test_batch_sizes(digits):
    cfg, checkpoint, images = digits
    predictor = ClassPredictor(cfg, checkpoint, batch_size=2)
    single = scores_of([predictor.predict(image, topk=10) for image in images])
    assert np.ptp(single, axis=0).max() > 1e-3
    for size in (None, 1, 64):
        np.testing.assert_allclose(scores_of(predictor.predict(images, size, topk=10)), single, atol=1e-6)


@pytest.mark.parametrize('runtime', ['onnx', 'openvino'])
def test_runtimes_equal_pytorch(digits, runtime, tmp_path, monkeypatch):
    pytest.importorskip(runtime, reason="needs pip install '.[openvino]'")
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    cfg, checkpoint, images = digits
    results = ClassPredictor(cfg, checkpoint, runtime=runtime, batch_size=2).predict(images, topk=10)
    expected = ClassPredictor(cfg, checkpoint).predict(images, topk=10)
    np.testing.assert_allclose(scores_of(results), scores_of(expected), rtol=0, atol=1e-5)


FORMS = [('onnx', '.onnx', []), ('openvino', '.xml', []), ('openvino', '.xml', ['--half'])]


@pytest.fixture
def export(load_tool, tmp_path):
    """Export a model of this file and return the path."""

    def call(config, checkpoint, form='onnx', suffix='.onnx', options=(), size=()):
        pytest.importorskip(form, reason="needs pip install '.[openvino]'")
        path = tmp_path / f'exported{suffix}'
        size = ['--input-size', *size] if size else []
        load_tool('export').main([str(config), str(checkpoint), '--format', form, '--out', str(path), *options, *size])
        return str(path)

    return call


@pytest.mark.parametrize(('form', 'suffix', 'options'), FORMS)
@pytest.mark.parametrize('dynamic', [[], ['--dynamic-batch']])
def test_exported_file_equals_pytorch(digits, export, repository, form, suffix, options, dynamic):
    cfg, checkpoint, images = digits
    config = repository / 'configs/rescaps/digits.py'
    path = export(config, checkpoint, form, suffix, [*options, *dynamic])
    expected = scores_of(ClassPredictor(cfg, checkpoint).predict(images, topk=10))
    for runtime in ('onnx', 'openvino') if form == 'onnx' else ('openvino',):
        predictor = ClassPredictor(read_config(path), path, batch_size=2, runtime=runtime)
        atol = 1e-2 if options else 1e-5
        np.testing.assert_allclose(scores_of(predictor.predict(images, topk=10)), expected, rtol=0, atol=atol)
    assert ClassPredictor(read_config(path), path).runtime == form


@pytest.mark.parametrize(('pipeline', 'to_rgb'), [(FILES, True), (FILES, False), (RESIZE, True), (RESIZE, False)])
def test_exported_file_keeps_the_order_of_channels(make_predictor, export, image, tmp_path, pipeline, to_rgb):
    expected = make_predictor(pipeline, to_rgb=to_rgb).predict(image)
    path = export(tmp_path / 'config.py', tmp_path / 'model.pth', size=['8', '8'])
    result = ClassPredictor(read_config(path), path).predict(image)
    assert result.classes == expected.classes and result.scores == pytest.approx(expected.scores, abs=1e-5)


def test_exported_grey_model(make_predictor, export, image, tmp_path):
    weight, bias = torch.tensor([[-1.0], [1.0]]), torch.tensor([8.0, -8.0])
    predictor = make_predictor(RESIZE, channels=1, to_rgb=False, weight=weight, bias=bias, classes=None)
    path = export(tmp_path / 'config.py', tmp_path / 'model.pth', size=['8', '8'])
    result, expected = ClassPredictor(read_config(path), path).predict(image), predictor.predict(image)
    assert result.classes == expected.classes and result.scores == pytest.approx(expected.scores, abs=1e-5)


def test_images_of_another_size_than_the_file(make_predictor, export, image, tmp_path):
    make_predictor([FILES[0], dict(type='PackInputs')])
    path = export(tmp_path / 'config.py', tmp_path / 'model.pth', size=['8', '8'])
    with pytest.raises(
        UserError, match='exported.onnx takes images of 3x8x8, not 3x12x20; rescaps export --input-size'
    ):
        ClassPredictor(read_config(path), path).predict(image)


def test_broken_images_are_named(make_predictor, image):
    predictor = make_predictor()
    image.write_bytes(image.read_bytes()[:200])
    with pytest.raises(ImageError, match='image.png: truncated'):
        predictor.predict([PIXELS, image])
    with pytest.raises(ImageError, match=r'inputs\[1\]: an array must be uint8'):
        predictor.predict([PIXELS, PIXELS / 255])
    with pytest.raises(ImageError, match='inputs: an image must be a path.*got dict'):
        predictor.predict({})


def test_models_that_cannot_be_loaded(make_predictor, digits, tmp_path):
    cfg, checkpoint, _ = digits
    with pytest.raises(CheckpointError, match='nowhere.pth does not exist'):
        ClassPredictor(cfg, 'nowhere.pth')
    with pytest.raises(UserError, match='has no model'):
        ClassPredictor(type(cfg)({}), checkpoint)
    with pytest.raises(CheckpointError, match='names 1 classes; its model has 3'):
        make_predictor(classes=['red'])
    contents = torch.load(checkpoint)
    torch.save({**contents, 'extra': ImageError('x')}, tmp_path / 'objects.pth')
    with pytest.raises(UntrustedCheckpointError):
        ClassPredictor(cfg, str(tmp_path / 'objects.pth'))
    ClassPredictor(cfg, str(tmp_path / 'objects.pth'), trust_checkpoint=True)


def test_config_and_scope_stay(digits):
    cfg, checkpoint, images = digits
    before = cfg.pretty_text
    DefaultScope.get_instance('other', scope_name='mmseg')
    ClassPredictor(cfg, checkpoint).predict(images)
    assert cfg.pretty_text == before and DefaultScope.get_current_instance().scope_name == 'mmseg'
