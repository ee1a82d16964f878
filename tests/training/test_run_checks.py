"""Errors and warnings of a run before its first checkpoint."""

import re
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('mmpretrain')

import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, LOOPS
from mmengine.runner import BaseLoop
from torch.utils.data import IterableDataset

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training.run_checks import check_classes, compare_classes
from rescaps_plugin.training.runner import build_runner

SMALL = {
    'model.backbone.capsule_types': (2, 2, 2, 2),
    'model.head.in_channels': 34,
    'train_cfg.max_epochs': 1,
    'train_dataloader.batch_size': 16,
    'train_dataloader.dataset.indices': 32,
    'val_dataloader.dataset.indices': 16,
    'test_dataloader.dataset.indices': 16,
    'log_level': 'WARNING',
}


@pytest.fixture
def build(repository, tmp_path):
    """Build the runner of a small training on digits, with options."""

    def build(**options):
        cfg = load_config(str(repository / 'configs' / 'rescaps' / 'digits.py'), SMALL | options)
        cfg.work_dir = str(tmp_path / 'run')
        cfg.experiment_name = f'{tmp_path.name}-{len(list(tmp_path.iterdir()))}'
        return build_runner(cfg)

    return build


@LOOPS.register_module(force=True)
class OwnLoop(BaseLoop):
    """A custom training loop, which does not check its data."""

    max_epochs = max_iters = 1
    iter = epoch = 0

    def __init__(self, runner, dataloader, by_epoch=False):
        super().__init__(runner, dataloader)

    def run(self):
        for _ in self.dataloader:
            pass
        self.runner.save_checkpoint(self.runner.work_dir, 'own.pth')


LOOP_CONFIGS = {
    'epochs': dict(by_epoch=True, max_epochs=1),
    'iterations': dict(by_epoch=False, max_iters=3),
    'own': dict(type='OwnLoop'),
}


class TestEmptyLoader:
    @pytest.mark.parametrize('loop', LOOP_CONFIGS)
    @pytest.mark.parametrize('scheduled', [True, False])
    def test_training(self, loop, scheduled, build, tmp_path):
        runner = build(**{'train_dataloader.dataset.indices': 5, 'train_dataloader.drop_last': True})
        runner._train_loop = LOOP_CONFIGS[loop]
        if not scheduled:
            runner.param_schedulers = None
        message = (
            'train_dataloader has no batch of 16 samples to give: its data set Digits has 5 samples, batch_size=16, '
            r'drop_last=True\. Set train_dataloader\.batch_size to 5 or less'
        )
        with pytest.raises(UserError, match=message):
            runner.train()
        assert not list(tmp_path.rglob('*.pth'))

    @pytest.mark.parametrize('phase', ['val', 'test'])
    def test_evaluation(self, phase, build):
        runner = build(**{f'{phase}_dataloader.dataset.indices': 5, f'{phase}_dataloader.drop_last': True})
        with pytest.raises(UserError, match=f'{phase}_dataloader has no batch of 128 samples .*5 samples'):
            runner.test() if phase == 'test' else runner.train()

    def test_empty_set(self, build):
        @DATASETS.register_module(force=True)
        class Nothing(BaseDataset):
            def load_data_list(self):
                return []

        runner = build(
            **{'test_dataloader.dataset': dict(_delete_=True, type='mmengine.Nothing', serialize_data=False)}
        )
        with pytest.raises(
            UserError, match='test_dataloader has no batch to give: its data set Nothing has no samples'
        ):
            runner.test()

    def test_no_epochs(self, build):
        with pytest.raises(UserError, match=r'train_cfg\.max_epochs must be at least 1'):
            build(**{'train_cfg.max_epochs': 0}).train()

    def test_streams_have_no_length(self):
        from torch.utils.data import DataLoader

        from rescaps_plugin.training.run_checks import check_loop

        class Stream(IterableDataset):
            def __iter__(self):
                yield from range(3)

        class Loop:
            dataloader = DataLoader(Stream(), batch_size=2)

        check_loop(Loop, 'train_dataloader')


