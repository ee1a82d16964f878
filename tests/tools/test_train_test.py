"""``tools/train.py`` and ``tools/test.py`` on a few small images of noise."""

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

pytest.importorskip('mmpretrain')

from mmengine import load
from mmengine.logging import HistoryBuffer

from rescaps_plugin.models.prepack import PrepackedConv2d, prepack
from rescaps_plugin.training import test_command
from tests.training.test_checkpoints import Exploit

CONFIG = """
_base_ = {runtime!r}
pipeline = [dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')]


def loader(folder, shuffle):
    dataset = dict(type='CustomDataset', data_root={data!r} + folder, pipeline=pipeline)
    sampler = dict(type='DefaultSampler', shuffle=shuffle)
    return dict(batch_size=8, num_workers=0, persistent_workers=False, dataset=dataset, sampler=sampler)


train_dataloader = loader('train', True)
val_dataloader = test_dataloader = loader('val', False)
del loader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1,))
model = dict(
    type='ImageClassifier',
    backbone=dict(type='LeNet5', num_classes=2),
    head=dict(type='ClsHead', loss=dict(type='CrossEntropyLoss')),
    data_preprocessor=dict(mean=[128.0], std=[64.0], num_classes=2))
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
auto_scale_lr = dict(base_batch_size=16)
train_cfg = dict(by_epoch=True, max_epochs=1, val_interval=1)
val_cfg = dict()
test_cfg = dict()
"""

SEGMENTATION = """
_base_ = ['mmseg::_base_/models/fcn_unet_s5-d16.py', 'mmseg::_base_/default_runtime.py']
size = (32, 32)
norm_cfg = dict(type='BN', requires_grad=True)
head = dict(num_classes=2, channels=4, norm_cfg=norm_cfg)
model = dict(
    data_preprocessor=dict(size=size),
    backbone=dict(base_channels=4, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=4, **head),
    auxiliary_head=dict(in_channels=8, **head),
    test_cfg=dict(_delete_=True, mode='whole'))
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='BaseSegDataset',
        data_root={data!r},
        data_prefix=dict(img_path='image', seg_map_path='mask'),
        metainfo=dict(classes=('ground', 'thing'), palette=[[0, 0, 0], [255, 255, 255]]),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]))
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=train_dataloader['dataset'])
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
val_cfg = dict(type='ValLoop')
default_hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1, save_best='mIoU'))
"""


@pytest.fixture(scope='session')
def data(tmp_path_factory):
    """Two classes of noise of different brightness, with an odd number of test images, 13."""
    root = tmp_path_factory.mktemp('noise')
    rng = np.random.default_rng(0)
    for split, counts in dict(train=(12, 12), val=(7, 6)).items():
        for label, count in enumerate(counts):
            (root / split / f'class{label}').mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 200 + 20 * label, (32, 32), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / f'class{label}' / f'{i}.png')
    return root


@pytest.fixture
def config(tmp_path, monkeypatch, repository, data):
    """Write the config with a name to the current folder; each run in this process needs a unique name."""
    monkeypatch.chdir(tmp_path)
    own = str(repository / 'configs' / '_base_' / 'default_runtime.py')

    def write(name, extra='', runtime=own):
        path = tmp_path / f'{name}.py'
        path.write_text(CONFIG.format(runtime=runtime, data=f'{data}/') + extra)
        return str(path)

    return write


@pytest.fixture
def train(load_tool):
    return load_tool('train').main


@pytest.fixture
def test(load_tool):
    return load_tool('test').main


