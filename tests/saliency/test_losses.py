"""Saliency losses with the call signature of mmsegmentation's heads."""

import pytest
import torch
from mmseg.registry import MODELS

import rescaps_plugin.saliency  # noqa: F401
from rescaps_plugin.losses import bce_iou_loss, bce_loss, contour_iou_loss, structure_loss

LOSSES = {
    'BCELoss': (bce_loss, 'loss_ce'),
    'BCEIoULoss': (bce_iou_loss, 'loss_bce_iou'),
    'StructureLoss': (structure_loss, 'loss_structure'),
    'ContourIoULoss': (contour_iou_loss, 'loss_contour_iou'),
}


def maps():
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(2, 1, 12, 9, generator=generator)
    return logit, (torch.rand(2, 12, 9, generator=generator) > 0.5).long()


@pytest.mark.parametrize('name', LOSSES)
def test_registered_loss_is_the_function_weighted(name):
    function, log_name = LOSSES[name]
    loss, (logit, label) = MODELS.build(dict(type=name, loss_weight=0.5)), maps()
    assert loss.loss_name == log_name
    assert loss(logit, label).item() == pytest.approx(0.5 * function(logit, label[:, None]).item())
    assert MODELS.build(dict(type=name, loss_name='loss_x')).loss_name == 'loss_x'


@pytest.mark.parametrize('name', LOSSES)
def test_two_logits_equal_their_difference(name):
    loss, (logit, label) = MODELS.build(dict(type=name)), maps()
    two = torch.cat([torch.full_like(logit, 3.0), logit + 3], dim=1)
    assert loss(two, label).item() == pytest.approx(loss(logit, label).item(), rel=1e-5)


@pytest.mark.parametrize('name', LOSSES)
def test_ignored_and_unweighted_pixels(name):
    function, _ = LOSSES[name]
    loss, (logit, label) = MODELS.build(dict(type=name)), maps()
    valid = torch.ones_like(logit)
    valid[:, :, 7:] = 0
    ignored = label.clone()
    ignored[:, 7:] = 255
    expected = function(logit, ignored[:, None] == 1, valid).item()
    assert loss(logit, ignored).item() == pytest.approx(expected)
    assert loss(logit, ignored, ignore_index=None).item() != pytest.approx(expected)
    weighted = function(logit, label[:, None], valid).item()
    assert loss(logit, label, weight=valid[:, 0]).item() == pytest.approx(weighted)


def test_arguments_reach_the_loss():
    logit, label = maps()
    loss = MODELS.build(dict(type='StructureLoss', window=3, emphasis=1.0))
    assert loss(logit, label).item() == pytest.approx(structure_loss(logit, label[:, None], None, 3, 1.0).item())
