"""``tools/export.py`` on Digits, with a briefly trained network."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain import get_model
from mmpretrain.registry import DATASETS
from PIL import Image
from timm.utils import reparameterize_model

from rescaps_plugin.classification.exporter import ClassifierExporter
from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export.formats import FORMATS
from tests.tools.digits import train_epoch

onnxruntime = pytest.importorskip('onnxruntime', reason="needs pip install '.[export]'")
SUFFIXES = {'openvino': '.xml', 'onnx': '.onnx', 'torchscript': '.pt', 'exported': '.pt2'}
FOUND = re.compile(r'largest difference to PyTorch (\S+) on 64 images of the test set, top class agrees on 64 of 64')

BAKED = """
from mmengine.model import BaseModule
from mmengine.registry import MODELS


@MODELS.register_module()
class BakedScale(BaseModule):
    def forward(self, x):
        return (x.mean((2, 3)) * float(x.std()),)  # tracing makes the number a constant
"""


@pytest.fixture(scope='module')
def config(repository):
    return str(repository / 'configs/rescaps/digits.py')


@pytest.fixture(scope='module')
def model(config):
    return train_epoch(config)


@pytest.fixture(scope='module')
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'model.pth'
    classes = [f'digit {number}' for number in range(10)]
    torch.save({'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': classes}}}, path)
    return str(path)


@pytest.fixture(scope='module')
def digits(config, model):
    """All preprocessed test images, and their labels."""
    test_set = DATASETS.build(load_config(config).test_dataloader.dataset)
    data = model.data_preprocessor(default_collate([test_set[index] for index in range(len(test_set))]))
    return data['inputs'], np.array([int(sample.gt_label) for sample in data['data_samples']])


@pytest.fixture
def export(load_tool, tmp_path, monkeypatch):
    """Call the tool in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: load_tool('export').main([*map(str, arguments)])


def onnx_scores(path, images, batch):
    session = onnxruntime.InferenceSession(path)
    return np.concatenate([session.run(['scores'], {'images': part.numpy()})[0] for part in images.split(batch)])


def predicted_scores(model, images):
    with torch.no_grad():
        return torch.stack([sample.pred_score for sample in model(images, mode='predict')])


def test_command_line(run_tool, config, checkpoint, model, digits, tmp_path):
    import onnx

    result = run_tool('export', config, checkpoint, '--dynamic-batch', '--check')
    assert result.returncode == 0, result.stderr
    assert 'Warning' not in result.stderr
    path = tmp_path / 'work_dirs/digits/digits.onnx'
    assert f'wrote {path.relative_to(tmp_path)}' in result.stdout
    assert float(FOUND.search(result.stdout)[1]) < 1e-5
    assert [file.name for file in path.parent.iterdir()] == ['digits.onnx']

    images, _ = digits
    np.testing.assert_allclose(onnx_scores(path, images, batch=50), predicted_scores(model, images), atol=1e-5)
    graph = onnx.load(path)
    assert {entry.domain for entry in graph.opset_import} | {node.domain for node in graph.graph.node} == {''}
    assert {node.op_type for node in graph.graph.node} <= {
        'Conv',
        'Sigmoid',
        'Relu',
        'Add',
        'Concat',
        'Slice',
        'Reshape',
    }
    # The deploy form has only the parameters of convolutions.
    assert {len(weight.dims) for weight in graph.graph.initializer if weight.data_type == 1} == {1, 4}

    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    metadata = json.loads(metadata['metadata.json'])
    version = metadata.pop('rescaps')
    assert re.fullmatch(r'\d+\.\d+\.\d+', version)
    assert metadata == {
        'task': 'classification',
        'classes': [f'digit {number}' for number in range(10)],
        'input_size': [1, 16, 16],
        'dynamic_batch': True,
        'channel_order': None,
        'mean': [79.78],
        'std': [90.52],
        'test_pipeline': [
            {'type': 'Grayscale'},
            {'type': 'Resize', 'scale': [16, 16], 'interpolation': 'bicubic'},
            {'type': 'PackInputs'},
        ],
        'config': 'digits.py',
        'recipe': [
            'decode the file to grey values of 8 bits, rotate it as its EXIF orientation says, and drop its opacity',
            'resize to width 16 and height 16, without regard to proportions: bicubic by cv2',
            'subtract mean and divide by std, of values as the steps before leave them',
            'run the file; scores are of classes, in their order',
        ],
    }