def run_script(repository, name, *arguments, port=None):
    """Run ``tools/<name>.sh``, with a free port unless one is given."""
    if port is None:
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            port = listener.getsockname()[1]
    python = Path(sys.executable).parent
    return subprocess.run(
        [repository / 'tools' / f'{name}.sh', *map(str, arguments)],
        env={**os.environ, 'PORT': str(port), 'OMP_NUM_THREADS': '1', 'PATH': f'{python}:{os.environ["PATH"]}'},
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_train_then_go_on_with_mmpretrains_tool_then_test(config, run_tool, tmp_path):
    path = config('tiny')
    first = run_tool('train', path)
    assert first.returncode == 0, first.stderr
    assert 'Random seed: 0' in first.stdout and 'eta: ' in first.stdout
    last_line = first.stdout.strip().split('\n')[-1]
    last, best, logs = re.search(r'Checkpoints: (\S+) \(last\), (\S+) \(best\)\. Logs: (\S+)$', last_line).groups()
    assert Path(last) == tmp_path / 'work_dirs' / 'tiny' / 'epoch_1.pth'
    for checkpoint in (last, best):
        torch.load(checkpoint, weights_only=True)
    assert Path(logs, Path(logs).name + '.log').read_text().strip().endswith(last_line.partition(' - ')[2])

    theirs = Path(find_spec('mmpretrain').submodule_search_locations[0], '.mim', 'tools', 'train.py')
    second = subprocess.run(
        [sys.executable, theirs, path, '--resume', '--cfg-options', 'train_cfg.max_epochs=2'],
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert second.returncode == 0, second.stderr
    assert 'resumed epoch: 1' in second.stdout
    resumed = torch.load(Path(last).with_name('epoch_2.pth'), weights_only=True)
    assert len(resumed['message_hub']['log_scalars']['train/loss']['log_history']) == 6

    third = run_tool(
        'test', path, Path(last).with_name('epoch_2.pth'), '--out', 'metrics.json', '--out-item', 'metrics'
    )
    assert third.returncode == 0, third.stderr
    accuracy = json.loads((tmp_path / 'metrics.json').read_text())['accuracy/top1']
    assert f'accuracy/top1: {accuracy:.4f}' in third.stdout
    assert 'Results: metrics.json' in third.stdout.strip().split('\n')[-1]


@pytest.mark.slow
def test_two_cpu_processes(config, test, repository, tmp_path):
    path = config('pair')
    trained = run_script(repository, 'dist_train', path, 2, '--no-validate', '--cfg-options', 'train_cfg.max_epochs=2')
    assert trained.returncode == 0, trained.stderr
    assert 'GPU number: 2' in trained.stdout
    assert re.search(r'Epoch\(train\) \[2\]\[2/2\]', trained.stdout)  # one process has 3 batches of the 24 images
    checkpoint = tmp_path / 'work_dirs' / 'pair' / 'epoch_2.pth'
    metrics = '--out', 'two.json', '--out-item', 'metrics'
    tested = run_script(repository, 'dist_test', path, checkpoint, 2, *metrics)
    assert tested.returncode == 0, tested.stderr
    test([config('alone'), str(checkpoint), '--out', 'one.json', '--out-item', 'metrics'])
    one, two = (json.loads(Path(name).read_text()) for name in ('one.json', 'two.json'))
    assert one == two and 0 < one['accuracy/top1'] < 100


class TestTrain:
    def test_config_of_mmpretrain_resumes_from_its_checkpoint_when_trusted(self, config, train, capsys):
        foreign = 'mmpretrain::_base_/default_runtime.py'
        train([config('foreign', runtime=foreign), '--work-dir', 'run'])
        checkpoint = torch.load('run/epoch_1.pth', weights_only=True)  # our tool adds its hook to any config
        # as MMEngine saves it
        scalars = checkpoint['message_hub']['log_scalars']
        scalars['train/loss'] = HistoryBuffer(scalars['train/loss']['log_history'].tolist(), [1] * 3)
        torch.save(checkpoint, 'run/epoch_1.pth')
        again = ['--work-dir', 'run', '--resume', '--cfg-options', 'train_cfg.max_epochs=2']
        with pytest.raises(SystemExit, match=r'error: checkpoint .*HistoryBuffer.*--trust-checkpoint'):
            train([config('refused', runtime=foreign), *again])
        train([config('trusted', runtime=foreign), *again, '--trust-checkpoint'])
        resumed = torch.load('run/epoch_2.pth', weights_only=True)
        assert len(resumed['message_hub']['log_scalars']['train/loss']['log_history']) == 6

    def test_config_of_mmpretrain_by_base(self, config, train, data):
        Path('resnet.py').write_text(f"""
_base_ = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(
    num_workers=0,
    dataset=dict(_delete_=True, type='CustomDataset', data_root='{data}/train', pipeline=pipeline))
model = dict(backbone=dict(base_channels=4), head=dict(in_channels=32))
train_cfg = dict(max_epochs=1)
""")
        train(['resnet.py', '--no-validate'])
        assert 'optimizer' in torch.load('work_dirs/resnet/epoch_1.pth', weights_only=True)

    def test_config_of_mmseg(self, train, tmp_path, monkeypatch, capsys):
        pytest.importorskip('mmseg')
        monkeypatch.chdir(tmp_path)
        mask = np.zeros((32, 32), np.uint8)
        mask[8:24, 8:24] = 1
        for folder, picture, suffix in (('image', mask[..., None].repeat(3, 2) * 200, 'jpg'), ('mask', mask, 'png')):
            (tmp_path / folder).mkdir()
            for i in range(2):
                Image.fromarray(picture).save(tmp_path / folder / f'{i}.{suffix}')
        Path('unet.py').write_text(SEGMENTATION.format(data=str(tmp_path)))
        train(['unet.py'])
        checkpoints = sorted(path.name for path in Path('work_dirs/unet').glob('*.pth'))
        assert checkpoints == ['best_mIoU_iter_2.pth', 'iter_1.pth', 'iter_2.pth']
        for name in checkpoints:
            torch.load(Path('work_dirs/unet', name), weights_only=True)

    def test_child_config_with_hooks_of_its_own(self, config, train):
        extra = "custom_hooks = [dict(type='EMAHook')]\ndefault_hooks = dict(checkpoint=dict(interval=5))\n"
        train([config('hooks', extra)])
        assert 'ema_state_dict' in torch.load('work_dirs/hooks/epoch_1.pth', weights_only=True)

    def test_averages_of_a_timm_network_resume(self, config, train):
        network = dict(type='TimmCapsuleClassifier', model_name='srcaps_tiny', img_size=32)
        model = dict(network, num_classes=2, in_chans=1, data_preprocessor=dict(mean=[128.0], std=[64.0]))
        extra = (
            f"model = {model!r}\ncustom_hooks = [dict(type='EMAHook', momentum=0.1)]\ntrain_cfg.update(max_epochs=2)\n"
        )
        train([config('whole', extra), '--work-dir', 'whole'])
        train([config('rest', extra), '--work-dir', 'rest', '--resume', 'whole/epoch_1.pth'])
        whole, rest = (torch.load(f'{run}/epoch_2.pth', weights_only=True) for run in ('whole', 'rest'))
        for part in ('state_dict', 'ema_state_dict'):
            assert whole[part].keys() == rest[part].keys()
            assert all(torch.equal(value, rest[part][name]) for name, value in whole[part].items())
        # Names are timm's, and the averages differ from the weights.
        assert whole['state_dict'].keys() == timm.create_model(network['model_name']).state_dict().keys()
        averages = whole['ema_state_dict']
        assert not all(torch.equal(value, averages[f'module.{name}']) for name, value in whole['state_dict'].items())

    def test_flags(self, config, train):
        train([config('flags'), '--amp', '--auto-scale-lr', '--seed', '7', '--deterministic', '--no-validate'])
        checkpoint = torch.load('work_dirs/flags/epoch_1.pth', weights_only=True)
        assert checkpoint['meta']['seed'] == 7
        assert checkpoint['optimizer']['param_groups'][0]['lr'] == pytest.approx(1e-3 * 8 / 16)
        assert not any('val/' in key for key in checkpoint['message_hub']['log_scalars'])
        used = load_saved_config('work_dirs/flags/flags.py')
        assert used.amp == 'bfloat16' and used.optim_wrapper.type == 'BFloat16OptimWrapper'
        assert used.val_cfg is None and used.test_cfg.fp16
        assert used.randomness == dict(seed=7, deterministic=True)
        torch.use_deterministic_algorithms(False)

    def test_compiled_in_channels_last(self, config, train, test, monkeypatch):
        compiled = []
        monkeypatch.setattr(
            torch,
            'compile',
            lambda call, **options: compiled.append(options) or (lambda *args, **kw: call(*args, **kw)),
        )
        fast = '--channels-last', '--compile', 'reduce-overhead'
        train([config('fast'), '--work-dir', 'fast', *fast, '--no-validate'])
        trained = torch.load('fast/epoch_1.pth', weights_only=True)['state_dict']
        weights = [value for value in trained.values() if value.dim() == 4 and value.shape[2] > 1]
        assert weights and all(value.is_contiguous(memory_format=torch.channels_last) for value in weights)
        assert compiled and all(options['mode'] == 'reduce-overhead' for options in compiled)
        compiled.clear()
        test([config('fast_test'), 'fast/epoch_1.pth', *fast])
        assert compiled

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (['--amp', 'half'], "--amp: must be float16 or bfloat16, not 'half'; put other arguments before --amp"),
            (['--compile', 'fast'], "--compile: must be default, reduce-overhead, max-autotune, .*, not 'fast'"),
        ],
    )
    def test_words_that_are_no_precision(self, config, train, capsys, arguments, message):
        with pytest.raises(SystemExit, match='2'):
            train([config('words'), *arguments])
        assert re.search(message, capsys.readouterr().err)

    def test_same_seed_same_result(self, config, train):
        for name, seed in (('a', 1), ('b', 1), ('c', 2)):
            train([config(f'seed_{name}'), '--work-dir', name, '--seed', str(seed), '--no-validate'])
        a, b, c = (torch.load(f'{name}/epoch_1.pth')['state_dict'] for name in 'abc')
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert not all(torch.equal(a[key], c[key]) for key in a)

    def test_resume_without_a_checkpoint_starts(self, config, train):
        train([config('fresh'), '--resume', '--no-validate'])
        assert Path('work_dirs/fresh/epoch_1.pth').is_file()

    def test_fields_that_are_left_to_mmengine(self, config, train):
        fields = 'randomness=None', 'default_hooks=None', 'train_cfg=dict(_delete_=True,max_epochs=1)'
        for _ in range(2):
            train([config('left'), '--seed', '3', '--resume', '--no-validate', '--cfg-options', *fields])
        meta = torch.load('work_dirs/left/epoch_1.pth', weights_only=True)['meta']
        assert (meta['seed'], meta['epoch']) == (3, 1)

    def test_resume_from_another_model(self, config, train):
        train([config('two_classes'), '--work-dir', 'run', '--no-validate'])
        options = '--cfg-options', 'model.backbone.num_classes=3', 'train_cfg.max_epochs=2'
        with pytest.raises(
            SystemExit, match=r'error: checkpoint run/epoch_1\.pth is not one of this model:\n  size mismatch'
        ):
            train([config('three_classes'), '--resume', 'run/epoch_1.pth', '--no-validate', *options])

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (['nope.py'], r'config nope\.py does not exist'),
            (['{config}', '--resume', 'nope.pth'], r'checkpoint nope\.pth does not exist'),
            (['{config}', '--cfg-options', 'load_from=nope.pth'], r'checkpoint nope\.pth does not exist'),
            (['{config}', '--auto-scale-lr', '--cfg-options', 'auto_scale_lr=None'], 'has no auto_scale_lr'),
            (['{config}', '--cfg-options', 'train_cfg=None'], 'has no train_cfg'),
            (['{config}', '--amp', '--cfg-options', 'optim_wrapper.type=ApexOptimWrapper'], '--amp.*ApexOptimWrapper'),
            (['{config}', '--amp', 'float16'], 'amp float16 needs a GPU'),
            (['{config}', '--cfg-options', 'train_dataloader.dataset.data_root=nowhere'], 'nowhere'),
        ],
    )
    def test_mistakes(self, config, train, arguments, message):
        path = config(re.sub(r'\W+', '_', message))
        with pytest.raises(SystemExit, match=f'error: .*{message}'):
            train([argument.format(config=path) for argument in arguments])

    def test_launcher_without_processes(self, config, train, monkeypatch, capsys):
        monkeypatch.delenv('RANK', raising=False)
        with pytest.raises(SystemExit, match='2'):
            train([config('alone'), '--launcher', 'pytorch'])
        assert 'torchrun' in capsys.readouterr().err