class TestClasses:
    CASES = (
        (
            'rescaps/digits',
            {'model.head.num_classes': 5},
            r'model\.head\.num_classes=5, .*set model\.head\.num_classes=10',
        ),
        ('capsnet/capsnet_digits', {'model.num_classes': 5}, r'model\.num_classes=5, .*set model\.num_classes=10'),
        (
            'rescaps/digits',
            {'data_preprocessor.batch_augments': dict(augments=dict(type='Mixup', alpha=1.0))}
            | {'data_preprocessor.num_classes': 7},
            r'data_preprocessor\.num_classes=7, .* set data_preprocessor\.num_classes=10',
        ),
    )

    # Samples are not mixed in a test.
    @pytest.mark.parametrize(
        ('phase', 'config', 'options', 'message'),
        [
            (phase, *case)
            for case in CASES
            for phase in ('train', 'test')
            if phase == 'train' or 'preprocessor' not in case[2]
        ],
    )
    def test_fewer_than_in_the_data(self, config, options, message, phase, repository, tmp_path):
        cfg = load_config(str(repository / 'configs' / f'{config}.py'), options | {'log_level': 'ERROR'})
        cfg.work_dir = str(tmp_path)
        with pytest.raises(UserError, match=rf'{config}\.py: {message}'):
            getattr(build_runner(cfg), phase)()

    def test_more_than_in_the_data(self, build, capsys):
        runner = build(**{'model.head.num_classes': 12})
        runner.test()
        assert (
            'model.head.num_classes=12, and test_dataloader.dataset (Digits) has 10 classes' in capsys.readouterr().out
        )

    @pytest.mark.parametrize('labels', [[0, 1, 2], [0, -1], [1, [0, 1]], [0, 1], [], None])
    def test_labels_without_names(self, labels):
        def get_gt_labels():
            return np.array(labels) if labels is not None else {}['gt_label']

        dataset = SimpleNamespace(get_gt_labels=get_gt_labels, ann_file='train.txt')
        loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
        model = SimpleNamespace(head=SimpleNamespace(num_classes=2))
        wrong = [label for label in labels or () if label in (-1, 2)]
        message = (
            r'config None: train_dataloader\.dataset \(SimpleNamespace, train\.txt\): labels must be 0 to 1, by '
            rf'model\.head\.num_classes=2, found \{wrong}'
        )
        with pytest.raises(UserError, match=message) if wrong else nullcontext():
            check_classes(Config(), model, loop, 'train_dataloader')


class TestLastBatch:
    def test_of_one_sample(self, build, tmp_path):
        with pytest.raises(
            UserError, match=r'33 samples in batches of 16 leave one .*train_dataloader\.drop_last=True'
        ):
            build(**{'train_dataloader.dataset.indices': 33}).train()
        assert not list(tmp_path.rglob('*.pth'))

    def test_batches_of_one_sample(self, build):
        with pytest.raises(UserError, match=r'batch has one sample.*train_dataloader\.batch_size to 2 or more'):
            build(**{'train_dataloader.batch_size': 1}).train()

    @pytest.mark.parametrize(
        'options',
        [
            {'train_dataloader.drop_last': True},
            {
                'model.head': dict(
                    _delete_=True,
                    type='LinearClsHead',
                    num_classes=10,
                    in_channels=34,
                    loss=dict(type='CrossEntropyLoss'),
                ),
                'model.neck': dict(type='GlobalAveragePooling'),
                'model.backbone.strides': (1, 1, 1, 2),
            },
        ],
    )
    def test_that_is_dropped_or_has_more_than_a_pixel(self, options, build):
        runner = build(**{'train_dataloader.dataset.indices': 17}, **options)
        runner.train()
        assert runner.iter == (1 if 'train_dataloader.drop_last' in options else 2)


class TestShapes:
    """Mismatching shapes are reported in one line with the config's key and the correct value."""

    RESIZED = (
        "test_dataloader.dataset.pipeline=[dict(type='Grayscale'),dict(type='Resize',scale=(48,32)),"
        "dict(type='PackInputs')]"
    )
    LEVELS = 'model.decode_head.in_channels=[16,24,40,112]'
    CASES = (
        ('rescaps/digits', 'model.head.feature_size=3', r'set model\.head\.feature_size=1 '),
        ('rescaps/digits', 'model.head.feature_size=(1,2)', r'model\.head\.feature_size=\(1,2\), .*feature_size=1 '),
        ('rescaps/digits', 'model.head.in_channels=33', r'set model\.head\.in_channels=68'),
        ('rescaps/digits', 'model.backbone.in_channels=3', r'set model\.backbone\.in_channels=1'),
        ('rescaps/digits', RESIZED, r'set model\.head\.feature_size=\(2,3\) to train'),
        ('capsnet/capsnet_digits', 'model.img_size=28', r'set model\.img_size=16 '),
        ('capsnet/capsnet_digits', 'model.in_chans=3', r'set model\.in_chans=1'),
        ('icon/icon-rpr_efficientnet-lite0_synthetic', LEVELS, r'decode_head\.in_channels=\[24, 40, 112, 320\]\.'),
    )

    # The training pipeline of the resized case is unchanged, so the fifth case has no training.
    @pytest.mark.parametrize(
        ('phase', 'config', 'option', 'message'),
        [
            (phase, *case)
            for number, case in enumerate(CASES)
            for phase in ('train', 'test', 'predict')
            if (phase, number) != ('train', 4)
        ],
    )
    def test_in_every_tool(self, config, option, message, phase, load_tool, repository, tmp_path):
        if config.startswith('icon'):
            pytest.importorskip('mmseg')
        path = str(repository / 'configs' / f'{config}.py')
        options = [option, 'log_level=ERROR'] + (['model.backbone.init_cfg=None'] if config.startswith('icon') else [])
        arguments = [path, '--cfg-options', *options]
        if phase == 'train':
            arguments[1:1] = ['--work-dir', str(tmp_path / 'run')]
        else:
            cfg = load_config(path, load_tool('train').parse_args(arguments).cfg_options)
            cfg.work_dir = str(tmp_path)
            torch.save(dict(state_dict=build_runner(cfg).model.state_dict()), tmp_path / 'untrained.pth')
            out = '--work-dir' if phase == 'test' else '--out-dir'
            arguments[1:1] = [str(tmp_path / 'untrained.pth'), out, str(tmp_path / 'run')]
        with pytest.raises(SystemExit, match=message) as stop:
            load_tool(phase).main(arguments)
        assert stop.value.code.startswith('error: ') and '\n' not in stop.value.code