@pytest.mark.parametrize(
    ('form', 'dynamic'),
    [(form, dynamic) for form in ('openvino', 'torchscript', 'exported') for dynamic in (False, True)],
)
def test_every_format_is_checked(export, config, checkpoint, tmp_path, capsys, form, dynamic):
    path = tmp_path / f'new/folder/model{SUFFIXES[form]}'
    export(config, checkpoint, '--format', form, '--out', path, '--check', *['--dynamic-batch'] * dynamic)
    assert float(FOUND.search(capsys.readouterr().out)[1]) < 1e-5
    weights = ['model.bin'] if form == 'openvino' else []
    assert sorted(file.name for file in path.parent.iterdir()) == [*weights, path.name]


def test_openvino_half_and_int8(export, config, checkpoint, digits, tmp_path, capsys):
    options = ['--half', '--int8', '--check', '--calibration-images', '64', '--dynamic-batch']
    export(config, checkpoint, '--format', 'openvino', *options, '--out', 'model.xml')
    lines = capsys.readouterr().out
    assert 1e-5 < float(FOUND.search(lines)[1]) < 1e-2
    names = ['model.bin', 'model.xml', 'model_int8.bin', 'model_int8.xml']
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    size, int8_size = (
        sum(file.stat().st_size for file in tmp_path.glob(f'{name}.*')) for name in ('model', 'model_int8')
    )
    assert f'wrote model_int8.xml ({int8_size / 1e6:.2f} MB, {int8_size / size:.2f}x of fp16)' in lines
    images, labels = digits
    half, int8 = (FORMATS['openvino'].load(tmp_path / f'{name}.xml')(images)[0] for name in ('model', 'model_int8'))
    assert (half.argmax(1) == int8.argmax(1)).float().mean() > 0.98
    assert 1e-4 < (half - int8).abs().max() < 0.15
    for name, scores in (('fp16', half), ('int8', int8)):
        accuracy = 100 * (scores.argmax(1).numpy() == labels).mean()
        reported = re.search(rf'{name}: accuracy (\S+) % on 360 images of the test set, \S+ ms per image', lines)
        assert float(reported[1]) == pytest.approx(accuracy, abs=0.3)


def test_int8_agrees_with_fp32(export, config, checkpoint, digits, tmp_path, capsys):
    """Also checks a file with batch size 1."""
    export(config, checkpoint, '--int8', '--check', '--calibration-images', '64', '--out', 'model.onnx')
    lines = capsys.readouterr().out
    assert float(FOUND.search(lines)[1]) < 1e-5
    fp32, int8 = tmp_path / 'model.onnx', tmp_path / 'model_int8.onnx'
    ratio = int8.stat().st_size / fp32.stat().st_size
    assert ratio < 0.35
    assert f'wrote model_int8.onnx ({int8.stat().st_size / 1e6:.2f} MB, {ratio:.2f}x of fp32)' in lines

    images, labels = digits
    scores = {path.stem: onnx_scores(path, images, batch=1) for path in (fp32, int8)}
    top = {name: values.argmax(1) for name, values in scores.items()}
    accuracy = {name: 100 * (values == labels).mean() for name, values in top.items()}
    assert accuracy['model'] > 70  # the network is trained
    assert (top['model'] == top['model_int8']).mean() > 0.98
    assert 1e-4 < abs(scores['model'] - scores['model_int8']).max() < 0.15
    for name, stem in (('fp32', 'model'), ('int8', 'model_int8')):
        reported = re.search(rf'{name}: accuracy (\S+) % on 360 images of the test set, \S+ ms per image', lines)
        assert float(reported[1]) == pytest.approx(accuracy[stem], abs=0.3)