class TestTest:
    @pytest.fixture
    def checkpoint(self, config, train, tmp_path):
        train([config(tmp_path.name), '--work-dir', 'trained', '--no-validate'])
        return 'trained/epoch_1.pth'

    def test_predictions_and_default_results(self, config, test, checkpoint, capsys):
        test([config('predicted'), checkpoint, '--out', 'predictions.pkl'])
        predictions = load('predictions.pkl')
        accuracy = 100 * np.mean([p['pred_label'].item() == p['gt_label'].item() for p in predictions])
        assert len(predictions) == 13
        test([config('measured'), checkpoint, '--amp'])
        results = re.search(r'Results: (\S+)\. Logs', capsys.readouterr().out.rsplit('Testing is done', 1)[1])[1]
        assert json.loads(Path(results).read_text())['accuracy/top1'] == pytest.approx(accuracy, abs=100 / 13)

    def test_prepacked_weights(self, config, test, train, monkeypatch):
        # Its weights are not those of the model, but averages that it exchanges before a test.
        extra = "custom_hooks = [dict(type='EMAHook', momentum=0.1)]\n"
        train([config('averaged', extra), '--work-dir', 'averaged', '--no-validate'])
        scores, prepared = [], []
        monkeypatch.setattr(test_command, 'prepack', lambda model: prepared.append(prepack(model)) or prepared[-1])
        for options in ([], ['--prepack'], ['--prepack', '--amp']):
            test([config(f'plain{len(scores)}', extra), 'averaged/epoch_1.pth', '--out', 'scores.pkl', *options])
            scores.append(torch.stack([each['pred_score'] for each in load('scores.pkl')]))
        torch.testing.assert_close(scores[1], scores[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(scores[2].float(), scores[0], rtol=0, atol=1e-2)
        assert any(isinstance(module, PrepackedConv2d) for module in prepared[0].modules()) and len(prepared) == 2
        monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
        with pytest.raises(SystemExit, match='--prepack needs a CPU and a PyTorch with oneDNN; the device is cpu'):
            test([config('without'), 'averaged/epoch_1.pth', '--prepack'])

    def test_time_augmentation(self, config, test, checkpoint):
        extra = """
tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
flips = [[dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)], [dict(type='PackInputs')]]
tta_pipeline = [pipeline[0], dict(type='TestTimeAug', transforms=flips)]
"""
        test([config('augmented', extra), checkpoint, '--tta', '--out', 'tta.pkl'])
        test([config('plain'), checkpoint, '--out', 'plain.pkl'])
        tta, plain = (torch.stack([p['pred_score'] for p in load(name)]) for name in ('tta.pkl', 'plain.pkl'))
        assert not torch.allclose(tta, plain)
        torch.testing.assert_close(tta.sum(1), torch.ones(13))

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (['nope.pth'], r'checkpoint nope\.pth does not exist'),
            (['{checkpoint}', '--cfg-options', 'model.backbone.num_classes=3'], 'not one of this model'),
            (['{checkpoint}', '--cfg-options', 'test_evaluator=None'], 'has no test_evaluator'),
            (['{checkpoint}', '--tta'], 'has no tta_model, tta_pipeline'),
        ],
    )
    def test_mistakes(self, config, test, checkpoint, arguments, message):
        path = config('mistake_' + re.sub(r'\W+', '_', message))
        with pytest.raises(SystemExit, match=f'error: .*{message}'):
            test([path, *(argument.format(checkpoint=checkpoint) for argument in arguments)])

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (['--out-item', 'metrics'], '--out-item needs --out'),
            (['--prepack', '--compile'], '--prepack does not go with --compile'),
            (['--out', 'a.json'], r'--out a\.json: pred can be saved as \.pkl'),
            (['--out', 'a.txt', '--out-item', 'metrics'], r'metrics can be saved as \.json'),
        ],
    )
    def test_mistaken_flags(self, test, capsys, arguments, message):
        with pytest.raises(SystemExit, match='2'):
            test(['config.py', 'checkpoint.pth', *arguments])
        assert re.search(message, capsys.readouterr().err)

    @pytest.mark.parametrize('out', ['config.py/m.json', '/proc/m.json', 'folder.json'])
    def test_out_that_cannot_be_written(self, config, test, checkpoint, out, capsys):
        Path('folder.json').mkdir()
        Path('config.py').touch()
        with pytest.raises(SystemExit, match=f'error: --out {out} cannot be written: '):
            test([config('out'), checkpoint, '--out', out, '--out-item', 'metrics'])
        assert 'Epoch(test)' not in capsys.readouterr().out

    @pytest.mark.parametrize('content', [[1], torch.zeros(2), {'state_dict': 1}, {'state_dict': {}, 'meta': [1]}])
    def test_file_that_is_no_checkpoint(self, config, test, train, tmp_path, content):
        torch.save(content, 'x.pth')
        for tool, arguments in ((test, ['x.pth']), (train, ['--resume', 'x.pth'])):
            with pytest.raises(SystemExit, match=r'error: x\.pth is no checkpoint: '):
                tool([config(f'{tmp_path.name}_{tool.__module__}'), *arguments])

    def test_url_of_an_evil_checkpoint(self, config, test, train, tmp_path, monkeypatch):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
        for name in ('http_proxy', 'HTTP_PROXY'):
            monkeypatch.delenv(name, raising=False)
        torch.save({'meta': Exploit(tmp_path / 'hacked')}, 'evil.pth')
        handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
        with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f'http://127.0.0.1:{server.server_port}/evil.pth'
            for name, tool, arguments in (
                ('test', test, [url]),
                ('load', train, ['--cfg-options', f'load_from={url}']),
                ('resume', train, ['--resume', url]),
                ('init', train, ['--cfg-options', "model.init_cfg.type='Pretrained'",
                                 f'model.init_cfg.checkpoint={url}']),
            ):  # fmt: skip
                extra = 'model["init_cfg"] = dict()' if name == 'init' else ''
                with pytest.raises(SystemExit, match='error: checkpoint http.* holds more than weights'):
                    tool([config(f'{tmp_path.name}_{name}', extra), *arguments])
            server.shutdown()
        assert not Path('hacked').exists()


