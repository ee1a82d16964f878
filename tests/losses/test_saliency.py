"""Saliency losses: worked cases, formulas on random maps, gradients, ignored pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import sobel, uniform_filter

from rescaps_plugin.losses import (
    BCEIoULoss,
    ContourIoULoss,
    StructureLoss,
    bce_iou_loss,
    contour_iou_loss,
    iou_loss,
    structure_loss,
)

LOSSES = (iou_loss, bce_iou_loss, structure_loss, contour_iou_loss)
sizes = st.tuples(st.integers(1, 3), st.just(1), st.integers(1, 20), st.integers(1, 20))


def random_maps(size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logit = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    return logit, (torch.rand(size, generator=generator) > 0.6).double()


def square(side=40, margin=12):
    mask = torch.zeros(1, 1, side, side)
    mask[:, :, margin:-margin, margin:-margin] = 1
    return mask


@given(sizes, st.integers(0, 100))
def test_bce_iou_is_its_formula_per_image(size, seed):
    logit, mask = random_maps(size, seed)
    p, g = 1 / (1 + np.exp(-logit.numpy())), mask.numpy()
    expected = []
    for a, b in zip(p, g, strict=True):
        cross_entropy = -(b * np.log(a) + (1 - b) * np.log(1 - a)).mean()
        expected.append(cross_entropy + 1 - ((a * b).sum() + 1) / ((a + b - a * b).sum() + 1))
    assert bce_iou_loss(logit, mask).item() == pytest.approx(np.mean(expected), rel=1e-9)


@given(sizes, st.integers(0, 100), st.sampled_from([1, 5, 31]))
def test_structure_loss_is_its_formula_per_image(size, seed, window):
    logit, mask = random_maps(size, seed)
    p, g = 1 / (1 + np.exp(-logit.numpy()[:, 0])), mask.numpy()[:, 0]
    expected = []
    for a, b in zip(p, g, strict=True):
        w = 1 + 5 * np.abs(uniform_filter(b, window, mode='constant') - b)
        cross_entropy = -(w * (b * np.log(a) + (1 - b) * np.log(1 - a))).sum() / w.sum()
        intersection, union = (w * a * b).sum(), (w * (a + b - a * b)).sum()
        expected.append(cross_entropy + 1 - (intersection + 1) / (union + 1))
    assert structure_loss(logit, mask, window=window).item() == pytest.approx(np.mean(expected), rel=1e-6)


@given(sizes, st.integers(0, 100))
def test_contour_iou_is_its_formula_per_image(size, seed):
    logit, mask = random_maps(size, seed)

    def contour(image):
        return np.tanh(np.hypot(sobel(image, 0, mode='nearest'), sobel(image, 1, mode='nearest')))

    expected = []
    for a, b in zip(torch.sigmoid(logit).numpy()[:, 0], mask.numpy()[:, 0], strict=True):
        a, b = contour(a), contour(b)
        expected.append(1 - (2 * (a * b).sum() + 1e-6) / ((a**2).sum() + (b**2).sum() + 1e-6))
    assert contour_iou_loss(logit, mask).item() == pytest.approx(np.mean(expected), abs=1e-9)


@pytest.mark.parametrize('loss', LOSSES)
def test_loss_of_a_correct_map_is_zero_and_of_an_inverted_one_large(loss):
    mask = square()
    right = 40 * (2 * mask - 1)
    assert loss(right, mask).item() == pytest.approx(0, abs=1e-6)
    if loss is contour_iou_loss:
        # The inverted mask has the same contour; that of a shifted one is elsewhere.
        assert loss(-right, mask).item() == pytest.approx(0, abs=1e-6)
        assert loss(right.roll(8, dims=2), mask) > 0.4
    else:
        assert loss(-right, mask) > 0.99


def test_structure_loss_weights_errors_at_the_contour_more():
    mask = square()
    right = 40 * (2 * mask - 1)
    near, far = right.clone(), right.clone()
    near[0, 0, 11, 20] = 40
    far[0, 0, 0, 0] = 40
    assert structure_loss(near, mask) > 1.5 * structure_loss(far, mask)
    assert bce_iou_loss(near, mask).item() == pytest.approx(bce_iou_loss(far, mask).item())


@pytest.mark.parametrize('loss', LOSSES)
@pytest.mark.parametrize('value', [0.0, 1.0])
def test_empty_and_full_masks_have_a_finite_loss_and_gradient(loss, value):
    for scale in (0.0, 1.0, 200.0):
        logit = (scale * torch.randn(2, 1, 9, 7, generator=torch.Generator().manual_seed(0))).requires_grad_()
        result = loss(logit, torch.full((2, 1, 9, 7), value))
        result.backward()
        assert torch.isfinite(result)
        assert torch.isfinite(logit.grad).all()


@pytest.mark.parametrize('loss', LOSSES)
def test_gradient_is_the_slope(loss):
    logit, mask = random_maps((2, 1, 5, 6), seed=3)
    assert torch.autograd.gradcheck(lambda x: loss(x, mask), logit.requires_grad_())


@pytest.mark.parametrize('loss', LOSSES)
def test_ignored_pixels_have_no_effect(loss):
    logit, mask = random_maps((2, 1, 12, 10), seed=5)
    valid = torch.ones_like(mask)
    valid[:, :, 8:] = 0
    # A contour reads the neighbours of its pixels: those beside the edge are the same in both.
    kept = 8 + (loss is contour_iou_loss)
    other_logit, other_mask = logit.clone(), mask.clone()
    other_logit[:, :, kept:] = 7
    other_mask[:, :, 8:] = 1 - other_mask[:, :, 8:]
    assert loss(logit, mask, valid).item() == pytest.approx(loss(other_logit, other_mask, valid).item())
    assert loss(logit, mask).item() != pytest.approx(loss(other_logit, other_mask).item())


@pytest.mark.parametrize('loss', [iou_loss, bce_iou_loss])
def test_ignored_padding_equals_no_padding(loss):
    logit, mask = random_maps((1, 1, 8, 10), seed=6)
    padded = [torch.nn.functional.pad(x, (0, 3, 0, 4), value=1) for x in (logit, mask)]
    valid = torch.nn.functional.pad(torch.ones_like(mask), (0, 3, 0, 4))
    assert loss(*padded, valid).item() == pytest.approx(loss(logit, mask).item())


@pytest.mark.parametrize('loss', LOSSES)
def test_half_precision_logits_are_compared_in_single_precision(loss):
    mask = torch.ones(1, 1, 300, 300)
    logit = torch.full_like(mask, 2.0)
    with torch.autocast('cpu', torch.bfloat16):
        half = loss(logit.bfloat16(), mask)
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(loss(logit, mask).item(), rel=1e-5)


@pytest.mark.parametrize(
    ('module', 'function'),
    [(BCEIoULoss(), bce_iou_loss), (StructureLoss(), structure_loss), (ContourIoULoss(), contour_iou_loss)],
)
def test_modules_are_their_functions(module, function):
    logit, mask = random_maps((2, 1, 9, 9))
    assert module(logit, mask) == function(logit, mask)


def test_mismatched_shapes_are_named():
    with pytest.raises(ValueError, match=r'\(1, 1, 4, 4\) and \(1, 4, 4\)'):
        bce_iou_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match='valid'):
        iou_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 5))
    with pytest.raises(ValueError, match='window must be odd, got 4'):
        structure_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), window=4)
