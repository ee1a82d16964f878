"""Predicted reconstructions and latent capsules of clouds from files and memory."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export.exported import read_config
from rescaps_plugin.pointcloud.files import CloudError, read_points
from rescaps_plugin.pointcloud.predictor import CloudPredictor
from tests.tools.pointcaps import write_config

CLOUD = np.random.RandomState(0).randn(64, 3)


@pytest.fixture(scope='module')
def model(repository, tmp_path_factory):
    return write_config(tmp_path_factory.mktemp('model'), repository)


@pytest.fixture
def make_predictor(model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    return lambda **options: CloudPredictor(load_config(model[0]), model[1], **options)


def assert_same(ours, theirs, atol=0.0):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.points.dtype == np.float64 and one.latent.dtype == np.float32
        np.testing.assert_allclose(one.points, other.points, rtol=0, atol=atol)
        np.testing.assert_allclose(one.latent, other.latent, rtol=0, atol=atol)


def test_every_form_of_a_cloud_has_the_same_result(make_predictor, tmp_path):
    predictor, path = make_predictor(), tmp_path / 'cloud.npy'
    single = CLOUD.astype(np.float32)
    np.save(path, single)
    forms = [path, str(path), single, single.astype(float), torch.from_numpy(single), torch.from_numpy(single).double()]
    expected = predictor.predict(path)
    assert expected.points.shape == (64, 3) and expected.latent.shape == (16, 6)
    assert repr(expected) == 'CloudPrediction(64 points, 16 latent capsules of 6 entries)'
    assert_same([predictor.predict(form) for form in forms], 6 * [expected])


def test_same_as_the_tool(make_predictor, model, load_tool, tmp_path, monkeypatch):
    trimesh = pytest.importorskip('trimesh')
    monkeypatch.chdir(tmp_path)
    clouds = {'a.npy': CLOUD, 'b.npy': np.tile(CLOUD, (4, 1)) * (1, 2, 3), 'c.npy': CLOUD[:5]}
    for name, cloud in clouds.items():
        np.save(name, cloud)
    trimesh.creation.box().export('d.off')
    load_tool('predict').main([*model, *clouds, 'd.off', '--device', 'cpu', '--out-dir', 'out'])
    results = make_predictor().predict([*clouds, 'd.off'])
    assert_same(results[:3], make_predictor().predict([*clouds.values()]))
    for index, (name, result) in enumerate(zip('abcd', results, strict=True)):
        saved = read_points(tmp_path / f'out/{index:04d}_{name}.ply', None, None)
        np.testing.assert_allclose(result.points, saved, rtol=0, atol=1e-6)


def test_reconstructions_are_at_the_place_of_the_input(make_predictor):
    """In double precision: at UTM coordinates, float32 would round points to half a metre."""
    near, far = make_predictor().predict([CLOUD, 100 * CLOUD + np.array([5e5, 4.5e6, 100])])
    np.testing.assert_allclose(far.points, 100 * near.points + np.array([5e5, 4.5e6, 100]), rtol=0, atol=1e-3)
    np.testing.assert_allclose(far.latent, near.latent, atol=1e-4)


def test_batches_of_clouds_of_different_sizes(make_predictor):
    predictor = make_predictor()
    clouds = [CLOUD, 2 * CLOUD[:9], CLOUD[:9], CLOUD**3, CLOUD[:1] + CLOUD]
    single = [predictor.predict(cloud, batch_size=1) for cloud in clouds]
    assert np.ptp([each.latent for each in single], axis=0).max() > 0.01
    assert_same(predictor.predict(clouds), single, atol=1e-5)


def test_scope_stays(make_predictor):
    DefaultScope.get_instance('other', scope_name='mmpretrain')
    make_predictor().predict(CLOUD)
    assert DefaultScope.get_current_instance().scope_name == 'mmpretrain'


@pytest.mark.parametrize('runtime', ['onnx', 'openvino'])
def test_runtimes_equal_pytorch(make_predictor, runtime):
    pytest.importorskip(runtime, reason="needs pip install '.[openvino]'")
    clouds = [CLOUD, CLOUD**3, CLOUD**2]
    assert_same(make_predictor(runtime=runtime).predict(clouds), make_predictor().predict(clouds), atol=1e-4)


@pytest.mark.parametrize(('form', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_file_equals_pytorch(make_predictor, model, load_tool, tmp_path, form, suffix):
    pytest.importorskip(form, reason="needs pip install '.[openvino]'")
    path, clouds = str(tmp_path / f'model{suffix}'), [CLOUD, 100 * CLOUD**3 + 50, np.tile(CLOUD, (4, 1))]
    load_tool('export').main([*model, '--format', form, '--out', path, '--dynamic-batch'])
    predictor = CloudPredictor(read_config(path), path, batch_size=2)
    assert predictor.runtime == form
    assert_same(predictor.predict(clouds), make_predictor().predict(clouds), atol=1e-2)
    with pytest.raises(UserError, match=f'model{suffix} takes clouds of 64x3, not 9x3'):
        predictor.predict(CLOUD[:9])


@pytest.mark.parametrize(
    ('cloud', 'message'),
    [
        ([[1.0, 2.0, 3.0]], r'inputs\[0\]: a cloud must be a path, an array or a tensor, got list'),
        (CLOUD.astype(int), r'inputs: a cloud must be floating point \[n, 3\], got int64 \[64, 3\]'),
        (torch.zeros(3, 64), r'must be floating point \[n, 3\], got float32 \[3, 64\]'),
        (CLOUD[:0], r'got float64 \[0, 3\]'),
        (CLOUD * np.nan, 'inputs: 192 coordinates are NaN or infinite'),
        (np.ones((4, 3)), 'inputs: a cloud needs an extent'),
    ],
)
def test_mistakes(make_predictor, cloud, message):
    with pytest.raises(CloudError, match=message):
        make_predictor().predict(cloud)


def test_models_that_are_no_autoencoders(model):
    cfg = load_config(model[0])
    cfg.model = dict(type='ChamferLoss')
    with pytest.raises(UserError, match='model.type must be PointCapsAE or PointNetAE, it is ChamferLoss'):
        CloudPredictor(cfg, model[1])
