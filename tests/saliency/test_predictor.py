"""Predicted saliency maps of images from files and memory."""

import logging
import os
import warnings

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from PIL import Image

from rescaps_plugin import zoo
from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.images import ImageError
from rescaps_plugin.export.exported import read_config
from rescaps_plugin.saliency.predictor import SaliencyPredictor
from tests.tools.saliency import BOXES, SIZES, write_detector, write_images

pytest.importorskip('mmseg')


@pytest.fixture
def data(tmp_path):
    write_images(tmp_path / 'data')
    return tmp_path / 'data' / 'images'


@pytest.fixture
def detector(tmp_path, data, monkeypatch):
    """Config and checkpoint of a detector of red."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    return write_detector(tmp_path, data.parent)


@pytest.fixture
def make_predictor(detector):
    def make(cfg_options=None, **options):
        return SaliencyPredictor(load_config(detector[0], cfg_options), detector[1], **options)

    return make


@pytest.fixture
def images(data):
    return [Image.open(data / f'{name}.png') for name in SIZES]


def assert_same(ours, theirs, atol=0.0):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.saliency.dtype == np.float32
        np.testing.assert_allclose(one.saliency, other.saliency, rtol=0, atol=atol)
        np.testing.assert_array_equal(one.image, other.image)


def test_every_form_of_an_image_has_the_same_result(make_predictor, data):
    predictor = make_predictor()
    for name, (top, left, bottom, right) in BOXES.items():
        path = data / f'{name}.png'
        pixels = np.array(Image.open(path))
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)
        forms = [path, str(path), Image.open(path), pixels, tensor, tensor / 255]
        results = predictor.predict(forms)
        assert_same(results, 6 * [predictor.predict(path)])
        np.testing.assert_array_equal(results[0].image, pixels)
        found = results[0].saliency
        assert found.shape == SIZES[name] and 0 <= found.min() and found.max() <= 1
        assert found[top + 2 : bottom - 2, left + 2 : right - 2].min() > 0.9 and found[:1].max() < 0.1


def test_same_as_the_tool(make_predictor, detector, data, load_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load_tool('predict').main([*detector, str(data), '--cutout', '--device', 'cpu', '--out-dir', 'out'])
    paths = sorted(data.iterdir())
    for path, result in zip(paths, make_predictor().predict(paths), strict=True):
        saved = np.asarray(Image.open(tmp_path / 'out/maps' / path.name))
        assert np.ptp(saved) > 200
        np.testing.assert_array_equal(np.rint(255 * result.saliency), saved)
        cut = result.cutout()
        assert cut.mode == 'RGBA'
        np.testing.assert_array_equal(cut, Image.open(tmp_path / 'out/cutouts' / path.name))


def test_cutouts_keep_the_opacity_of_the_input(make_predictor, tmp_path):
    image = Image.new('RGBA', (12, 8), (250, 0, 0, 255))
    image.paste((250, 0, 0, 100), (0, 0, 6, 8))
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / 'turned.png', exif=exif)
    for each in (tmp_path / 'turned.png', Image.open(tmp_path / 'turned.png')):
        cut = np.asarray(make_predictor().predict(each).cutout())
        assert cut.shape == (12, 8, 4) and cut[[1, 10], 4].tolist() == [[250, 0, 0, 100], [250, 0, 0, 255]]
    assert np.asarray(make_predictor().predict(np.asarray(image)).cutout())[4, 1].tolist() == [250, 0, 0, 100]


def test_grey_images(make_predictor):
    level = np.full((9, 7), 250, np.uint8)
    result = make_predictor().predict(level)
    assert repr(result) == 'SaliencyPrediction(9 x 7, 100.0% salient)'
    np.testing.assert_array_equal(result.image, np.dstack(3 * [level]))


@pytest.mark.parametrize('size', [32, None])
def test_batches_of_images_of_different_sizes(make_predictor, images, size):
    predictor = make_predictor({'model.data_preprocessor.test_size': size})
    images = [*images, images[-1], images[-1]]
    single = [predictor.predict(image) for image in images]
    assert_same(predictor.predict(images, batch_size=4), single, atol=1e-6)
    assert_same(make_predictor({'model.data_preprocessor.test_size': size}, batch_size=9).predict(images), single, 1e-6)


@pytest.mark.parametrize('runtime', ['onnx', 'openvino'])
@pytest.mark.parametrize('channels', [1, 2])
def test_runtimes_equal_pytorch(make_predictor, detector, images, channels, runtime):
    pytest.importorskip(runtime, reason="needs pip install '.[openvino]'")
    options = {}
    if channels == 2:  # background and salient
        options = {'model.decode_head.out_channels': 2, 'model.decode_head.threshold': None}
        contents = torch.load(detector[1])
        for key, value in contents['state_dict'].items():
            contents['state_dict'][key] = torch.cat([-0.3 * value, 0.7 * value])
        torch.save(contents, detector[1])
    expected = make_predictor(options).predict(images)
    results = make_predictor(options, runtime=runtime, batch_size=2).predict(images)
    assert all(np.ptp(each.saliency) > 0.9 for each in results)
    assert_same(results, expected, atol=1e-5)


@pytest.mark.parametrize('size', [32, None])
@pytest.mark.parametrize(('form', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_file_equals_pytorch(make_predictor, detector, data, load_tool, tmp_path, form, suffix, size):
    """With images that the model resizes, and that the test pipeline does."""
    pytest.importorskip(form, reason="needs pip install '.[openvino]'")
    path, images = str(tmp_path / f'model{suffix}'), sorted(data.glob('*.png'))
    options = {'model.data_preprocessor.test_size': size}
    if size is None:
        path_of_config = tmp_path / 'resized.py'
        path_of_config.write_text(
            f'_base_ = {detector[0]!r}\n'
            "pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32)), {{_base_.pack}}]\n"
            'test_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
        )
        detector = (str(path_of_config), detector[1])
    changes = [f'{key}={value}' for key, value in options.items()]
    arguments = ['--input-size', '32', '32', '--cfg-options', *changes]
    load_tool('export').main([*detector, '--format', form, '--out', path, '--dynamic-batch', *arguments])
    expected = SaliencyPredictor(load_config(detector[0], options), detector[1]).predict(images)
    predictor = SaliencyPredictor(read_config(path), path, batch_size=2)
    assert predictor.runtime == form and all(np.ptp(each.saliency) > 0.9 for each in expected)
    assert_same(predictor.predict(images), expected, atol=1e-5)


def test_scope_stays(make_predictor, images):
    DefaultScope.get_instance('other', scope_name='mmpretrain')
    make_predictor().predict(images)
    assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'


def test_loading_prints_no_messages_of_openmmlab(monkeypatch):
    """Its logger reports the outputs of backbones of timm, and mmsegmentation warns of a function of its own."""
    logger = MMLogger.get_current_instance()
    level, records = logger.level, []
    monkeypatch.setattr(logger, 'handle', records.append)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        zoo.load('icon-rpr_efficientnet-lite0_ecssd')
    assert logger.level == level
    logger.info('later')
    assert [record.getMessage() for record in records if record.levelno >= logging.INFO] == ['later']


def test_broken_images_are_named(make_predictor, data):
    (data / 'a.png').write_bytes((data / 'a.png').read_bytes()[:500])
    with pytest.raises(ImageError, match=f'{os.sep}a.png: truncated'):
        make_predictor().predict([data / 'b.png', data / 'a.png'])
    with pytest.raises(ImageError, match=r'inputs\[0\]: a floating point tensor must be from 0 to 1, got 9 to 9'):
        make_predictor().predict([torch.full((3, 4, 4), 9.0)])


def test_models_that_are_no_detectors(detector):
    cfg = load_config(detector[0], {'default_scope': 'mmengine'})
    with pytest.raises(UserError, match="default_scope 'mmengine'; it must be mmseg"):
        SaliencyPredictor(cfg, detector[1])
