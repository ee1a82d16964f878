"""Point cloud transforms by their properties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.dataset import Compose

from rescaps_plugin.pointcloud.files import CloudError
from rescaps_plugin.pointcloud.transforms import RandomRotatePoints, RandomScalePoints, normalize_points


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(0)


def cloud(count=200, seed=0):
    return (np.random.RandomState(seed).randn(count, 3) + (3, 0, 0)).astype(np.float32)


def run(points, **transform):
    return Compose([transform])(dict(points=points.copy(), source='cloud.npy'))['points']


@given(st.integers(2, 50), st.floats(0.01, 100), st.integers(0, 2**16))
def test_normalised_clouds_fill_the_unit_sphere(count, scale, seed):
    points = scale * cloud(count, seed).astype(float)
    unit, centre, radius = normalize_points(points)
    assert np.linalg.norm(unit, axis=1).max() == pytest.approx(1)
    np.testing.assert_allclose(unit.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(unit * radius + centre, points, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize('scale', [1e-3, 1, 1e3])
def test_clouds_far_from_the_origin_are_normalised(scale):
    """In float64, as float32 cannot represent their shape."""
    near, there = scale * cloud().astype(float), scale * np.array([5e5, 4.5e6, 100])
    unit, centre, radius = normalize_points(near + there)
    expected, _, size = normalize_points(near)
    np.testing.assert_allclose(unit, expected, atol=1e-8)
    assert radius == pytest.approx(size, rel=1e-8)
    np.testing.assert_allclose(unit * radius + centre, near + there, rtol=1e-15)
    assert run(near + there, type='NormalizePoints').dtype == np.float32


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_non_finite_points_are_refused(value):
    points = cloud()
    points[7, 2] = value
    with pytest.raises(CloudError, match=r'cloud.npy: 1 coordinates are NaN or infinite, the first at \[7, 2\]'):
        run(points, type='NormalizePoints')


def test_a_cloud_without_extent_is_refused():
    with pytest.raises(CloudError, match=r'cloud.npy: a cloud needs an extent.*all 4 points are \[1\. 1\. 1\.\]'):
        run(np.ones((4, 3)), type='NormalizePoints')


@pytest.mark.parametrize(('axis', 'kept'), [('x', 0), ('y', 1), ('z', 2)])
def test_rotation_about_its_axis(axis, kept):
    points = cloud().astype(float)
    turned = run(points, type='RandomRotatePoints', axis=axis)
    np.testing.assert_array_equal(turned[:, kept], points[:, kept])
    assert not np.allclose(turned, points)
    np.testing.assert_allclose(turned @ turned.T, points @ points.T, rtol=1e-9, atol=1e-9)
    # A rotation, not a reflection.
    before, after = (np.linalg.det(each[:3].astype(float)) for each in (points, turned))
    assert after == pytest.approx(before, rel=1e-3)


def test_rotation_angles_are_bounded():
    angles = []
    for _ in range(200):
        x, _, z = run(np.array([[1, 0, 0]], np.float32), type='RandomRotatePoints', max_angle=30)[0]
        angles.append(np.rad2deg(np.arctan2(-z, x)))
    assert -30 <= min(angles) < -25 and 25 < max(angles) <= 30


def test_jitter_is_small_and_bounded():
    points = cloud(5000)
    moved = run(points, type='RandomJitterPoints', std=0.02, clip=0.03) - points
    assert np.abs(moved).max() == pytest.approx(0.03, abs=1e-5)
    assert 0.01 < moved.std() < 0.02
    assert run(points, type='RandomJitterPoints').dtype == np.float32


def test_scale_is_one_factor_in_its_range():
    points = cloud()
    factors = {float(np.round((run(points, type='RandomScalePoints') / points).mean(), 5)) for _ in range(50)}
    assert len(factors) > 40 and 0.8 <= min(factors) < 0.85 and 0.95 < max(factors) <= 1


def test_dropped_points_are_replaced_by_a_kept_point():
    points = cloud()
    shares = []
    for _ in range(50):
        left = run(points, type='RandomDropPoints', max_ratio=0.6)
        assert left.shape == points.shape
        distinct = {tuple(point) for point in left}
        assert distinct <= {tuple(point) for point in points}
        shares.append(1 - len(distinct) / len(points))
    assert max(shares) <= 0.6 and max(shares) > 0.5 and min(shares) < 0.1


def test_pack():
    points = cloud()
    pipeline = Compose([dict(type='NormalizePoints'), dict(type='PackPoints')])
    packed = pipeline(dict(points=points, gt_label=4, sample_idx=7, source=''))
    assert packed['inputs'].dtype == torch.float32 and packed['inputs'].shape == (200, 3)
    sample = packed['data_samples']
    assert sample.gt_label.tolist() == [4] and sample.sample_idx == 7
    np.testing.assert_allclose(packed['inputs'].numpy() * sample.radius + sample.centre, points, rtol=1e-5, atol=1e-5)
    assert 'gt_label' not in pipeline(dict(points=points, sample_idx=7, source=''))['data_samples']


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: RandomRotatePoints(axis='w'), r"axis must be one of \('x', 'y', 'z'\), got 'w'"),
        (lambda: RandomScalePoints((1.2, 0.8)), r'scale must be .* got \(1.2, 0.8\)'),
        (lambda: Compose([dict(type='RandomDropPoints', max_ratio=1.0)]), r'max_ratio must be in \[0, 1\), got 1.0'),
    ],
)
def test_invalid_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
