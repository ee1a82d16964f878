"""The learning rate of the configs equals that of MMEngine's two schedulers, for any length of training."""

import pytest

pytest.importorskip('mmpretrain')

import torch
from mmengine.registry import PARAM_SCHEDULERS

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.training.runner import build_runner
from rescaps_plugin.training.schedules import CycleLR


def optimizer():
    parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    return torch.optim.SGD([dict(params=[parameters[0]], lr=0.1), dict(params=[parameters[1]], lr=0.01)], lr=0.1)


def rates(optimizer, schedulers, steps):
    for _ in range(steps):
        yield [group['lr'] for group in optimizer.param_groups]
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def cycle(optimizer, **options):
    return PARAM_SCHEDULERS.build(dict(type='CycleLR', by_epoch=True, **options, optimizer=optimizer))


@pytest.mark.parametrize(('epochs', 'length'), [(2, 5), (2, 391), (4, 7), (5, 4), (10, 10), (20, 3), (30, 2), (100, 1)])
def test_rate_is_that_of_two_schedulers(epochs, length):
    parts = dict(by_epoch=True, convert_to_iter_based=True, epoch_length=length)
    two = optimizer()
    border = 0.3 * epochs
    expected = [
        PARAM_SCHEDULERS.build(dict(type='LinearLR', start_factor=0.04, end=border, optimizer=two, **parts)),
        PARAM_SCHEDULERS.build(dict(type='CosineAnnealingLR', begin=border, end=epochs, optimizer=two, **parts)),
    ]
    one = optimizer()
    ours = [cycle(one, end=epochs, convert_to_iter_based=True, epoch_length=length)]
    assert not ours[0].by_epoch
    for our, their in zip(rates(one, ours, epochs * length), rates(two, expected, epochs * length), strict=True):
        assert our == pytest.approx(their, rel=1e-6, abs=1e-12)


def test_rate_without_a_rise():
    sgd = optimizer()
    first, *_, last = rates(sgd, [cycle(sgd, rise=0, end=10)], 10)
    assert first == [0.1, 0.01] and last[0] < 0.01


def test_resumed_schedule_continues():
    one, two, three = optimizer(), optimizer(), optimizer()
    whole, first, second = (cycle(each, end=10) for each in (one, two, three))
    expected = list(rates(one, [whole], 10))
    list(rates(two, [first], 4))
    second.load_state_dict(first.state_dict())
    three.load_state_dict(two.state_dict())
    assert list(rates(three, [second], 6)) == expected[4:]


@pytest.mark.parametrize(('options', 'message'), [({}, 'end must be given'), ({'rise': 1, 'end': 2}, 'rise must be')])
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        CycleLR(optimizer(), **options)


@pytest.mark.parametrize(
    'name', ['rescaps/digits', 'pointcaps/pointcaps-rpr_digitclouds', 'icon/icon-rpr_efficientnet-lite0_synthetic']
)
@pytest.mark.parametrize('epochs', [3, 7])
def test_schedule_of_a_config_follows_max_epochs(name, epochs, repository, tmp_path, capsys):
    if name.startswith('icon'):
        pytest.importorskip('mmseg')
    cfg = load_config(str(repository / 'configs' / f'{name}.py'), {'train_cfg.max_epochs': epochs})
    cfg.work_dir = str(tmp_path)
    runner = build_runner(cfg)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    (scheduler,) = runner.build_param_scheduler(runner.param_schedulers)
    assert scheduler.end == epochs * len(runner.train_dataloader)
    assert 'disagree' not in capsys.readouterr().out