def test_int8_calibrates_on_the_training_set_with_the_test_pipeline(load_tool, config, checkpoint):
    """Without augmentation, with the file's batch size, and always with the same images."""
    init_default_scope('mmpretrain')
    args = load_tool('export').parse_args([config, checkpoint, '--dynamic-batch'])
    cfg = load_config(config)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    first, second = ([*ClassifierExporter(cfg, args).calibration_inputs(20)] for _ in range(2))
    assert [batch.shape for batch in first] == [(16, 1, 16, 16), (4, 1, 16, 16)]
    assert torch.equal(torch.cat(first), torch.cat(second))
    train_set = DATASETS.build(dict(cfg.val_dataloader.dataset, split='train'))
    images = {((sample['inputs'].float() - 79.78) / 90.52).numpy().tobytes() for sample in train_set}
    assert all(image.numpy().tobytes() in images for image in torch.cat(first))


def test_int8_needs_a_pipeline_to_replace(load_tool, config, checkpoint):
    init_default_scope('mmpretrain')
    cfg = load_config(config)
    cfg.train_dataloader.dataset = dict(type='Digits', split='train')
    exporter = ClassifierExporter(cfg, load_tool('export').parse_args([config, checkpoint]))
    with pytest.raises(UserError, match='--int8 needs a train_dataloader.dataset.*Digits has none'):
        exporter.calibration_inputs(20)


def test_int8_calibrates_on_wrapped_data_sets(load_tool, config, checkpoint):
    init_default_scope('mmpretrain')
    cfg = load_config(config)
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.train_dataloader.dataset] * 2)
    exporter = ClassifierExporter(cfg, load_tool('export').parse_args([config, checkpoint]))
    assert sum(len(inputs) for inputs in exporter.calibration_inputs(20)) == 20
    assert len(exporter.calibration_set) == 2 * 1437


@pytest.mark.parametrize(('option', 'phase'), [('--check', 'test'), ('--int8', 'train')])
def test_missing_data_are_reported_before_the_model_is_traced(export, config, checkpoint, monkeypatch, option, phase):
    monkeypatch.setattr(torch.export, 'export', None)
    missing = f"{phase}_dataloader.dataset=dict(_delete_=True,type='ImageFolder',data_root='nowhere',pipeline=[])"
    with pytest.raises(SystemExit, match='nowhere is missing'):
        export(config, checkpoint, option, '--input-size', '16', '16', '--cfg-options', missing)


def test_missing_test_set_is_not_needed_with_a_size(export, config, checkpoint):
    missing = ['--cfg-options', "test_dataloader.dataset=dict(_delete_=True,type='ImageFolder',data_root='nowhere')"]
    with pytest.raises(SystemExit, match=r'nowhere is missing.* Or set --input-size H W: then no test image is needed'):
        export(config, checkpoint, *missing)


def test_softmax_head_gives_softmax_scores(export, tmp_path):
    """A config of another library without its data: the input size is an argument."""
    config = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'
    options = {'model.backbone.base_channels': 4, 'model.backbone.stem_channels': 4, 'model.head.in_channels': 32}
    torch.manual_seed(0)
    model = get_model(load_config(config, options))
    torch.save(model.state_dict(), 'random.pth')
    options = [f'{key}={value}' for key, value in options.items()]
    arguments = ['random.pth', '--format', 'exported', '--out', 'model.pt2', '--input-size', '32', '32']
    export(config, *arguments, '--cfg-options', *options)
    images = torch.randn(1, 3, 32, 32)
    texts = {'metadata.json': ''}
    scores = torch.export.load('model.pt2', extra_files=texts).module()(images)
    torch.testing.assert_close(scores, predicted_scores(model, images), atol=1e-6, rtol=0)
    assert scores.sum().item() == pytest.approx(1)
    metadata = json.loads(texts['metadata.json'])
    assert metadata['classes'][:2] == ['airplane', 'automobile']
    assert metadata['channel_order'] == 'RGB'
    assert metadata['mean'] == [125.307, 122.961, 113.8575]


