import copy
import math
import os
import pickle
import shutil
from collections import OrderedDict, namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from rescaps_plugin.training.checkpoint_loader import (
    MatchCheckpointHook,
    broken_weights,
    load_from_local,
    load_weights,
    safe_loaders,
)
from rescaps_plugin.training.checkpoint_reader import CheckpointError, trust_checkpoint
from rescaps_plugin.training.plain_checkpoint import PlainCheckpointHook, from_plain, to_plain
from rescaps_plugin.training.resume import configure_resume


class Points(BaseDataset):
    """24 points in the plane; the target is their sum."""

    METAINFO = dict(scale=np.array([0.5, 2.0], dtype=np.float32), colours=[[0, 0, 0]], names=('x', 'y'))

    def load_data_list(self):
        points = np.random.RandomState(0).randn(24, 2).astype(np.float32)
        return [dict(inputs=torch.from_numpy(p), target=torch.tensor(p.sum())) for p in points]


class Line(BaseModel):
    """Linear regression. ``bias_name`` differs between models that do not match."""

    def __init__(self, features=2, bias_name='bias'):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(features, 1, bias=False)
        self.bias_name = bias_name
        setattr(self, bias_name, nn.Parameter(torch.zeros(1)))

    def forward(self, inputs, target, mode='tensor', **kwargs):
        error = self.linear(inputs).squeeze(1) + getattr(self, self.bias_name) - target
        return dict(loss=error.square().mean()) if mode == 'loss' else error.abs().tolist()


class MeanError(BaseMetric):
    """Returns NumPy values, as MMSegmentation's metrics do."""

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {'loss': np.float64(np.mean(results)), 'per_point': np.array(results, dtype=np.float32)}


SCHEDULERS = {
    # holds a function
    'one cycle': dict(type='OneCycleLR', eta_max=0.1, total_steps=4, by_epoch=True),
    # follows the metric and remembers the best, a NumPy scalar
    'plateau': dict(type='ReduceOnPlateauLR', monitor='loss', patience=0, threshold=10.0, by_epoch=True),
}


def make_runner(work_dir, name, epochs=4, model=None, hooks=(), scheduler='one cycle', **options):
    def loader(shuffle):
        return dict(
            batch_size=8,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=shuffle),
            dataset=Points(),
            collate_fn=dict(type='default_collate'),
        )

    return Runner(
        model=model or Line(),
        work_dir=str(work_dir),
        train_dataloader=loader(True),
        val_dataloader=loader(False),
        val_evaluator=[MeanError()],
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(optimizer=dict(type='Adam', lr=0.05)),
        param_scheduler=copy.deepcopy(SCHEDULERS[scheduler]),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, save_best='loss', max_keep_ckpts=3),
            plain_checkpoint=PlainCheckpointHook(),
        ),
        custom_hooks=list(hooks),
        randomness=dict(seed=0),
        experiment_name=name,
        cfg=dict(load_from=options.get('load_from')),
        **options,
    )


def same(one, two):
    """Return whether nested data are bitwise equal."""
    if isinstance(one, HistoryBuffer):
        return same(list(one.data), list(two.data)) and one.max_length == two.max_length
    if isinstance(one, (torch.Tensor, np.ndarray)):
        return type(one) is type(two) and one.dtype == two.dtype and one.shape == two.shape and bool((one == two).all())
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def reload(data, path):
    torch.save(data, path)
    return torch.load(path, weights_only=True)


