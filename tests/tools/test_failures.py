"""Failures of the machine and of other processes during training.

==================================  =====  ===================================================================
failure                             exit   what is said and what stays
==================================  =====  ===================================================================
SIGKILL, in a save too              -9     nothing; ``--resume`` ends with the same weights (test_resume.py)
Ctrl-C, in a save too               130    that it was interrupted and ``--resume`` goes on
SIGTERM, SIGHUP                     143    the checkpoint that is saved between two iterations; 129 for SIGHUP
another training in the folder      1      its process and machine
a data loading worker is killed     1      which signal killed it, and what takes less memory
data deleted in the midst           1      the file that is gone
disk full                           1      the file that could not be written; the one before stays the latest
work directory cannot be written    1      its path
loss not finite                     1      iteration, learning rate, samples; the last good checkpoint stays
another process of the job dies     1      that it did (test_distributed.py)
latest checkpoint torn              0      that it is skipped; the one before is taken (test_checkpoints.py)
checkpoint torn, foreign, diverged  1      which, and why it is refused (test_checkpoints.py)
==================================  =====  ===================================================================
"""

import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmpretrain')

from tests.processes import run, start, wait
from tests.tools.small import CLOUDS, DIGITS, write
from tests.tools.test_resume import ACCUMULATED, WORKERS, same

NO_VALIDATION = '--no-validate', '--work-dir', 'run'


@pytest.fixture
def config(tmp_path, repository):
    """Write a config of digits with epochs of three iterations to an empty folder."""

    def prepare(more=''):
        write(tmp_path, repository, DIGITS + more)
        return tmp_path

    return prepare