@pytest.mark.filterwarnings('ignore:`torch.jit.*deprecated:FutureWarning')
def test_unswapped_channels_of_files_are_bgr(export, config, tmp_path):
    (tmp_path / 'config.py').write_text(
        f'_base_ = {config!r}\n'
        'model = dict(backbone=dict(in_channels=3))\n'
        'data_preprocessor = dict(mean=[1, 2, 3], std=[4, 5, 6])\n'
        "pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]\n"
        'test_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
    )
    torch.save(get_model(load_config('config.py')).state_dict(), 'colors.pth')
    for to_rgb, order in ((False, 'BGR'), (True, 'RGB')):
        arguments = ['config.py', 'colors.pth', '--format', 'torchscript', '--out', 'model.pt', '--input-size', 16, 16]
        export(*arguments, '--cfg-options', f'data_preprocessor.to_rgb={to_rgb}')
        texts = {'metadata.json': ''}
        torch.jit.load('model.pt', _extra_files=texts)
        metadata = json.loads(texts['metadata.json'])
        assert (metadata['channel_order'], metadata['mean'], metadata['std']) == (order, [1, 2, 3], [4, 5, 6])


def test_deploy_checkpoint(export, config, model, capsys):
    torch.save(reparameterize_model(model).state_dict(), 'deployed.pth')
    deploy = ['--cfg-options', 'model.backbone.deploy=True', 'model.head.deploy=True']
    arguments = [config, 'deployed.pth', '--format', 'torchscript', '--out', 'model.pt', '--check']
    export(*arguments, *deploy)
    assert FOUND.search(capsys.readouterr().out)
    with pytest.raises(SystemExit, match='deployed.pth is not one of this model'):
        export(*arguments)


