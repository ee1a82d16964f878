import errno
import os
import secrets
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.fileio import dump, get_file_backend, put
from mmengine.hooks import CheckpointHook

from rescaps_plugin.cli import outputs
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import write_whole
from rescaps_plugin.training import checkpoint_writer
from rescaps_plugin.training.checkpoint_writer import SafeCheckpointHook, whole_files
from rescaps_plugin.training.resume import ResumeHook
from rescaps_plugin.training.work_dir import LOCK, last_checkpoint, own_work_dir
from tests.training.test_checkpoints import make_runner


def test_writes_and_leaves_nothing_else(tmp_path):
    backend = get_file_backend(str(tmp_path))
    with whole_files():
        backend.put(b'one', tmp_path / 'new' / 'a.pth')
        backend.put(b'two', str(tmp_path / 'new' / 'a.pth'))
        backend.put_text('três', tmp_path / 'new' / 'b.txt', encoding='latin-1')
    assert {path.name: path.read_bytes() for path in (tmp_path / 'new').iterdir()} == {
        'a.pth': b'two',
        'b.txt': 'três'.encode('latin-1'),
    }


def test_mmengine_writes_whole_files_inside_the_block_alone(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoint_writer, 'write_whole', lambda path, data: written.append(path.name))
    for name in ('before', 'inside', 'after'):
        with whole_files() if name == 'inside' else nullcontext():
            dump({}, str(tmp_path / f'{name}.json'))
            put(b'', str(tmp_path / name))  # by an instance that MMEngine keeps
    assert written == ['inside.json', 'inside']


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / 'a.pth'
    write_whole(path, b'old')

    def fail(descriptor):
        raise error

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(type(error)) as raised:
        write_whole(path, b'new')
    assert path.read_bytes() == b'old' and [*tmp_path.iterdir()] == [path]
    if isinstance(error, OSError):
        assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(path)


def test_processes_of_a_job_write_the_same_file_at_once(tmp_path, monkeypatch):
    path = tmp_path / 'metrics.json'
    fsync = os.fsync

    def meanwhile(descriptor):
        fsync(descriptor)
        monkeypatch.setattr(os, 'fsync', fsync)
        write_whole(path, b'same')

    monkeypatch.setattr(os, 'fsync', meanwhile)
    write_whole(path, b'same')
    assert path.read_bytes() == b'same' and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize('kept', [1, 2])
def test_old_checkpoint_is_removed_only_after_the_new_one_is_written(tmp_path, monkeypatch, kept):
    runner = make_runner(tmp_path, f'kept {kept}', epochs=4)
    runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, CheckpointHook)]
    runner.register_hook(SafeCheckpointHook(interval=1, max_keep_ckpts=kept, save_best='loss'))
    moments = []
    save = type(runner).save_checkpoint

    def watched(*args, **kwargs):
        moments.append({path.name for path in tmp_path.glob('*.pth')})
        save(*args, **kwargs)

    monkeypatch.setattr(type(runner), 'save_checkpoint', watched)
    runner.train()
    regular = [{name for name in names if name.startswith('epoch')} for names in moments]
    assert all(len(names) >= min(kept, 1) for names in regular[1:])
    assert all(any(name.startswith('best') for name in names) for names in moments[3:])
    expected = {f'epoch_{epoch}.pth' for epoch in range(5 - kept, 5)}
    assert {path.name for path in tmp_path.glob('epoch_*.pth')} == expected
    assert len([*tmp_path.glob('best_*.pth')]) == 1
    assert last_checkpoint(tmp_path) == str(tmp_path / 'epoch_4.pth')
    assert torch.load(tmp_path / 'epoch_4.pth')['meta']['epoch'] == 4


class TestWorkDirectory:
    def test_second_training_is_refused_while_the_first_runs(self, tmp_path):
        with own_work_dir(tmp_path):
            with pytest.raises(UserError, match=rf'another training runs in .*process {os.getpid()} on .*--work-dir'):
                with own_work_dir(tmp_path):
                    pass
            assert (tmp_path / LOCK).exists()
        assert not list(tmp_path.iterdir())

    def test_lock_of_a_dead_process_is_ignored(self, tmp_path):
        lock = f'lock = SoftFileLock({str(tmp_path / LOCK)!r}); lock.acquire()'
        code = f'import os; from filelock import SoftFileLock; {lock}; os._exit(0)'
        subprocess.run([sys.executable, '-c', code], check=True)
        assert (tmp_path / LOCK).exists()
        with own_work_dir(tmp_path):
            assert str(os.getpid()) in (tmp_path / LOCK).read_text().split()
        assert not list(tmp_path.iterdir())

    def test_lock_of_another_machine_counts(self, tmp_path):
        (tmp_path / LOCK).write_text('1\nelsewhere\n')
        with pytest.raises(UserError, match='process 1 on elsewhere'), own_work_dir(tmp_path):
            pass

    def test_drafts_of_killed_processes_are_removed(self, tmp_path):
        process = subprocess.Popen([sys.executable, '-c', ''])
        process.wait()
        drafts = {
            'dead': f'.epoch_1.pth.{outputs._host()}.{process.pid}.0123abcd.part',
            'alive': f'.epoch_1.pth.{outputs._host()}.{os.getpid()}.0123abcd.part',
            'elsewhere': f'.epoch_1.pth.elsewhere.{process.pid}.0123abcd.part',
            'not ours': '.notes.part',
        }
        for name in drafts.values():
            (tmp_path / name).write_bytes(b'half')
        with own_work_dir(tmp_path):
            left = {path.name for path in tmp_path.glob('.*.part')}
        assert left == {name for which, name in drafts.items() if which != 'dead'}