def check_first_epoch_is_whole(folder):
    """Return whether the first checkpoint is the latest, and training can be resumed from it."""
    assert (folder / 'run' / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    assert torch.load(folder / 'run' / 'epoch_1.pth', weights_only=True)['meta']['iter'] == 3
    assert not list(folder.glob('run/.*'))


def test_interrupt(config):
    folder = config()
    finished = run(
        'train', 'small.py', *NO_VALIDATION, folder=folder, prepare=('signal_at', 'iteration', 5, signal.SIGINT)
    )
    assert finished.code == 130
    assert finished.output.strip().split('\n')[-1].startswith('interrupted: ')
    check_first_epoch_is_whole(folder)


@pytest.mark.parametrize('moment', [('writing', 'epoch_2.pth'), ('written', 'epoch_2.pth'), ('iteration', 5)])
def test_interrupt_of_process_and_workers(config, moment):
    folder = config()
    prepare = 'signal_group_at', *moment, signal.SIGINT
    finished = run('train', 'small.py', *NO_VALIDATION, '--cfg-options', *WORKERS, folder=folder, prepare=prepare)
    lines = finished.output.strip().split('\n')
    assert finished.code == 130
    assert lines[-1].startswith('interrupted: ') and 'Traceback' not in finished.output
    check_first_epoch_is_whole(folder)


@pytest.mark.parametrize('moment', [('iteration', 4), ('iteration', 5)])
def test_stop_of_a_training_by_iterations(tmp_path, repository, moment):
    write(tmp_path, repository, CLOUDS + ACCUMULATED, sampler='DefaultSampler')
    assert run('train', 'small.py', '--work-dir', 'whole', folder=tmp_path).code == 0
    options = 'train', 'small.py', '--work-dir', 'run', '--resume', '--cfg-options', *WORKERS
    stopped = run(*options, folder=tmp_path, prepare=('signal_group_at', *moment, signal.SIGTERM))
    assert stopped.code == 143, stopped.output
    assert (tmp_path / 'run' / f'iter_{moment[1]}.pth').is_file()
    assert run(*options, folder=tmp_path).code == 0
    one, two = (torch.load(tmp_path / name / 'iter_9.pth', weights_only=True) for name in ('whole', 'run'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert same(one[part], two[part]), part


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize('moment', [('iteration', 5), ('iteration', 6), ('written', 'epoch_1.pth'), ('validation', 1)])
def test_stop_saves_and_resumes_to_the_same(config, tmp_path, moment, number):
    folder = config()
    options = '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=2', 'train_cfg.val_interval=1'
    whole = run('train', 'small.py', '--work-dir', 'whole', *options, folder=folder)
    assert whole.code == 0, whole.output
    prepare = 'signal_group_at', *moment, number
    stopped = run('train', 'small.py', '--work-dir', 'run', *options, *WORKERS, folder=folder, prepare=prepare)
    assert stopped.code == 128 + number, stopped.output
    last_line = stopped.output.strip().split('\n')[-1]
    assert last_line.startswith(f'stopped by {number.name} at iteration ') and '--resume' in last_line
    iteration = int(last_line.partition('iteration ')[2].partition(':')[0])
    latest = Path((folder / 'run' / 'last_checkpoint').read_text())
    assert torch.load(latest, weights_only=True)['meta']['iter'] == iteration
    assert not list(folder.glob('run/.*')) and not (folder / 'run' / 'train.lock').exists()

    resumed = run('train', 'small.py', '--work-dir', 'run', '--resume', *options, *WORKERS, folder=folder)
    assert resumed.code == 0, resumed.output
    one, two = (torch.load(folder / name / 'epoch_3.pth', weights_only=True) for name in ('whole', 'run'))
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert same(one[part], two[part]), part
    assert {path.name for path in folder.glob('run/[ei]*.pth')} == {'epoch_2.pth', 'epoch_3.pth'}


def test_ignored_hang_up_stays_ignored(config):
    prepare = 'signal_with_nohup', 'iteration', 2, signal.SIGHUP
    finished = run('train', 'small.py', *NO_VALIDATION, folder=config(), prepare=prepare)
    assert finished.code == 0, finished.output


def test_two_trainings_in_one_folder(config):
    folder = config()
    first = start(
        'train', 'small.py', *NO_VALIDATION, folder=folder, log=folder / 'first.txt', prepare=('wait_at', 2, 'go')
    )
    try:
        deadline = time.monotonic() + 60
        while not (folder / 'go.here').exists():
            assert time.monotonic() < deadline and first.is_alive()
            time.sleep(0.05)
        before = {path: path.read_bytes() for path in folder.glob('run/**/*.py')}
        logs = set(folder.glob('run/*/'))
        second = run('train', 'small.py', *NO_VALIDATION, '--cfg-options', 'train_cfg.max_epochs=9', folder=folder)
        last_line = second.output.strip().split('\n')[-1]
        assert second.code == 1
        assert before and {path: path.read_bytes() for path in folder.glob('run/**/*.py')} == before
        assert set(folder.glob('run/*/')) == logs
        assert last_line.startswith(f'error: another training runs in {folder}/run: process {first.pid} on ')
    finally:
        (folder / 'go').touch()
    assert wait(first, folder / 'first.txt').code == 0
    check = torch.load(folder / 'run' / 'epoch_3.pth', weights_only=True)
    assert check['meta']['iter'] == 9
    assert run('train', 'small.py', *NO_VALIDATION, folder=folder).code == 0


def test_lock_of_a_killed_training_does_not_count(config):
    folder = config()
    killed = run('train', 'small.py', *NO_VALIDATION, folder=folder, prepare=('signal_at', 'iteration', 5))
    assert killed.code == -9 and (folder / 'run' / 'train.lock').exists()
    assert run('train', 'small.py', *NO_VALIDATION, '--resume', folder=folder).code == 0


def test_inputs_that_are_not_finite(config):
    folder = config()
    finished = run('train', 'small.py', *NO_VALIDATION, folder=folder, prepare=('break_input', 33))
    last_line = finished.output.strip().split('\n')[-1]
    assert finished.code == 1
    assert last_line.startswith('error: ') and 'iteration' in last_line and 'not finite' in last_line
    for path in folder.glob('run/*.pth'):
        assert all(value.isfinite().all() for value in torch.load(path)['state_dict'].values())


def test_disk_full_and_then_not(config):
    folder = config()
    finished = run('train', 'small.py', *NO_VALIDATION, folder=folder, prepare=('fill_disk', 'epoch_2.pth'))
    last_line = finished.output.strip().split('\n')[-1]
    assert finished.code == 1
    assert last_line.startswith('error: ') and 'No space left' in last_line and last_line.endswith("/epoch_2.pth'")
    check_first_epoch_is_whole(folder)
    assert run('train', 'small.py', *NO_VALIDATION, '--resume', folder=folder).code == 0
    assert (folder / 'run' / 'epoch_3.pth').is_file()


def test_worker_is_killed(config):
    finished = run(
        'train', 'small.py', *NO_VALIDATION, '--cfg-options', *WORKERS, folder=config(), prepare=('kill_worker',)
    )
    last_line = finished.output.strip().split('\n')[-1]
    assert finished.code == 1
    assert last_line.startswith('error: DataLoader worker') and 'num_workers' in last_line


@pytest.mark.parametrize('options', [(), ('--cfg-options', *WORKERS)], ids=['main process', 'workers'])
def test_data_deleted_in_the_midst(config, options):
    folder = config("""
dataset = dict(_delete_=True, type='CustomDataset', data_root='images')
dataset['pipeline'] = [
    dict(type='LoadImageFromFile', color_type='grayscale'),
    dict(type='Resize', scale=(16, 16)),
    dict(type='PackInputs')]
train_dataloader['dataset'] = dataset
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1))
""")
    for label in range(10):
        (folder / 'images' / str(label)).mkdir(parents=True)
        for i in range(8):
            pixels = np.full((16, 16), 25 * label + i, np.uint8)
            Image.fromarray(pixels).save(folder / 'images' / str(label) / f'{i}.png')
    # Five iterations per epoch; workers prefetch four.
    prepare = 'delete_folder', 'images', 2
    finished = run('train', 'small.py', *NO_VALIDATION, *options, folder=folder, prepare=prepare)
    last_line = finished.output.strip().split('\n')[-1]
    assert finished.code == 1
    assert 'rror: ' in last_line and 'images/' in last_line and last_line.count('Traceback') == 0
    for path in folder.glob('run/iter_*.pth'):
        torch.load(path, weights_only=True)
    assert list(folder.glob('run/iter_*.pth'))


def test_divergence(config):
    folder = config()
    options = '--cfg-options', 'optim_wrapper.optimizer.lr=1e30', 'param_scheduler=None'
    finished = run('train', 'small.py', *NO_VALIDATION, *options, folder=folder)
    last_line = finished.output.strip().split('\n')[-1]
    assert finished.code == 1
    assert last_line.startswith('error: ') and 'iteration' in last_line and 'at learning rate 1e+30' in last_line
    for path in folder.glob('run/*.pth'):
        assert all(value.isfinite().all() for value in torch.load(path)['state_dict'].values())


def test_work_directory_below_a_file(config, load_tool, monkeypatch):
    folder = config()
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit, match=r'error: .*small\.py'):
        load_tool('train').main(['small.py', '--work-dir', 'small.py/run'])