def test_file_that_fails_the_check_is_not_kept(export, config, tmp_path, monkeypatch):
    (tmp_path / 'baked_scale.py').write_text(BAKED)
    (tmp_path / 'config.py').write_text(
        f'_base_ = {config!r}\n'
        "custom_imports = dict(imports=['rescaps_plugin.classification', 'baked_scale'])\n"
        "head = dict(_delete_=True, type='LinearClsHead', num_classes=10, in_channels=1)\n"
        "model = dict(backbone=dict(_delete_=True, type='BakedScale'), head=head)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    torch.save({'head.fc.weight': torch.randn(10, 1), 'head.fc.bias': torch.zeros(10)}, tmp_path / 'model.pth')
    arguments = ['config.py', 'model.pth', '--format', 'torchscript', '--out', 'out/model.pt']
    with pytest.raises(SystemExit, match=r'--check: largest difference to PyTorch .*; the file was not kept'):
        export(*arguments, '--check')
    assert list((tmp_path / 'out').iterdir()) == []
    export(*arguments)  # kept without the check
    assert (tmp_path / 'out/model.pt').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--format', 'tflite'], r"--format: invalid choice: 'tflite'.*onnx.*openvino.*torchscript.*exported"),
        (['--format', 'exported', '--int8'], '--int8 goes with --format onnx or openvino, not exported'),
        (['--format', 'openvino', '--opset', '18'], '--opset goes with --format onnx, not openvino'),
        (['--half'], '--half goes with --format openvino, not onnx'),
        (['--format', 'openvino', '--out', 'model.onnx'], r'give the name of a file that ends in \.xml'),
        (['--format', 'torchscript', '--opset', '18'], '--opset goes with --format onnx, not torchscript'),
        (['--out', 'model.pt'], r'--out model.pt: give the name of a file that ends in \.onnx'),
        (['--calibration-images', '0'], 'must be at least 1, not 0'),
        (['--cfg-options', 'default_scope=mmdet'], "default_scope 'mmdet'.*mmpretrain"),
        (['--cfg-options', 'model.head.num_classes=5'], r'model\.pth is not one of this model.*size mismatch'),
        (['--input-size', '64', '48'], 'the model does not take images of 1x64x48'),
        (['--cfg-options', 'test_dataloader=None'], 'has no test_dataloader'),
    ],
)
def test_mistakes(export, config, checkpoint, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        export(config, checkpoint, *arguments)
    assert stop.value.code not in (None, 0)
    # argparse prints its message to stderr; sys.exit has it as code.
    assert re.search(message, f'{stop.value.code}{capsys.readouterr().err}', re.DOTALL)
    assert list(tmp_path.rglob('*')) == []


def test_missing_files(export, config, checkpoint):
    with pytest.raises(SystemExit, match='checkpoint nowhere.pth does not exist'):
        export(config, 'nowhere.pth')
    with pytest.raises(SystemExit, match='config nowhere.py does not exist'):
        export('nowhere.py', checkpoint)


def test_images_of_another_size_cannot_check(export, config, model, tmp_path):
    options = ['--cfg-options', 'model.head.global_pool=avg']
    torch.save(get_model(load_config(config, {'model.head.global_pool': 'avg'})).state_dict(), 'model.pth')
    arguments = [config, 'model.pth', '--format', 'torchscript', '--out', 'model.pt', '--input-size', '24', '32']
    with pytest.raises(SystemExit, match='outputs images of 1x16x16, the file takes 1x24x32'):
        export(*arguments, '--check', *options)
    export(*arguments, *options)


@pytest.mark.parametrize('size', [(120, 83), (70, 101), (40, 64)])
def test_script_of_the_page_needs_only_the_file(load_tool, repository, tmp_path, monkeypatch, size):
    """Its scores equal those of tools/predict.py, for images larger and smaller than the input size."""
    monkeypatch.chdir(tmp_path)
    for name in ('train/cat', 'train/dog', 'test/cat', 'test/dog'):
        Path('data/images', name).mkdir(parents=True)
        Image.new('RGB', (70, 70), (200, 30, 90)).save(Path('data/images', name, '0.png'))
    config = str(repository / 'configs/rescaps/image_folder.py')
    options = ['model.backbone.capsule_types=(2,2,2,2)', 'model.head.in_channels=34']
    cfg = load_config(config, {'model.backbone.capsule_types': (2, 2, 2, 2), 'model.head.in_channels': 34})
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    torch.save(
        dict(state_dict=get_model(cfg).state_dict(), meta=dict(dataset_meta=dict(classes=('cat', 'dog')))), 'm.pth'
    )
    load_tool('export').main([config, 'm.pth', '--out', 'm.onnx', '--cfg-options', *options])
    noise = np.random.RandomState(0).randint(0, 255, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save('photo.png')
    page = (repository / 'configs/rescaps/README.md').read_text()
    (script,) = (block for block in re.findall(r'```python\n(.*?)```', page, re.DOTALL) if 'onnxruntime' in block)
    assert 'rescaps' not in script and 'torch' not in script and len(script.splitlines()) <= 18
    command = [sys.executable, '-c', script, 'm.onnx', 'photo.png']
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    arguments = ['--top-k', '2', '--format', 'json', '--device', 'cpu', '--out-dir', 'out', '--cfg-options', *options]
    load_tool('predict').main([config, 'm.pth', 'photo.png', *arguments])
    (row,) = json.loads(Path('out/predictions.json').read_text())
    names, scores = zip(*(line.split() for line in printed.splitlines()), strict=True)
    assert names == (row['class'], row['class_2'])
    np.testing.assert_allclose([*map(float, scores)], [row['score'], row['score_2']], rtol=0, atol=1e-5)
    assert row['score'] - row['score_2'] > 1e-3
