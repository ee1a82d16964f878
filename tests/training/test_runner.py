"""Features of every run of our tools, for configs of any library."""

import pytest

pytest.importorskip('mmpretrain')

from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.registry import DefaultScope

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training import runner
from rescaps_plugin.training.distributed import ResumableFSDPStrategy
from rescaps_plugin.training.resumable_loops import ResumableEpochLoop, resumable
from rescaps_plugin.training.runner import _Careful, build_runner


def test_image_files_are_checked(tmp_path):
    for name in ('cat', 'dog'):
        (tmp_path / name).mkdir()
        (tmp_path / name / '1.png').touch()
    loader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(type='CustomDataset', data_root=str(tmp_path), pipeline=[dict(type='LoadImageFromFile')]),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = _Careful.build_dataloader(loader).dataset
    with pytest.raises(ValueError, match=r'cat/1\.png: the file is empty'):
        dataset[0]
    assert loader['dataset']['pipeline'] == [dict(type='LoadImageFromFile')]


@pytest.mark.parametrize('kind', ['FSDPStrategy', FSDPStrategy])
def test_sharded_runs_can_resume(kind):
    class Building:
        def build_strategy(self, strategy, **kwargs):
            return strategy

    class Runner(_Careful, Building):
        pass

    assert Runner().build_strategy(dict(type=kind, work_dir='a')) == dict(type=ResumableFSDPStrategy, work_dir='a')
    assert Runner().build_strategy(dict(type='DDPStrategy')) == dict(type='DDPStrategy')
    assert Runner().build_strategy(None) is None


def test_trainings_are_by_epoch_unless_configured():
    assert resumable(dict(max_epochs=2)) == dict(max_epochs=2, type=ResumableEpochLoop)


def test_unknown_log_level():
    with pytest.raises(UserError, match="log_level must be DEBUG, .* got 'foo'"):
        build_runner(Config(dict(log_level='foo')))


@pytest.mark.parametrize(('device', 'calls'), [('cpu', 1), ('cuda', 0)])
def test_runs_on_a_cpu_keep_freed_memory(monkeypatch, device, calls):
    class Runner:
        @classmethod
        def from_cfg(cls, cfg):
            return cls()

    kept = []
    monkeypatch.setattr(runner, 'get_device', lambda: device)
    monkeypatch.setattr(runner, 'keep_freed_memory', lambda: kept.append(device))
    monkeypatch.setattr(runner.RUNNERS, 'get', {'Runner': Runner}.get)
    assert isinstance(build_runner(Config({})), Runner)
    assert len(kept) == calls