class TestScheduleLength:
    LINEAR = dict(type='LinearLR', start_factor=0.1, end=2)
    CASES = (
        (
            dict(type='CosineAnnealingLR', end=20),
            r'CosineAnnealingLR ends after 20 epochs, the training after 3 epochs',
        ),
        (dict(type='CosineAnnealingLR', T_max=20), 'after 20 epochs, the training after 3 epochs'),
        (
            dict(type='CosineAnnealingLR', end=20, by_epoch=True, convert_to_iter_based=True),
            r'after 20 epochs \(40 iterations\), the training after 3 epochs \(6 iterations\): the schedule is cut off',
        ),
        (dict(type='CosineAnnealingLR', end=2), 'after 2 epochs, the training after 3 epochs: lr stays constant'),
        (dict(type='MultiStepLR', milestones=[1, 5]), 'MultiStepLR ends after 5 epochs, the training after 3 epochs'),
        (
            dict(type='LinearLR', start_factor=0.1, end=30, by_epoch=False),
            r'after 15 epochs \(30 iterations\), the training after 3',
        ),
        (LINEAR, None),
        (dict(type='CosineAnnealingLR'), None),
        ([LINEAR, dict(type='CosineAnnealingLR', begin=2, end=3)], None),
        (dict(type='MultiStepLR', milestones=[1, 2]), None),
        ([], None),
    )

    @pytest.mark.parametrize(('schedule', 'message'), CASES)
    def test_against_the_training(self, schedule, message, build, capsys):
        runner = build(**{'train_cfg.max_epochs': 3})
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.build_param_scheduler(schedule)
        printed = capsys.readouterr().out
        if message is None:
            assert 'disagree' not in printed
        else:
            assert re.search(message, printed)

    def test_of_a_training_by_iteration(self, build, capsys):
        runner = build(train_cfg=dict(_delete_=True, by_epoch=False, max_iters=9))
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        schedule = dict(type='CycleLR', by_epoch=True, convert_to_iter_based=True)
        runner.build_param_scheduler(dict(schedule))
        assert 'One that counts iterations needs by_epoch=False and convert_to' in capsys.readouterr().out
        runner.build_param_scheduler(dict(schedule, by_epoch=False, convert_to_iter_based=False))
        assert 'disagree' not in capsys.readouterr().out


class TestClassNames:
    @pytest.mark.parametrize('found', [None, [], ['a'], ['a', 'b'], ['a', 'b', 'c'], ['a', 'b', 'c', 'd']])
    def test_same_numbers(self, found):
        assert compare_classes(['a', 'b', 'c'], found, 'data') is None

    def test_without_names(self):
        assert compare_classes(None, ['a'], 'data') is None

    # ImageNet has two classes named "crane".
    def test_repeated_names(self):
        assert compare_classes(['crane', 'ox', 'crane'], ['crane', 'ox', 'crane'], 'data') is None

    def test_other_spelling(self):
        warning = compare_classes(['a', 'b', 'c'], ['A', 'b', 'see'], 'data')
        assert (
            warning
            == 'data: classes have other names than in training: 0 is A, in training a, 2 is see, in training c.'
        )

    @pytest.mark.parametrize(
        ('found', 'message'),
        [
            (['b', 'c'], 'class b is number 0, and was 1 in training.* lack a: '),
            (['a', 'aa', 'b', 'c'], 'class b is number 2, and was 1 in training.* have aa: '),
            (['a', 'aa', 'b'], 'class b is number 2, and was 1 in training.* lack c and have aa: '),
            (['a', 'c', 'b'], 'class c is number 1, and was 2 in training.* are in another order: '),
        ],
    )
    def test_other_numbers(self, found, message):
        with pytest.raises(UserError, match=f'data: {message}'):
            compare_classes(['a', 'b', 'c'], found, 'data')