class TestPlainData:
    def test_round_trip(self, tmp_path):
        buffer = HistoryBuffer(max_length=5)
        for value in (0.1, 2, math.inf):
            buffer.update(value, 3)
        data = {
            'buffer': buffer,
            'empty': HistoryBuffer(),
            'arrays': [
                np.arange(6, dtype=np.int16).reshape(2, 3).T,
                np.array(1 + 2j),
                np.zeros((0, 4)),
                np.array(True),
            ],
            'tuple': (1, 'a', None, 2.5, b'bytes', torch.Size([2]), torch.float16),
            7: {3, 4},
            'tensor': torch.rand(3),
        }
        assert same(from_plain(reload(to_plain(data), tmp_path / 'x.pth')), data)

    @pytest.mark.parametrize(
        ('value', 'plain'),
        [
            (np.float64(0.5), 0.5),
            (np.int64(7), 7),
            (np.bool_(True), True),
            (np.str_('x'), 'x'),
            (Path('a/b'), 'a/b'),
            (namedtuple('Pair', 'a b')(np.float32(1), 2), (1.0, 2)),
            ({np.int64(1): np.float64(2)}, {1: 2.0}),
            (OrderedDict(a=np.int64(1)), OrderedDict(a=1)),
            ({'keep': 1, 'function': math.sin, 'method': [].append}, {'keep': 1}),
        ],
    )
    def test_becomes_builtin_types(self, value, plain):
        found = to_plain(value)
        assert found == plain and type(found) is type(plain)
        if isinstance(found, dict):
            assert [type(x) for x in (*found, *found.values())] == [type(x) for x in (*plain, *plain.values())]

    def test_state_dict_keeps_its_module_versions(self):
        state = nn.BatchNorm1d(3).state_dict()
        assert from_plain(to_plain({'state_dict': state}))['state_dict']._metadata == state._metadata

    def test_other_objects_stay_with_a_warning(self):
        value = partial(print)
        with pytest.warns(UserWarning, match='functools.partial.*--trust-checkpoint'):
            assert to_plain({'a': [value]})['a'][0] is value


class TestResume:
    @pytest.mark.parametrize('scheduler', SCHEDULERS)
    def test_resumed_training_equals_one_run(self, tmp_path, scheduler):
        whole = make_runner(tmp_path / 'whole', f'whole {scheduler}', scheduler=scheduler)
        whole.train()
        # Stop after two epochs of the same schedule, as a killed process would.
        half = make_runner(tmp_path / 'half', f'half {scheduler}', scheduler=scheduler)
        half.register_hook(StopAfter(2))
        with pytest.raises(Stopped):
            half.train()
        rest = make_runner(tmp_path / 'half', f'rest {scheduler}', scheduler=scheduler, resume=True)
        rest.train()

        assert same(rest.model.state_dict(), whole.model.state_dict())
        assert same(rest.optim_wrapper.state_dict(), whole.optim_wrapper.state_dict())
        for one, two in zip(rest.param_schedulers, whole.param_schedulers, strict=True):
            # by name: each process has its own function objects
            assert {key: one.state_dict()[key] for key in two.state_dict()} == two.state_dict()
        for key, history in whole.message_hub.log_scalars.items():
            if 'time' not in key:
                assert same(rest.message_hub.log_scalars[key], history), key
        for key in ('epoch', 'iter', 'best_score', 'keep_ckpt_ids', 'dataset_meta', 'val/per_point'):
            assert same(rest.message_hub.get_info(key), whole.message_hub.get_info(key)), key

    def test_every_checkpoint_is_plain(self, tmp_path):
        make_runner(tmp_path, 'plain', hooks=[dict(type='EMAHook')]).train()
        files = sorted(path.name for path in tmp_path.glob('*.pth'))
        assert len(files) == 4 and files[0].startswith('best_loss')
        for path in tmp_path.glob('*.pth'):
            checkpoint = torch.load(path, weights_only=True)
            assert type(checkpoint['message_hub']['runtime_info']['best_score']) is float
            assert 'ema_state_dict' in checkpoint

    def test_ema_resumes(self, tmp_path):
        ema = dict(type='EMAHook', momentum=0.3)
        make_runner(tmp_path / 'whole', 'ema whole', hooks=[dict(ema)]).train()
        half = make_runner(tmp_path / 'half', 'ema half', hooks=[dict(ema), StopAfter(2)])
        with pytest.raises(Stopped):
            half.train()
        make_runner(tmp_path / 'half', 'ema rest', hooks=[dict(ema), MatchCheckpointHook()], resume=True).train()
        whole, half = (torch.load(tmp_path / run / 'epoch_4.pth') for run in ('whole', 'half'))
        for part in ('state_dict', 'ema_state_dict'):
            assert same(half[part], whole[part])
        assert not same(half['state_dict']['linear.weight'], half['ema_state_dict']['module.linear.weight'])

    def test_dataset_is_recognised(self, tmp_path):
        make_runner(tmp_path, 'meta one', epochs=1).train()
        runner = make_runner(tmp_path, 'meta two', resume=True)
        runner.train()
        log = Path(runner.log_dir, f'{runner.timestamp}.log').read_text()
        assert 'resumed epoch: 1' in log
        assert 'dataset metainfo from the resumed checkpoint is different' not in log


class Stopped(Exception):
    """Raised in place of a killed process."""