def test_incomplete_checkpoints_in_another_folder_are_removed(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    (tmp_path / 'out/run').mkdir(parents=True)
    draft = tmp_path / f'out/run/.epoch_1.pth.{outputs._host()}.{process.pid}.0123abcd.part'
    draft.write_bytes(b'half')
    runner = make_runner(tmp_path / 'run', 'drafts elsewhere', epochs=1)
    runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, CheckpointHook)]
    runner.register_hook(SafeCheckpointHook(interval=1, out_dir=str(tmp_path / 'out')))
    runner.train()
    assert [path.name for path in draft.parent.iterdir()] == ['epoch_1.pth']


def test_long_names(tmp_path):
    for name in ('x' * 255, 'é' * 127):
        write_whole(tmp_path / name, b'data')
        assert (tmp_path / name).read_bytes() == b'data'


def test_drafts_do_not_follow_links(tmp_path):
    (tmp_path / 'precious').write_bytes(b'precious')
    (tmp_path / 'epoch_1.pth').symlink_to(tmp_path / 'precious')
    write_whole(tmp_path / 'epoch_1.pth', b'new')
    assert (tmp_path / 'precious').read_bytes() == b'precious'
    assert (tmp_path / 'epoch_1.pth').read_bytes() == b'new' and not (tmp_path / 'epoch_1.pth').is_symlink()


class TestRemovals:
    """Only files that this training wrote into its own folder are removed, whatever a resumed checkpoint contains."""

    @pytest.fixture
    def trained(self, tmp_path):
        """Train two epochs, the second of which is the best."""
        self.train(tmp_path / 'run', 2, None)
        assert [path.name for path in (tmp_path / 'run').glob('best*')] == ['best_loss_epoch_2.pth']
        return tmp_path / 'run'

    def train(self, work_dir, epochs, start, kept=1):
        options = dict(resume=True, load_from=str(start)) if start else {}
        runner = make_runner(work_dir, f'{work_dir.name} {epochs} {secrets.token_hex(4)}', epochs=epochs, **options)
        runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, CheckpointHook)]
        runner.register_hook(SafeCheckpointHook(interval=1, max_keep_ckpts=kept, save_best='loss'))
        runner.register_hook(ResumeHook())
        runner.train()

    def forge(self, path, target, **info):
        """Write a checkpoint that names files; every following validation is a new best."""
        content = torch.load(path, weights_only=True)
        content['message_hub']['runtime_info'].update(best_score=1e9, **info)
        content['message_hub']['resumed_keys'].update(dict.fromkeys(info, True))
        torch.save(content, target)
        return target

    def test_own_earlier_best_is_removed(self, trained):
        self.train(trained, 4, self.forge(trained / 'epoch_2.pth', trained / 'epoch_2.pth'))
        assert [path.name for path in trained.glob('*.pth')].count('best_loss_epoch_2.pth') == 0
        assert len(list(trained.glob('best*'))) == 1 and len(list(trained.glob('epoch*'))) == 1

    def test_own_earlier_best_is_removed_from_a_moved_folder(self, trained, tmp_path):
        self.forge(trained / 'epoch_2.pth', trained / 'epoch_2.pth')
        moved = trained.rename(tmp_path / 'moved')
        self.train(moved, 3, moved / 'epoch_2.pth')
        assert sorted(path.name for path in moved.glob('*.pth')) == ['best_loss_epoch_3.pth', 'epoch_3.pth']

    def test_fork_leaves_the_original_alone(self, trained, tmp_path):
        before = sorted(path.name for path in trained.iterdir())
        start = self.forge(trained / 'epoch_2.pth', trained / 'epoch_2.pth')
        self.train(tmp_path / 'fork', 4, start)
        assert sorted(path.name for path in trained.iterdir()) == before

    @pytest.mark.parametrize('where', ['folder', 'file', 'link', 'up', 'of another training', 'number'])
    def test_forged_paths(self, trained, tmp_path, where):
        precious = tmp_path / 'home'
        precious.mkdir()
        (precious / 'thesis').write_text('x')
        info = dict(best_ckpt=str(precious))
        if where == 'file':
            info = dict(best_ckpt=str(precious / 'thesis'))
        elif where == 'link':
            (trained / 'best_x.pth').symlink_to(precious / 'thesis')
            info = dict(best_ckpt=str(trained / 'best_x.pth'))
        elif where == 'up':
            info = dict(best_ckpt=str(trained / '..' / 'home'), keep_ckpt_ids=['/../../home/thesis', 1.5, None])
        elif where == 'of another training':
            other = torch.load(trained / 'epoch_2.pth', weights_only=True)
            other['resume']['run_id'] = 'other'
            torch.save(other, trained / 'best_other.pth')
            torch.save(other, trained / 'epoch_1.pth')
            info = dict(best_ckpt=str(trained / 'best_other.pth'), keep_ckpt_ids=[1])
        elif where == 'number':
            info = dict(best_ckpt=7, keep_ckpt_ids='12', last_ckpt=None)
        before = {path.name for path in trained.iterdir()} - {'epoch_2.pth', 'best_loss_epoch_2.pth'}
        self.train(trained, 4, self.forge(trained / 'epoch_2.pth', trained / 'epoch_2.pth', **info))
        assert (precious / 'thesis').read_text() == 'x'
        assert before <= {path.name for path in trained.iterdir()}
