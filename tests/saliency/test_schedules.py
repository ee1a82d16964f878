"""ICON's learning rate: formula, by epoch and iteration, and resumed."""

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

import rescaps_plugin.saliency  # noqa: F401


def optimizer():
    parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    return torch.optim.SGD([dict(params=[parameters[0]], lr=0.1), dict(params=[parameters[1]], lr=0.01)], lr=0.1)


def rates(scheduler, steps):
    for _ in range(steps):
        yield [group['lr'] for group in scheduler.optimizer.param_groups]
        scheduler.optimizer.step()
        scheduler.step()


@pytest.mark.parametrize('epochs', [1, 2, 7, 60])
def test_rate_rises_and_falls(epochs):
    scheduler = PARAM_SCHEDULERS.build(dict(type='TriangularLR', optimizer=optimizer(), begin=0, end=epochs))
    for epoch, (head, backbone) in enumerate(rates(scheduler, epochs)):
        factor = 1 - abs(2 * (epoch + 1) / (epochs + 1) - 1)
        assert head == pytest.approx(0.1 * factor)
        assert backbone == pytest.approx(0.01 * factor)


def test_rate_by_iteration_has_the_same_shape():
    cfg = dict(type='TriangularLR', begin=0, end=3, by_epoch=True, convert_to_iter_based=True, epoch_length=5)
    scheduler = PARAM_SCHEDULERS.build(dict(cfg, optimizer=optimizer()))
    assert not scheduler.by_epoch
    expected = [0.1 * (1 - abs(2 * (step + 1) / 16 - 1)) for step in range(15)]
    assert [head for head, _ in rates(scheduler, 15)] == pytest.approx(expected)


def test_resumed_schedule_continues():
    def build():
        return PARAM_SCHEDULERS.build(dict(type='TriangularLR', optimizer=optimizer(), begin=0, end=10))

    whole, first, second = build(), build(), build()
    expected = list(rates(whole, 10))
    list(rates(first, 4))
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert list(rates(second, 6)) == expected[4:]


def test_schedule_needs_an_end():
    with pytest.raises(ValueError, match='end must be given'):
        PARAM_SCHEDULERS.build(dict(type='TriangularLR', optimizer=optimizer()))