class StopAfter(Hook):
    """Stop after this many epochs of training and validation."""

    def __init__(self, epochs):
        self.epochs = epochs

    def before_train_epoch(self, runner):
        if runner.epoch == self.epochs:
            raise Stopped


class Exploit:
    """Unpickles by calling a function."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class TestForeignCheckpoints:
    def test_refused_without_running_its_code(self, tmp_path):
        torch.save({'meta': Exploit(tmp_path / 'hacked')}, tmp_path / 'evil.pth')
        with pytest.raises(CheckpointError, match=r'evil\.pth .*\(getattr\).*--trust-checkpoint'):
            load_from_local(str(tmp_path / 'evil.pth'))
        assert not (tmp_path / 'hacked').exists()

    def test_trust_is_for_one_file_and_one_time(self, tmp_path):
        for name in ('one.pth', 'two.pth'):
            torch.save({'log': HistoryBuffer([1.0], [1])}, tmp_path / name)
        one, two = str(tmp_path / 'one.pth'), str(tmp_path / 'two.pth')
        with trust_checkpoint(one):
            assert load_from_local(one)['log'].current() == 1
            with pytest.raises(CheckpointError):
                load_from_local(two)
        with pytest.raises(CheckpointError):
            load_from_local(one)

    def test_trusted_checkpoint_resumes_and_is_plain_afterwards(self, tmp_path):
        first = make_runner(tmp_path, 'foreign one', epochs=1)
        first._hooks = [hook for hook in first.hooks if not isinstance(hook, PlainCheckpointHook)]
        first.train()
        path = tmp_path / 'epoch_1.pth'
        with pytest.raises(pickle.UnpicklingError):
            torch.load(path, weights_only=True)
        with pytest.raises(CheckpointError), safe_loaders():
            make_runner(tmp_path, 'foreign two', resume=True).train()
        runner = make_runner(tmp_path, 'foreign three', epochs=2, resume=True)
        with safe_loaders(), trust_checkpoint(path):
            runner.train()
        assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 6
        torch.load(tmp_path / 'epoch_2.pth', weights_only=True)

    def test_code_in_plain_data_does_not_run(self, tmp_path):
        make_runner(tmp_path, 'code one', epochs=1).train()
        content = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
        # MMEngine would run it as a config.
        content['meta']['config'] = f'import pathlib\npathlib.Path({str(tmp_path / "hacked")!r}).touch()'
        torch.save(content, tmp_path / 'epoch_1.pth')
        make_runner(tmp_path, 'code two', epochs=2, resume=True).train()
        assert (tmp_path / 'epoch_2.pth').is_file() and not (tmp_path / 'hacked').exists()

    @pytest.mark.parametrize('content', [b'', b'hello', b'PK\x03\x04 not really'])
    def test_damaged_file(self, tmp_path, content):
        (tmp_path / 'bad.pth').write_bytes(content)
        with pytest.raises(CheckpointError, match=r'bad\.pth cannot be read'):
            load_from_local(str(tmp_path / 'bad.pth'))

    def test_missing_file(self, tmp_path):
        with pytest.raises(CheckpointError, match=r'none\.pth does not exist'):
            load_from_local(str(tmp_path / 'none.pth'))


class TestMatch:
    @pytest.fixture
    def checkpoint(self, tmp_path):
        make_runner(tmp_path / 'trained', 'match', epochs=1).train()
        return tmp_path / 'trained' / 'epoch_1.pth'

    @pytest.mark.parametrize(
        ('model', 'problem'),
        [(partial(Line, features=3), 'size mismatch for linear.weight'), (partial(Line, bias_name='b'), 'missing: b')],
        ids=['size', 'name'],
    )
    def test_another_model(self, tmp_path, checkpoint, model, problem):
        runner = make_runner(
            tmp_path, f'match {problem}', model=model(), hooks=[MatchCheckpointHook()], load_from=str(checkpoint)
        )
        with pytest.raises(CheckpointError, match=rf'epoch_1\.pth is not one of this model:\n  {problem}'):
            runner.load_or_resume()

    def test_a_model_that_renames_old_entries(self, tmp_path, checkpoint):
        model = Line(bias_name='b')

        def rename(module, state, prefix, *args):
            state['b'] = state.pop('bias')

        model.register_load_state_dict_pre_hook(rename)
        runner = make_runner(tmp_path, 'rename', model=model, hooks=[MatchCheckpointHook()], load_from=str(checkpoint))
        runner.load_or_resume()
        saved = torch.load(checkpoint)['state_dict']
        assert torch.equal(model.b, saved['bias']) and torch.equal(model.linear.weight, saved['linear.weight'])

    def test_entries_beyond_the_model_are_no_error(self, tmp_path, checkpoint):
        content = torch.load(checkpoint)
        content['state_dict']['auxiliary'] = torch.zeros(1)
        torch.save(content, tmp_path / 'more.pth')
        runner = make_runner(tmp_path, 'more', hooks=[MatchCheckpointHook()], load_from=str(tmp_path / 'more.pth'))
        runner.load_or_resume()
        assert torch.equal(runner.model.linear.weight, content['state_dict']['linear.weight'])

    @pytest.mark.parametrize('value', [math.nan, math.inf])
    def test_weights_that_are_not_finite(self, tmp_path, checkpoint, value):
        content = torch.load(checkpoint)
        content['state_dict']['linear.weight'][0, 0] = value
        path = str(tmp_path / 'diverged.pth')
        torch.save(content, path)
        runner = make_runner(tmp_path, f'{value}', hooks=[MatchCheckpointHook()], load_from=path)
        with pytest.raises(CheckpointError, match=r'diverged\.pth holds weights .*not finite \(linear\.weight\)'):
            runner.load_or_resume()
        with pytest.raises(CheckpointError, match='not finite'):
            load_weights(Line(), path)

    def test_a_buffer_may_be_infinite(self):
        model = nn.Module()
        model.register_buffer('mask', torch.tensor([0.0, -math.inf]))
        assert broken_weights(model) == []
        model.register_buffer('mean', torch.tensor([0.0, math.nan]))
        assert broken_weights(model) == ['mean']

    def test_other_number_of_classes_is_reported(self, tmp_path, checkpoint):
        content = torch.load(checkpoint)
        content['meta']['cfg'] = 'model = dict(head=dict(num_classes=10))'
        torch.save(content, tmp_path / 'ten.pth')
        runner = make_runner(
            tmp_path, 'ten', model=Line(features=3), hooks=[MatchCheckpointHook()], load_from=str(tmp_path / 'ten.pth')
        )
        runner.cfg.model = dict(head=dict(num_classes=3))
        with pytest.raises(CheckpointError, match='trained with num_classes 10; the config has 3'):
            runner.load_or_resume()

    @pytest.mark.parametrize('partial', [False, True])
    def test_complex_weights(self, tmp_path, checkpoint, partial):
        content = torch.load(checkpoint)
        content['state_dict']['linear.weight'] = content['state_dict']['linear.weight'] + 1j
        path = str(tmp_path / 'complex.pth')
        torch.save(content, path)
        hooks = [MatchCheckpointHook(partial=partial)]
        runner = make_runner(tmp_path, f'complex {partial}', hooks=hooks, load_from=path)
        with pytest.raises(CheckpointError, match='complex numbers for real ones: linear.weight'):
            runner.load_or_resume()

    def test_part_of_a_model(self, tmp_path, checkpoint, capfd):
        def start(name, **content):
            path = str(tmp_path / f'{name}.pth')
            torch.save(dict(state_dict=content), path)
            hooks = [MatchCheckpointHook(partial=True)]
            runner = make_runner(tmp_path, f'part {name}', hooks=hooks, load_from=path)
            runner.load_or_resume()
            return runner.model

        assert start('fits', bias=torch.ones(1), other=torch.ones(2)).bias == 1
        assert 'fits.pth sets 1 of the 2 entries of the model' in ''.join(capfd.readouterr())
        with pytest.raises(CheckpointError, match='is not one of this model:\n  missing'):
            start('fits not', other=torch.ones(2))
        with pytest.raises(CheckpointError, match='is not one of this model:\n  size mismatch'):
            start('sizes', **{'bias': torch.ones(2), 'linear.weight': torch.ones(1, 3)})
        with pytest.raises(CheckpointError, match=r'not finite \(bias\)'):
            start('diverged', bias=torch.full((1,), math.nan))

    def test_checks_only_the_next_loading(self, tmp_path, checkpoint):
        runner = make_runner(tmp_path, 'once', hooks=[MatchCheckpointHook()], load_from=str(checkpoint))
        runner.load_or_resume()
        runner.model.load_state_dict({}, strict=False)


class TestConfigureResume:
    @pytest.fixture
    def cfg(self, tmp_path):
        from mmengine.config import Config

        return Config(dict(work_dir=str(tmp_path / 'run'), load_from='pretrained.pth', resume=False))

    def test_no_checkpoint_yet(self, cfg):
        configure_resume(cfg, 'auto')
        assert cfg.load_from == 'pretrained.pth' and not cfg.resume

    @pytest.mark.parametrize('renamed', [False, True])
    def test_latest(self, cfg, tmp_path, renamed):
        run = tmp_path / 'run'
        run.mkdir()
        torch.save({}, run / 'epoch_3.pth')
        (run / 'last_checkpoint').write_text(str(run / 'epoch_3.pth'))
        if renamed:
            cfg.work_dir = str(run.rename(tmp_path / 'elsewhere'))
        configure_resume(cfg, 'auto')
        assert cfg.resume and Path(cfg.load_from) == Path(cfg.work_dir, 'epoch_3.pth')

    @pytest.mark.parametrize('damage', ['cut', 'zeros', 'gone', 'not named'])
    def test_damaged_one_is_skipped(self, cfg, tmp_path, capsys, damage):
        run = tmp_path / 'run'
        run.mkdir()
        for step, name in enumerate(('best_loss_epoch_1.pth', 'epoch_1.pth', 'epoch_2.pth')):
            torch.save({'weight': torch.rand(1000), 'meta': {'iter': step}}, run / name)
            os.utime(run / name, (step, step))
        os.utime(run / 'best_loss_epoch_1.pth', (9, 9))
        latest = run / 'epoch_2.pth'
        (run / 'last_checkpoint').write_text('' if damage == 'not named' else str(latest))
        content = bytearray(latest.read_bytes())
        if damage == 'zeros':  # as a file system may leave after a power cut
            content[2000:3000] = bytes(1000)
        latest.write_bytes(content if damage == 'zeros' else content[: len(content) // 2])
        os.utime(latest, (5, 5))
        if damage == 'gone':
            latest.unlink()
        configure_resume(cfg, 'auto')
        assert cfg.resume and cfg.load_from == str(run / 'epoch_1.pth')
        assert f'{latest} ' in capsys.readouterr().err

    @pytest.fixture
    def run(self, tmp_path):
        """Write the checkpoints of a training into its folder, which records the latest."""
        folder = tmp_path / 'run'
        folder.mkdir()

        def save(**iterations):
            for name, iteration in iterations.items():
                state = dict(run_id='own' if '_' in name else 'other')
                torch.save(dict(meta=dict(iter=iteration), resume=state), folder / f'{name}.pth')
            (folder / 'run_id').write_text('own')
            (folder / 'last_checkpoint').write_text(str(folder / f'{name}.pth'))
            return folder

        return save

    def test_iteration_decides(self, run, cfg):
        folder = run(epoch_2=20, iter_25=25, epoch_10=10)
        (folder / 'last_checkpoint').unlink()
        for age, path in enumerate(sorted(folder.glob('*.pth'))):
            os.utime(path, (age, age))
        configure_resume(cfg, 'auto')
        assert Path(cfg.load_from).name == 'iter_25.pth'

    def test_after_a_return_to_an_earlier_checkpoint(self, run, cfg):
        folder = run(epoch_3=30, epoch_2=20)
        configure_resume(cfg, 'auto')
        assert cfg.load_from == str(folder / 'epoch_2.pth')

    @pytest.mark.parametrize('recorded', [True, False])
    def test_names_of_another_template(self, run, cfg, recorded):
        folder = run(ckpt_1_x=10, ckpt_2_x=20)
        if not recorded:
            (folder / 'last_checkpoint').unlink()
        configure_resume(cfg, 'auto')
        assert cfg.load_from == str(folder / 'ckpt_2_x.pth')

    def test_published_weights_are_skipped(self, run, cfg, capsys):
        folder = run(epoch_1=10)
        torch.save(dict(state_dict={}), folder / 'epoch_1-d2e70a95.pth')
        (folder / 'last_checkpoint').unlink()
        configure_resume(cfg, 'auto')
        assert cfg.load_from == str(folder / 'epoch_1.pth')
        assert 'd2e70a95.pth has no iteration to resume at: it is skipped' in capsys.readouterr().err

    def test_work_dir_as_typed(self, run, cfg, tmp_path, monkeypatch):
        """MMEngine saves to run/run, since it compares ``out_dir`` with the absolute path of the work directory."""
        folder = run(epoch_1=10)
        (folder / 'run').mkdir()
        (folder / 'epoch_1.pth').rename(folder / 'run/epoch_1.pth')
        monkeypatch.chdir(tmp_path)
        cfg.work_dir = 'run'
        cfg.default_hooks = dict(checkpoint=dict(out_dir='run'))
        configure_resume(cfg, 'auto')
        assert Path(cfg.load_from).resolve() == folder / 'run/epoch_1.pth'

    def test_without_hooks_in_the_config(self, run, cfg):
        folder = run(epoch_1=10)
        cfg.default_hooks = None
        configure_resume(cfg, 'auto')
        assert cfg.load_from == str(folder / 'epoch_1.pth')

    def test_folder_that_moved_without_its_latest(self, run, cfg, tmp_path):
        folder = run(epoch_1=10, epoch_2=20, epoch_3=30)
        other = folder.rename(tmp_path / 'moved')
        folder.mkdir()
        shutil.copy(other / 'epoch_3.pth', folder / 'epoch_9.pth')  # of another training that uses the old path
        (other / 'epoch_3.pth').unlink()
        cfg.work_dir = str(other)
        configure_resume(cfg, 'auto')
        assert cfg.load_from == str(other / 'epoch_2.pth')

    def test_folder_of_checkpoints_elsewhere(self, run, cfg, tmp_path):
        folder = run(epoch_1=10, epoch_2=20)
        (tmp_path / 'out' / 'run').mkdir(parents=True)
        for path in folder.glob('*.pth'):
            shutil.move(path, tmp_path / 'out' / 'run')
        cfg.default_hooks = dict(checkpoint=dict(out_dir=str(tmp_path / 'out')))
        configure_resume(cfg, 'auto')
        assert cfg.load_from == str(tmp_path / 'out' / 'run' / 'epoch_2.pth')

    def test_another_training_in_the_folder(self, run, cfg, capsys):
        folder = run(epoch_1=10)
        for name in ('epoch_50.pth', 'teacher.pth'):
            torch.save(dict(meta=dict(iter=500), resume=dict(run_id='other')), folder / name)
        configure_resume(cfg, 'auto')
        assert Path(cfg.load_from).name == 'epoch_1.pth'
        assert 'epoch_50.pth is of another training' in capsys.readouterr().err

    def test_folders_are_skipped(self, run, cfg, capsys):
        folder = run(epoch_1=1)
        (folder / 'epoch_2.pth').mkdir()
        shutil.copy(folder / 'epoch_1.pth', folder / 'epoch_2.pth' / 'rank0.pth')
        (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
        configure_resume(cfg, 'auto')
        assert Path(cfg.load_from).name == 'epoch_1.pth'
        assert 'epoch_2.pth is not a file: it is skipped' in capsys.readouterr().err

    def test_flipped_bits_anywhere_are_skipped_or_harmless(self, run, cfg, capsys):
        folder = run(epoch_1=10, epoch_2=20)
        path = folder / 'epoch_2.pth'
        data = path.read_bytes()
        header = data.index(b'PK\x01\x02')
        for offset in (*range(header, header + 46), *range(len(data) - 22, len(data)), *range(0, 200, 7)):
            for bit in (1, 16, 128):
                flipped = bytearray(data)
                flipped[offset] ^= bit
                path.write_bytes(flipped)
                configure_resume(cfg, 'auto')
                if Path(cfg.load_from).name == 'epoch_2.pth':
                    assert load_from_local(cfg.load_from)['meta']['iter'] == 20

    def test_no_undamaged_checkpoint_yet(self, cfg, tmp_path):
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run' / 'epoch_1.pth').write_bytes(b'PK')
        (tmp_path / 'run' / '.epoch_1.pth.0.part').write_bytes(b'PK')
        cfg.resume = True
        configure_resume(cfg, 'auto')
        assert not cfg.resume and cfg.load_from == 'pretrained.pth'

    def test_missing(self, cfg):
        with pytest.raises(CheckpointError, match=r'nope\.pth does not exist'):
            configure_resume(cfg, 'nope.pth')

    def test_url_is_left_to_mmengine(self, cfg):
        configure_resume(cfg, 'https://example.com/x.pth')
        assert cfg.load_from == 'https://example.com/x.pth' and cfg.resume
