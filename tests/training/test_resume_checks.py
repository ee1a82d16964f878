"""Messages and errors of ``--resume`` where a checkpoint and the config differ."""

import re

import pytest
import torch

pytest.importorskip('mmengine')

from rescaps_plugin.training.checkpoint_reader import CheckpointError
from rescaps_plugin.training.resume import ResumeHook
from tests.training.test_checkpoints import make_runner


@pytest.fixture
def checkpoint(tmp_path):
    runner = make_runner(tmp_path / 'trained', f'trained {tmp_path.name}', epochs=2)
    runner.register_hook(ResumeHook())
    runner.train()
    return tmp_path / 'trained' / 'epoch_1.pth'


@pytest.fixture
def resume(tmp_path, checkpoint):
    """Resume from a changed checkpoint with a changed config, and return the log."""

    def resume(change=lambda content: None, configure=lambda runner: None):
        content = torch.load(checkpoint, weights_only=True)
        change(content)
        torch.save(content, tmp_path / 'changed.pth')
        folder = tmp_path / 'resumed'
        name = f'resumed {tmp_path.name}'
        runner = make_runner(folder, name, epochs=2, resume=True, load_from=str(tmp_path / 'changed.pth'))
        runner.register_hook(ResumeHook())
        configure(runner)
        runner.train()
        (log,) = folder.glob('*/*.log')
        return log.read_text()

    return resume


# Older checkpoints do not name their precision.
@pytest.mark.parametrize('change', [lambda c: None, lambda c: c['resume']['plan'].pop('precision')])
def test_logs_what_is_resumed(resume, change):
    log = resume(change)
    assert re.search('Resumed from .*changed.pth: weights, state of the optimizer and of 1 parameter schedules', log)
    assert 'best score so far' in log and 'Not resumed as configured' not in log


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c.pop('optimizer'), 'no state of the optimizer'),
        (lambda c: c.update(optimizer=[1]), 'no state of the optimizer'),
        (lambda c: c['optimizer'].pop('param_groups'), 'state of the optimizer is not as it was saved'),
        (lambda c: c['optimizer']['param_groups'].append({}), 'groups of .* parameters'),
        (lambda c: c['optimizer'].update(state=[1]), 'state of the optimizer is not as it was saved'),
        (lambda c: c['optimizer']['state'].update({9: {}}), 'state of a parameter that the model has not'),
        (lambda c: c['optimizer']['state'][0].update(exp_avg=torch.zeros(7)), r'has exp_avg of shape .*\[7\]'),
        (lambda c: c['optimizer']['param_groups'][0].pop('betas'), 'its optimizer has no betas, as Adam'),
        (lambda c: c['optimizer']['param_groups'][0]['params'].pop(), r'groups of \[1\] parameters, .* of \[2\]'),
        (lambda c: c.pop('param_schedulers'), 'no state of the parameter schedule'),
        (lambda c: c['param_schedulers'].append({}), 'has 2 parameter schedules, and the config has 1'),
        (lambda c: c['param_schedulers'][0].pop('total_steps'), 'of another kind than OneCycleLR'),
        (lambda c: c.pop('meta'), 'its meta.epoch is None'),
        (lambda c: c['meta'].update(iter=-1), 'its meta.iter is -1'),
        (lambda c: c['meta'].update(epoch='1'), "its meta.epoch is '1'"),
        (lambda c: c['meta'].update(seed='x'), "its meta.seed is 'x'"),
        (lambda c: c.pop('message_hub'), 'message_hub has no log_scalars'),
        (lambda c: c['message_hub'].update(runtime_info=[]), 'message_hub has no runtime_info'),
        (lambda c: c['message_hub']['runtime_info'].update(best_score='x'), 'best_score is'),
        (
            lambda c: c['message_hub']['log_scalars']['train/loss'].pop('log_history'),
            'log history .*not as it was',
        ),
        (lambda c: c.update(resume=[1]), 'place in the epoch is not as it was saved'),
        (lambda c: c['resume'].update(batches_done='2'), 'place in the epoch is not as it was saved'),
        (lambda c: c['resume'].update(gradients={'x': torch.zeros(1)}), 'a gradient of no parameter: x'),
        (lambda c: c['resume']['plan'].update(optimizer='SGD'), 'its optimizer is SGD, and that of the config Adam'),
    ],
)
def test_refuses(resume, change, message):
    with pytest.raises(CheckpointError, match=f'(?s){message}'):
        resume(change)


def test_another_number_of_iterations_to_an_epoch(resume):
    def change(content):
        content['resume']['plan'].update(batch_size=16, iterations_per_epoch=2)

    message = 'an epoch had 2 iterations and has 3.*load_from='
    with pytest.raises(CheckpointError, match=message):
        resume(change)


def test_warns_of_changed_settings(resume):
    def configure(runner):
        runner.optim_wrapper['optimizer'].update(lr=0.5, weight_decay=0.1)
        runner.param_schedulers.update(eta_max=0.7, end=9)

    def change(content):
        content['resume']['plan'].update(accumulative_counts=2, precision='bfloat16')

    log = resume(change, configure)
    for difference in (
        r'weight_decay of the optimizer is 0\.1 in the config; training keeps 0 ',
        r'eta_max of parameter schedule 0 \(OneCycleLR\) is 0\.7 in the config; training keeps 0\.1 ',
        r'end of parameter schedule 0 \(OneCycleLR\) is 9 in the config; training keeps 2 ',
        'accumulative_counts was 2 and is 1',
        'precision was bfloat16 and is float32',
    ):
        assert re.search(f'Not resumed as configured: {difference}.*load_from=', log), difference
