import errno
import os

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook

from rescaps_plugin.engine import saving
from rescaps_plugin.engine.saving import SafeCheckpointHook, last_checkpoint, write_whole
from tests.engine.test_checkpoint import make_runner


def test_writes_and_leaves_nothing_else(tmp_path):
    backend = get_file_backend(str(tmp_path))
    backend.put(b'one', tmp_path / 'new' / 'a.pth')
    backend.put(b'two', str(tmp_path / 'new' / 'a.pth'))
    backend.put_text('três', tmp_path / 'new' / 'b.txt', encoding='latin-1')
    assert {path.name: path.read_bytes() for path in (tmp_path / 'new').iterdir()} == {
        'a.pth': b'two',
        'b.txt': 'três'.encode('latin-1'),
    }


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()])
def test_keeps_what_was_there(tmp_path, monkeypatch, error):
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
        monkeypatch.setattr(saving, 'get_rank', lambda: 1)
        write_whole(path, b'same')

    monkeypatch.setattr(os, 'fsync', meanwhile)
    write_whole(path, b'same')
    assert path.read_bytes() == b'same' and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize('kept', [1, 2])
def test_nothing_old_goes_before_the_new_is_there(tmp_path, monkeypatch, kept):
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