def load_saved_config(path):
    from mmengine.config import Config

    return Config.fromfile(path)


@pytest.mark.parametrize(
    ('script', 'own', 'command'),
    [
        ('slurm_train', ['config.py', 'my dir'], ['train.py', 'config.py', '--work-dir', 'my dir']),
        ('slurm_test', ['config.py', 'a b.pth'], ['test.py', 'config.py', 'a b.pth']),
    ],
)
def test_slurm(tmp_path, repository, script, own, command):
    (tmp_path / 'srun').write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    started = subprocess.run(
        [repository / 'tools' / f'{script}.sh', 'gpus', 'job', *own, '--cfg-options', 'a="b c"'],
        env={'PATH': f'{tmp_path}:/usr/bin:/bin', 'GPUS': '4', 'SRUN_ARGS': '--time=1 --qos=x'},
        capture_output=True,
        text=True,
        check=True,
    )
    asked = started.stdout.split('\n')[:-1]
    python = asked.index('python')
    assert {'--partition=gpus', '--job-name=job', '--ntasks=4', '--gres=gpu:4', '--time=1', '--qos=x'} < set(
        asked[:python]
    )
    assert [asked[python + 2].rsplit('/', 1)[-1], *asked[python + 3 :]] == [
        *command,
        '--launcher',
        'slurm',
        '--cfg-options',
        'a="b c"',
    ]


@pytest.mark.parametrize('script', [('dist_train', 'c.py', 2), ('dist_test', 'c.py', 'c.pth', 2)])
def test_port_in_use(repository, script):
    name, *arguments = script
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        finished = run_script(repository, name, *arguments, port=listener.getsockname()[1])
    assert finished.returncode == 1
    assert (
        finished.stderr.startswith('error: the processes cannot meet at 127.0.0.1, port ')
        and finished.stderr.count('\n') == 1
    )


def test_mistake_in_processes_of_a_job(repository):
    finished = run_script(repository, 'dist_train', 'nope.py', 2)
    assert finished.returncode == 1 and 'Traceback' not in finished.stderr
    assert 'error: config nope.py does not exist.' in finished.stderr
    assert finished.stderr.strip().split('\n')[-1].startswith('error: process ')


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_script_without_arguments_says_how(repository, script):
    finished = run_script(repository, script)
    assert finished.returncode == 2 and 'usage: ' in finished.stderr
