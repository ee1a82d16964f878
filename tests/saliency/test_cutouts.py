"""Cut-outs: opacity, colours and backgrounds."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

pytest.importorskip('mmseg')
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.saliency.boundary import score_boundary
from rescaps_plugin.saliency.cutouts import SOLVED_SIDE, blend, cutout, estimate_foreground, refine_edge

needs_pymatting = pytest.mark.usefixtures('pymatting')
SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


@pytest.fixture(scope='module')
def pymatting():
    return pytest.importorskip('pymatting', reason="needs pip install '.[cutout]'")


def make_scene(side, shift, band, seed=0):
    """Return a disc on a texture, its mask, and its map, moved by ``shift`` and with an edge of ``band`` pixels."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[:side, :side]
    mask = np.hypot(x - side / 2, y - side / 2) < side / 4
    texture = cv2.resize(random.randint(0, 100, (side // 8, side // 8, 3)).astype(np.uint8), (side, side))
    image = np.where(mask[..., None], np.uint8([20, 120, 220]), texture + np.uint8([120, 60, 0]))
    image = np.clip(image + random.randint(-4, 5, image.shape), 0, 255).astype(np.uint8)
    distance = np.hypot(x - side / 2 - shift, y - side / 2) - side / 4
    return image, mask, np.rint(255 * np.clip(0.5 - distance / band, 0, 1)).astype(np.uint8)


def boundary_errors(image, mask, saliency):
    """Return fractions of misplaced boundaries, at 1 pixel, and mean errors of the opacity, of the map and refined."""
    levels = (saliency, refine_edge(image, saliency))
    return [(1 - score_boundary(each, mask)['BF@1'], abs(each / 255 - mask).mean()) for each in levels]


@given(hnp.arrays(np.uint8, (*[6, 5], 3)), hnp.arrays(np.uint8, (6, 5)), hnp.arrays(np.uint8, (6, 5)))
def test_plain_cutout_is_the_image_and_its_map(image, saliency, alpha):
    cut = cutout(image, saliency)
    np.testing.assert_array_equal(cut, np.dstack([image, saliency]))
    cut = cutout(image, saliency, alpha)
    np.testing.assert_array_equal(cut[..., :3], image)
    np.testing.assert_allclose(cut[..., 3], saliency * (alpha / 255), atol=0.5)


@needs_pymatting
@pytest.mark.parametrize('shift', [2, -3])
def test_edge_moves_to_that_of_the_image(shift):
    (plain, plain_mae), (refined, refined_mae) = boundary_errors(*make_scene(256, shift, 12))
    assert plain > 0.3 and refined < plain / 20
    assert refined_mae < plain_mae / 4


@needs_pymatting
def test_edge_of_an_image_larger_than_the_solution():
    """The edge of the map is blurred over 60 pixels and off by 12; that of the opacity is where the image's is."""
    image, mask, saliency = make_scene(4 * SOLVED_SIDE, 12, 60)
    (plain, plain_mae), (refined, refined_mae) = boundary_errors(image, mask, saliency)
    assert plain > 0.8 and refined < 0.01
    assert refined_mae < plain_mae / 4


@needs_pymatting
@given(st.integers(0, 99), st.integers(-3, 3), st.integers(1, 12))
@settings(max_examples=10)
def test_certain_pixels_keep_their_opacity(seed, shift, band):
    image, _, saliency = make_scene(96, shift, band, seed)
    refined = refine_edge(image, saliency)
    window = np.ones((5, 5), np.uint8)
    inside, outside = cv2.erode(saliency, window) == 255, cv2.dilate(saliency, window) == 0
    assert inside.any() and outside.any()
    assert (refined[inside] == 255).all() and (refined[outside] == 0).all()


@needs_pymatting
@given(SHAPES, st.sampled_from([0, 10, 128, 200, 255]))
@settings(max_examples=30)
def test_maps_of_one_level(shape, level):
    image = np.random.RandomState(0).randint(0, 256, (*shape, 3)).astype(np.uint8)
    saliency = np.full(shape, level, np.uint8)
    cut = cutout(image, saliency, refine=True)
    assert cut.dtype == np.uint8 and cut.shape == (*shape, 4)
    np.testing.assert_array_equal(cut[..., :3], image)
    assert abs(cut[..., 3].astype(int) - (0 if level == 10 else level)).max() <= 1


@needs_pymatting
@given(st.data())
@settings(max_examples=30)
def test_small_images_and_any_map(data):
    shape = data.draw(SHAPES)
    image, saliency, alpha = (data.draw(hnp.arrays(np.uint8, size)) for size in ((*shape, 3), shape, shape))
    given_arrays = [each.copy() for each in (image, saliency, alpha)]
    cut = cutout(image, saliency, alpha, refine=True)
    assert cut.dtype == np.uint8 and cut.shape == (*shape, 4)
    assert (cut[..., 3] <= alpha).all()
    # The arguments are not changed.
    for before, after in zip(given_arrays, (image, saliency, alpha), strict=True):
        np.testing.assert_array_equal(before, after)


@needs_pymatting
def test_own_opacity_is_a_factor():
    image, _, saliency = make_scene(64, 0, 8)
    alpha = np.full(saliency.shape, 102, np.uint8)
    refined, both = cutout(image, saliency, refine=True), cutout(image, saliency, alpha, refine=True)
    np.testing.assert_array_equal(refined[..., :3], both[..., :3])
    np.testing.assert_allclose(both[..., 3], refined[..., 3] * 0.4, atol=0.5)


@needs_pymatting
def test_channel_order_is_kept():
    image, _, saliency = make_scene(64, 1, 8)
    first = cutout(image, saliency, refine=True)
    second = cutout(np.ascontiguousarray(image[..., ::-1]), saliency, refine=True)
    np.testing.assert_allclose(first[..., [2, 1, 0, 3]].astype(int), second.astype(int), atol=1)


@needs_pymatting
def test_foreground_of_a_composite():
    """Where a known opacity mixes two known pictures, the colours become those of the foreground."""
    side = 120
    y, x = np.mgrid[:side, :side] / side
    foreground = np.dstack([60 + 60 * x, 200 - 40 * y, np.full_like(x, 40)])
    background = np.dstack([220 - 60 * y, 20 + 60 * x, 200 + 40 * y])
    opacity = np.rint(255 * np.clip((0.4 - np.hypot(x - 0.5, y - 0.5)) / 0.2, 0, 1)).astype(np.uint8)
    share = opacity[..., None] / 255
    image = np.rint(share * foreground + (1 - share) * background).astype(np.uint8)
    found = estimate_foreground(image, opacity)
    edge = (opacity > 25) & (opacity < 255)
    before, after = (abs(each[edge] - foreground[edge]).mean() for each in (image, found))
    assert before > 40 and after < before / 10
    np.testing.assert_array_equal(found[opacity == 255], image[opacity == 255])
    # On the old background the composite is the image again; on another one it has no trace of the old.
    green = np.array([0, 255, 0])
    composite = blend(np.dstack([found, opacity]), green)
    assert abs(composite - (share * foreground + (1 - share) * green))[edge].mean() < 3


def test_blend():
    image = np.zeros((1, 3, 4), np.uint8)
    image[0, :, :3], image[0, :, 3] = (10, 20, 30), (0, 51, 255)
    assert blend(image, (200, 100, 0))[0].tolist() == [[200, 100, 0], [162, 84, 6], [10, 20, 30]]


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pymatting', None)
    image, _, saliency = make_scene(64, 0, 8)
    cutout(image, saliency)
    with pytest.raises(UserError, match=r"pymatting is not installed: pip install '\.\[cutout\]'"):
        cutout(image, saliency, refine=True)
    with pytest.raises(UserError, match='pymatting is not installed'):
        estimate_foreground(image, saliency)
