"""Losses are recorded an iteration later, with the same logs and checkpoints."""

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.hooks import Hook, RuntimeInfoHook

from rescaps_plugin.training.runner import _Careful
from rescaps_plugin.training.runtime_info import PendingRuntimeInfoHook
from tests.training.test_checkpoints import make_runner, same


class Recorded(Hook):
    """Counts how many losses are recorded after every iteration and when checkpoints are saved."""

    priority = 'LOWEST'

    def __init__(self):
        self.after_iterations, self.at_checkpoints = [], []

    def _count(self, runner):
        return len(runner.message_hub.get_scalar('train/loss').data[0]) if self.started(runner) else 0

    @staticmethod
    def started(runner):
        return 'train/loss' in runner.message_hub.log_scalars

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.after_iterations.append(self._count(runner))

    def before_save_checkpoint(self, runner, checkpoint):
        self.at_checkpoints.append(self._count(runner))


class Saving(Hook):
    """Saves a checkpoint after the second iteration."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 1:
            runner.save_checkpoint(runner.work_dir, 'second.pth')


def trained(folder, hook, recorded, **logger):
    hooks = dict(
        runtime_info=dict(type=hook, priority='VERY_HIGH'),
        logger=dict(type='LoggerHook', **logger),
        checkpoint=dict(type='CheckpointHook', interval=1, save_best='loss'),
    )
    runner = make_runner(folder, f'{hook.__name__} {folder.name} {logger}', epochs=2, hooks=[recorded])
    for old in [item for item in runner.hooks if isinstance(item, RuntimeInfoHook)]:
        runner._hooks.remove(old)
    runner.register_hook(hooks['runtime_info'])
    next(item for item in runner.hooks if type(item).__name__ == 'LoggerHook').interval = logger['interval']
    runner.train()
    return runner


@pytest.mark.parametrize('interval', [2, 3, 100])
def test_same_history_as_mmengines_hook(tmp_path, interval):
    recorded = Recorded()
    theirs = trained(tmp_path / 'theirs', RuntimeInfoHook, Recorded(), interval=interval)
    ours = trained(tmp_path / 'ours', PendingRuntimeInfoHook, recorded, interval=interval)
    histories = [runner.message_hub.get_scalar('train/loss').data[0].tolist() for runner in (theirs, ours)]
    assert histories[0] == histories[1] and len(histories[0]) > 4
    epoch = len(histories[0]) // 2
    # One iteration late, except where a log or a checkpoint reads them.
    expected = [step if step % interval == 0 or step == epoch else step - 1 for step in range(1, epoch + 1)]
    assert recorded.after_iterations == expected + [epoch + step for step in expected]
    assert set(recorded.at_checkpoints) == {epoch, 2 * epoch}
    saved = [torch.load(runner.work_dir + '/epoch_2.pth', weights_only=True) for runner in (theirs, ours)]
    assert same(*(state['message_hub']['log_scalars']['train/loss'] for state in saved))
    assert same(saved[0]['state_dict'], saved[1]['state_dict'])


def test_checkpoint_between_logs_has_the_last_loss(tmp_path):
    for hook in (RuntimeInfoHook, PendingRuntimeInfoHook):
        trained(tmp_path / hook.__name__, hook, Saving(), interval=100)
    theirs, ours = (
        torch.load(path, weights_only=True)['message_hub'] for path in sorted(tmp_path.glob('*/second.pth'))
    )
    assert len(theirs['log_scalars']['train/loss']['log_history']) == 2
    for key in ('log_scalars', 'resumed_keys'):
        assert theirs[key].keys() == ours[key].keys()
    assert same(theirs['log_scalars']['train/loss'], ours['log_scalars']['train/loss'])


def test_runs_of_our_tools_have_it():
    class Registering:
        def register_hook(self, hook, priority=None):
            self.registered = hook

    class Runner(_Careful, Registering):
        pass

    for kind in ('RuntimeInfoHook', RuntimeInfoHook):
        runner = Runner()
        runner.register_hook(dict(type=kind))
        assert runner.registered == dict(type=PendingRuntimeInfoHook)
