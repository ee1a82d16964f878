"""Affine transforms of images compared with equivalent operations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmpretrain.registry import TRANSFORMS

from rescaps_plugin.classification.transforms.affine import place_affine
from rescaps_plugin.classification.transforms.warp import AffineWarp, warp_affine


def smooth(height=24, width=24):
    """A smooth off-centre bump, which interpolation blurs little."""
    rows, columns = np.mgrid[:height, :width]
    return np.exp(-((rows - 8) ** 2 + (columns - 13) ** 2) / 18).astype(np.float32)


def test_a_quarter_turn_is_exact_and_counter_clockwise():
    image = np.random.RandomState(0).randint(0, 256, (9, 9, 3), np.uint8)
    np.testing.assert_array_equal(warp_affine(image, rotation=90), np.rot90(image))


@given(st.integers(-4, 4), st.integers(-4, 4))
def test_whole_pixels_of_translation_move_the_image_and_fill(down, right):
    image = np.random.RandomState(0).rand(8, 10).astype(np.float32)
    padded = np.pad(image, 4, constant_values=7)
    expected = padded[4 - down : 12 - down, 4 - right : 14 - right]
    np.testing.assert_allclose(warp_affine(image, translation=(down, right), fill=7), expected, atol=1e-6)


@pytest.mark.parametrize('name', ['uint8', 'float32'])
@pytest.mark.parametrize('shape', [(6, 5), (6, 5, 1), (6, 5, 2), (6, 5, 3)])
def test_identity_returns_the_image(name, shape):
    image = np.random.RandomState(0).randint(0, 256, shape).astype(name)
    warped = warp_affine(image)
    assert warped.dtype == image.dtype
    np.testing.assert_array_equal(warped, image)


@given(st.floats(-80, 80))
def test_rotation_and_inverse_rotation(angle):
    image = smooth()
    turned = warp_affine(image, rotation=angle)
    np.testing.assert_allclose(warp_affine(turned, rotation=-angle), image, atol=0.06)


def test_agrees_with_the_transform_of_affnist():
    """Transforming a centred digit equals placing the digit at the centre by ``place_affine``."""
    digit = np.rint(255 * smooth()[2:16, 6:22]).astype(np.uint8)
    canvas = np.zeros((40, 40), np.uint8)
    canvas[13:27, 12:28] = digit
    parameters = dict(rotation=17, shear=0.15, scale=(1.1, 0.9))
    placed = place_affine(digit, 40, **parameters).astype(np.float32)
    warped = warp_affine(canvas, **parameters).astype(np.float32)
    centres = [
        np.array([(axis * image).sum() / image.sum() for axis in np.mgrid[:40, :40]]) for image in (placed, warped)
    ]
    moved = warp_affine(warped, translation=centres[0] - centres[1])
    assert np.abs(moved - placed).max() < 12


def test_scale_has_a_factor_for_height_and_one_for_width():
    image = np.zeros((20, 20), np.float32)
    image[8:12, 8:12] = 1
    rows, columns = np.nonzero(warp_affine(image, scale=(2, 0.5)) > 0.5)
    assert np.ptp(rows) + 1 == 8 and np.ptp(columns) + 1 == 2


def test_draws_depend_only_on_seed_and_sample():
    warp = TRANSFORMS.build(dict(type='AffineWarp', rotation=(-40, 40), scale=(0.8, 1.2), translation=0.1, seed=3))

    def image(index, transform=warp):
        return transform(dict(img=smooth(), sample_idx=index))['img']

    first, second = image(0), image(1)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(image(0), first)
    np.testing.assert_array_equal(image(1), second)
    assert not np.array_equal(
        image(0, AffineWarp(rotation=(-40, 40), scale=(0.8, 1.2), translation=0.1, seed=4)), first
    )


def test_range_of_one_value_is_deterministic():
    warp = AffineWarp(rotation=(30, 30), fill=5, seed=1)
    expected = warp_affine(smooth(), rotation=30, fill=5)
    for index in range(3):
        np.testing.assert_array_equal(warp(dict(img=smooth(), sample_idx=index))['img'], expected)
    assert repr(warp) == (
        'AffineWarp(rotation=(30, 30), shear=(0.0, 0.0), scale=(1.0, 1.0), translation=0.0, fill=5, seed=1)'
    )
