"""Standardisation and affine placement, and mmcv's and mmpretrain's transforms on grey images."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mmpretrain.registry import TRANSFORMS

from rescaps_plugin.classification.transforms import place_affine

images = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)).filter(np.any)
units = st.floats(0, 1)
affine = st.fixed_dictionaries(
    dict(
        rotation=st.floats(-180, 180),
        shear=st.floats(-0.5, 0.5),
        scale=st.tuples(st.floats(0.5, 1.5), st.floats(0.5, 1.5)),
    )
)


def room_on(size, image, rotation, shear, scale):
    """Range of vertical and horizontal shifts of the transformed ink on a canvas, from the corners of ink pixels."""
    angle = np.deg2rad(rotation)
    points = np.argwhere(image)[:, None] + np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    points = points.reshape(-1, 2) * scale
    points[:, 1] += shear * points[:, 0]
    down = np.cos(angle) * points[:, 0] - np.sin(angle) * points[:, 1]
    across = np.sin(angle) * points[:, 0] + np.cos(angle) * points[:, 1]
    return size + 1 - np.array([np.ptp(down), np.ptp(across)])


@given(images, affine, st.tuples(units, units), st.integers(8, 40))
def test_no_ink_is_cut(image, transform, position, size):
    room = room_on(size, image, **transform)
    assume(room.min() > 1e-6)
    canvas = place_affine(image, size, position=position, **transform)
    assert canvas.shape == (size, size) and canvas.dtype == np.uint8
    # The same, with equal subpixel shift, at the centre of a canvas with a margin of ten pixels.
    centred = (room * position + 10) / (room + 20)
    wide = place_affine(image, size + 20, position=centred, **transform).astype(int)
    assert np.abs(wide[10:-10, 10:-10] - canvas).max() <= 1
    wide[10:-10, 10:-10] = 0
    assert not wide.any()


@given(images, affine, st.integers(1, 40))
def test_too_large_for_the_canvas(image, transform, size):
    room = room_on(size, image, **transform)
    assume(abs(room.min()) > 1e-6)
    if room.min() < 0:
        with pytest.raises(ValueError, match=f'does not fit on {size} x {size}'):
            place_affine(image, size, **transform)
    else:
        place_affine(image, size, **transform)


@given(images, st.integers(12, 20), st.data())
def test_placement_without_transform_is_a_copy(image, size, data):
    ink = np.argwhere(image)
    first, last = ink.min(0), ink.max(0)
    room = size - 1 - (last - first)
    place = np.array([data.draw(st.integers(0, int(limit))) for limit in room])
    canvas = place_affine(image, size, position=place / np.maximum(room, 1))
    expected = np.zeros((size, size), np.uint8)
    height, width = last - first + 1
    expected[place[0] : place[0] + height, place[1] : place[1] + width] = image[
        first[0] : last[0] + 1, first[1] : last[1] + 1
    ]
    np.testing.assert_array_equal(canvas, expected)


def test_quarter_turn_is_counter_clockwise():
    image = np.arange(1, 26, dtype=np.uint8).reshape(5, 5)
    np.testing.assert_array_equal(place_affine(image, 7, rotation=90)[1:6, 1:6], np.rot90(image))


def test_scale_is_height_then_width_and_shear_moves_rows():
    bar = np.zeros((9, 9), np.uint8)
    bar[2:7, 4] = 255
    rows, columns = np.nonzero(place_affine(bar, 21, scale=(2, 1)))
    assert np.ptp(rows) + 1 == 11 and np.ptp(columns) + 1 == 1
    rows, columns = np.nonzero(place_affine(bar, 21, shear=1.0))
    assert np.ptp(rows) + 1 == 5 and np.unique(columns - rows).size == 1


def test_ink_is_conserved_by_rotation():
    rng = np.random.RandomState(0)
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 9:19] = rng.randint(100, 256, (16, 10))
    for angle in (-30, -7, 3, 20):
        assert float(place_affine(image, 40, rotation=angle).sum()) == pytest.approx(float(image.sum()), rel=0.02)


def test_no_ink_gives_a_black_canvas():
    assert not place_affine(np.zeros((28, 28), np.uint8), 40, rotation=12).any()


def digit():
    image = np.zeros((28, 28), np.uint8)
    image[5:23, 12:16] = 255
    return image


def test_random_affine_placement():
    transform = TRANSFORMS.build(dict(type='RandomAffinePlacement', size=40, rotation=30.0))
    np.random.seed(0)
    results = [transform(dict(img=digit(), gt_label=1)) for _ in range(200)]
    canvases = np.stack([result['img'] for result in results])
    assert canvases.shape == (200, 40, 40) and canvases.dtype == np.uint8
    assert all(result['img_shape'] == (40, 40) and result['gt_label'] == 1 for result in results)
    assert canvases.sum(axis=(1, 2), dtype=float) == pytest.approx(float(digit().sum()), rel=0.03)
    # Ink reaches every border, and every position except the corners.
    covered = canvases.any(axis=0)
    assert covered[0].any() and covered[-1].any() and covered[:, 0].any() and covered[:, -1].any()
    assert covered.mean() > 0.9
    # Angle of the bar, from the principal axis of its ink.
    angles = []
    for canvas in canvases:
        rows, columns = np.nonzero(canvas)
        values, vectors = np.linalg.eigh(np.cov(columns, rows, aweights=canvas[rows, columns]))
        angles.append(np.rad2deg(np.arctan2(*vectors[:, 1])) % 180)
    angles = (np.array(angles) + 90) % 180 - 90
    assert 27 < angles.max() < 31 and -31 < angles.min() < -27
    np.random.seed(0)
    again = transform(dict(img=digit()))['img']
    np.testing.assert_array_equal(again, canvases[0])


def test_random_affine_placement_scales():
    transform = TRANSFORMS.build(dict(type='RandomAffinePlacement', size=60, rotation=0.0, shear=0.0, scale=(0.5, 1.5)))
    np.random.seed(0)
    boxes = [np.ptp(np.argwhere(transform(dict(img=digit()))['img'] > 127), axis=0) + 1 for _ in range(200)]
    (low, narrow), (high, wide) = np.min(boxes, axis=0), np.max(boxes, axis=0)
    assert 8 <= low <= 11 and 25 <= high <= 28
    assert 1 <= narrow <= 3 and 5 <= wide <= 7


@pytest.mark.parametrize('image', [np.zeros((28, 28, 1), np.uint8), np.zeros((28, 28), np.float32)])
def test_random_affine_placement_border(image):
    with pytest.raises(ValueError, match=r'img must be uint8 \[height, width\], not'):
        TRANSFORMS.build(dict(type='RandomAffinePlacement'))(dict(img=image))


def standardize(image):
    return TRANSFORMS.build(dict(type='Standardize'))(dict(img=image))['img']


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=9)))
def test_standardize(image):
    before = image.copy()
    found = standardize(image)
    np.testing.assert_array_equal(image, before)
    assert found.dtype == np.float32 and found.shape == image.shape
    assert found.mean() == pytest.approx(0, abs=1e-4)
    exact = image.astype(np.float64)
    assert found.std() == pytest.approx(min(1, exact.std() * exact.size**0.5), abs=1e-4)
    # The map of grey levels is linear and increasing.
    np.testing.assert_allclose(found * max(exact.std(), exact.size**-0.5) + exact.mean(), exact, atol=1e-3)


def test_standardize_constant_image():
    assert not standardize(np.full((5, 4), 200, np.uint8)).any()


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
@pytest.mark.parametrize('shape', [(40, 36), (40, 36, 1), (40, 36, 2), (40, 36, 3)])
@pytest.mark.parametrize(
    'transform, size',
    [
        (dict(type='Resize', scale=(18, 20), interpolation='area'), (20, 18)),
        (dict(type='Resize', scale=(72, 80), interpolation='bicubic'), (80, 72)),
        (dict(type='RandomCrop', crop_size=32), (32, 32)),
        (dict(type='RandomCrop', crop_size=40, padding=4), (40, 40)),
        (dict(type='CenterCrop', crop_size=32), (32, 32)),
        (dict(type='RandomFlip', prob=1.0, direction='horizontal'), (40, 36)),
        (dict(type='Standardize'), (40, 36)),
    ],
)
def test_grey_images_in_pipelines(transform, size, shape, dtype):
    """mmcv and mmpretrain do not document grey and two-channel images, which the configs use."""
    image = np.random.RandomState(0).randint(0, 256, shape).astype(dtype)
    results = TRANSFORMS.build(transform)(dict(img=image, gt_label=3))
    packed = TRANSFORMS.build(dict(type='PackInputs'))(results)
    channels = shape[2] if len(shape) == 3 else 1
    assert packed['inputs'].shape == (channels, *size)
    assert packed['inputs'].is_contiguous()
    assert packed['inputs'].dtype == (
        torch.float32 if dtype == np.float32 or 'Stand' in transform['type'] else torch.uint8
    )
    assert packed['data_samples'].gt_label.tolist() == [3]


def test_area_resize_halves_by_the_mean():
    image = np.random.RandomState(0).normal(size=(96, 96, 2)).astype(np.float32)
    found = TRANSFORMS.build(dict(type='Resize', scale=(48, 48), interpolation='area'))(dict(img=image))['img']
    np.testing.assert_allclose(found, image.reshape(48, 2, 48, 2, 2).mean(axis=(1, 3)), atol=1e-5)


def test_grayscale_weighs_blue_green_red_and_passes_grey():
    transform = TRANSFORMS.build(dict(type='Grayscale'))
    bgr = np.random.RandomState(0).randint(0, 256, (5, 6, 3), np.uint8)
    grey = transform(dict(img=bgr))['img']
    assert grey.shape == (5, 6) and grey.dtype == np.uint8
    np.testing.assert_allclose(grey, bgr @ (0.114, 0.587, 0.299), atol=1)
    for shape in ((5, 6), (5, 6, 1), (5, 6, 2), (5, 3)):
        image = np.ones(shape, np.float32)
        assert transform(dict(img=image))['img'] is image
