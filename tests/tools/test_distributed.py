"""Two processes equal one with twice the batch size; if one dies, the other does not wait for it."""

import signal

import pytest
import torch

pytest.importorskip('mmpretrain')

from tests.processes import run, run_together
from tests.tools.small import CLOUDS, DIGITS, SALIENCY, write

# Batch normalisation is synchronised only on GPUs, so that here it must not use batch statistics. In evaluation
# mode, the point decoder's grid is fixed too.
FROZEN = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module(force=True)
class Frozen(Hook):
    def before_train_iter(self, runner, *args, **kwargs):
        runner.model.eval()
"""

SAME_FOR_BOTH = """
custom_imports = dict(imports=['rescaps_plugin.training', {package!r}, 'frozen'])
custom_hooks = [dict(type='Frozen')]
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01))
param_scheduler = []
"""

# Config, batch size, and number of validation samples: both processes get the last one.
DOMAINS = {'classification': (DIGITS, 16, 19), 'saliency': (SALIENCY, 8, 5), 'pointcloud': (CLOUDS, 8, 9)}

SHARDED = """
_base_ = './small.py'
runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        auto_wrap_policy=dict(type='torch.distributed.fsdp.wrap.size_based_auto_wrap_policy', min_num_params=1000)),
    state_dict_cfg='full')
"""


@pytest.mark.slow
def test_sharded_processes_equal_one_and_resume(tmp_path, repository):
    write(tmp_path, repository, DIGITS + SAME_FOR_BOTH, package='rescaps_plugin.classification')
    (tmp_path / 'frozen.py').write_text(FROZEN)
    (tmp_path / 'sharded.py').write_text(SHARDED)
    one = run('train', 'small.py', '--work-dir', 'one', folder=tmp_path)
    assert one.code == 0, one.output

    two = 'sharded.py', '--work-dir', 'two', '--resume', '--cfg-options', 'train_dataloader.batch_size=8'
    for ended in run_together('train', *two, folder=tmp_path, prepare=('signal_at', 'iteration', 5)):
        assert ended.code == -9 or 'another process' in ended.output
    resumed = run_together('train', *two, folder=tmp_path)
    assert [finished.code for finished in resumed] == [0, 0], resumed[0].output + resumed[1].output
    assert 'resumed epoch: 1, iter: 3' in resumed[0].output
    one, two = (torch.load(tmp_path / name / 'epoch_3.pth', weights_only=True) for name in ('one', 'two'))
    assert one['meta']['epoch'] == two['meta']['epoch'] == 3 and one['meta']['iter'] == two['meta']['iter'] == 9
    for key, value in one['state_dict'].items():
        torch.testing.assert_close(two['state_dict'][key], value, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('domain', DOMAINS)
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path, repository, domain):
    text, batch_size, validated = DOMAINS[domain]
    write(tmp_path, repository, text + SAME_FOR_BOTH, sampler='DefaultSampler', package=f'rescaps_plugin.{domain}')
    (tmp_path / 'frozen.py').write_text(FROZEN)

    def arguments(folder, batch):
        size = 'num_images' if domain == 'saliency' else 'indices'
        options = (
            'default_hooks.checkpoint.max_keep_ckpts=-1',
            f'train_dataloader.batch_size={batch}',
            f'val_dataloader.dataset.{size}={validated}',
        )
        return 'small.py', '--work-dir', folder, '--cfg-options', *options

    one = run('train', *arguments('one', batch_size), folder=tmp_path)
    assert one.code == 0, one.output
    for finished in run_together('train', *arguments('two', batch_size // 2), folder=tmp_path):
        assert finished.code == 0, finished.output

    one, two = (torch.load((tmp_path / name / 'last_checkpoint').read_text()) for name in ('one', 'two'))
    assert one['meta']['iter'] == two['meta']['iter'] == 9
    start = torch.load(next(tmp_path.glob('one/[ei]*_[13].pth')))['state_dict']
    assert max((value - start[key]).abs().max() for key, value in one['state_dict'].items()) > 1e-3
    for key, value in one['state_dict'].items():
        torch.testing.assert_close(
            two['state_dict'][key], value, rtol=0, atol=1e-5, msg=lambda text, key=key: f'{key}: {text}'
        )
    scalars = [each['message_hub']['log_scalars'] for each in (one, two)]
    metrics = [key for key in scalars[0] if key.startswith('val/') and 'time' not in key]
    assert metrics
    for key in metrics:
        torch.testing.assert_close(scalars[1][key]['log_history'], scalars[0][key]['log_history'], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_signal_to_one_process_stops_all_and_another_number_resumes(tmp_path, repository):
    write(tmp_path, repository, DIGITS + SAME_FOR_BOTH, package='rescaps_plugin.classification')
    (tmp_path / 'frozen.py').write_text(FROZEN)
    one = run('train', 'small.py', '--work-dir', 'one', folder=tmp_path)
    assert one.code == 0, one.output

    def arguments(batch):
        return 'small.py', '--work-dir', 'two', '--resume', '--cfg-options', f'train_dataloader.batch_size={batch}'

    stop = 'signal_rank', 1, 'iteration', 4, signal.SIGTERM
    ends = run_together('train', *arguments(8), folder=tmp_path, prepare=stop)
    assert [ended.code for ended in ends] == [143, 143], ends[0].output + ends[1].output
    assert 'stopped by SIGTERM at iteration 5: ' in ends[0].output.strip().split('\n')[-1]
    assert torch.load(tmp_path / 'two' / 'iter_5.pth', weights_only=True)['meta']['iter'] == 5

    # Continue with one process, and again with two.
    alone = run('train', *arguments(16), folder=tmp_path, prepare=('signal_at', 'iteration', 3, signal.SIGTERM))
    assert alone.code == 143, alone.output
    assert 'resumed epoch: 1, iter: 5' in alone.output
    ends = run_together('train', *arguments(8), folder=tmp_path)
    assert [ended.code for ended in ends] == [0, 0], ends[0].output + ends[1].output
    one, two = (torch.load(tmp_path / name / 'epoch_3.pth', weights_only=True) for name in ('one', 'two'))
    for key, value in one['state_dict'].items():
        torch.testing.assert_close(two['state_dict'][key], value, rtol=0, atol=1e-5)


def test_changed_batch_is_refused(tmp_path, repository):
    write(tmp_path, repository, DIGITS)
    killed = run('train', 'small.py', '--work-dir', 'run', folder=tmp_path, prepare=('signal_at', 'iteration', 5))
    assert killed.code == -9
    options = '--resume', '--cfg-options', 'train_dataloader.batch_size=8'
    refused = run('train', 'small.py', '--work-dir', 'run', *options, folder=tmp_path)
    last_line = refused.output.strip().split('\n')[-1]
    assert refused.code == 1
    assert last_line.startswith('error: training cannot go on from checkpoint ') and 'load_from=' in last_line
    assert 'an epoch had 3 iterations and has 5, since the batch over all processes was 16 and is 8' in last_line


def test_one_process_dies(tmp_path, repository):
    write(tmp_path, repository, DIGITS)
    ends = run_together('train', 'small.py', folder=tmp_path, prepare=('signal_rank', 1, 'iteration', 3))
    assert ends[1].code == -9
    assert ends[0].code == 1
    assert 'error: another process of this job ended' in ends[0].output.strip().split('\n')[-1]
