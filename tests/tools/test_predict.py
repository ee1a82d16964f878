"""``tools/predict.py`` on classifiers with known results: brightest colour, or dark and bright."""

import csv
import io
import json
import os
import re
import sys

import numpy as np
import pytest
import torch
from mmpretrain import ImageClassificationInferencer, get_model
from mmpretrain.registry import DATASETS
from PIL import Image

from rescaps_plugin.models.prepack import PrepackedConv2d, prepack
from tests.tools.colors import FILES, RESIZE, write_classifier

COLORS = {'blue': (0, 0, 250), 'green': (0, 250, 0), 'red': (250, 0, 0)}


# The names of the checkpoint's classes for the folders of the test set, in another order.
AS_TRAINED = ('--cfg-options', "test_dataloader.dataset.metainfo=dict(classes=('red','green','blue'))")


@pytest.fixture
def images(tmp_path):
    """Noisy images by class, with one blue image among the red ones."""
    rng = np.random.default_rng(0)
    root = tmp_path / 'images'
    for name, color in [('blue/1.png', 'blue'), ('green/1.PNG', 'green'), ('red/1.jpg', 'red'), ('red/2.png', 'blue')]:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(-5, 5, (12, 10, 3))
        Image.fromarray(np.clip(np.array(COLORS[color]) + noise, 0, 255).astype(np.uint8)).save(path)
    (root / 'notes.txt').write_text('not an image')
    return root


@pytest.fixture
def make_model(tmp_path, images, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    return lambda *arguments, **options: write_classifier(tmp_path, images, *arguments, **options)


@pytest.fixture
def files_model(make_model):
    """A model of colour files, read as in OpenMMLab configs: BGR, swapped by the data preprocessor."""
    return make_model(FILES, to_rgb=True)


@pytest.fixture
def predict(load_tool, tmp_path, monkeypatch):
    """Call the tool in this process and return the rows of its table."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        load_tool('predict').main([*map(str, arguments), '--device', 'cpu', '--format', 'json'])
        return json.loads((tmp_path / 'work_dirs/config/predictions/predictions.json').read_text())

    return call


def test_folder_as_a_user_types_it(files_model, images, run_tool, repository, tmp_path):
    path = f'{repository}{os.pathsep}{tmp_path}'
    result = run_tool('predict', *files_model, images, '--out-dir', tmp_path / 'out', PYTHONPATH=path)
    assert result.returncode == 0, result.stderr
    assert f'{images / "red/1.jpg"}: red (1.000)' in result.stdout
    with (tmp_path / 'out/predictions.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [(os.path.relpath(row['image'], images), row['class']) for row in rows] == [
        ('blue/1.png', 'blue'),
        ('green/1.PNG', 'green'),
        ('red/1.jpg', 'red'),
        ('red/2.png', 'blue'),
    ]
    assert all(float(row['score']) > 0.99 for row in rows)
    # The figure shows the original colours, one image per tile.
    picture = np.asarray(Image.open(tmp_path / 'out/predictions.png').convert('RGB')).reshape(-1, 3).astype(int)
    shown = {name: int((abs(picture - color).max(1) < 12).sum()) for name, color in COLORS.items()}
    assert min(shown.values()) > 1000
    assert shown['blue'] == pytest.approx(2 * shown['red'], rel=0.1)


def test_exported_file_as_a_user_types_it(files_model, images, run_tool, load_tool, predict, repository, tmp_path):
    """Same table as of the model; with either runtime, any batch size, and images of each."""
    pytest.importorskip('onnxruntime', reason="needs pip install '.[export]'")
    expected = predict(*files_model, images, '--top-k', 3)
    options = ['--input-size', '8', '8', '--dynamic-batch', '--out', 'colors.onnx']
    load_tool('export').main([*map(str, files_model), *options])
    path = f'{repository}{os.pathsep}{tmp_path}'
    result = run_tool('predict', 'colors.onnx', images, '--top-k', 3, '--format', 'json', PYTHONPATH=path)
    assert result.returncode == 0, result.stderr
    assert f'{images / "red/1.jpg"}: red (1.000)' in result.stdout
    out = tmp_path / 'work_dirs/colors/predictions'
    assert (out / 'predictions.png').is_file()
    rows = {None: json.loads((out / 'predictions.json').read_text())}
    for runtime, size in (('onnx', 3), ('openvino', 1)):
        pytest.importorskip('openvino', reason="needs pip install '.[openvino]'")
        options = ['--top-k', '3', '--format', 'json', '--runtime', runtime, '--batch-size', str(size)]
        load_tool('predict').main(['colors.onnx', str(images), *options])
        rows[runtime] = json.loads((out / 'predictions.json').read_text())
    for found in rows.values():
        assert [row['class'] for row in found] == [row['class'] for row in expected]
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys() and one['score_3'] == pytest.approx(other['score_3'], abs=2e-6)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['a.onnx'], 'an INPUT must follow a.onnx: an exported file has no test set'),
        (['a.onnx', 'b.png'], 'error: a.onnx does not exist.'),
        (['broken.onnx', 'b.png'], 'error: broken.onnx cannot be read by onnxruntime: '),
        (['broken.xml', 'b.png'], 'error: broken.xml: the file of its weights, broken.bin, is missing beside it.'),
    ],
)
def test_exported_files_that_cannot_be_used(load_tool, tmp_path, monkeypatch, capsys, arguments, message):
    pytest.importorskip('onnxruntime', reason="needs pip install '.[export]'")
    monkeypatch.chdir(tmp_path)
    for suffix in ('.onnx', '.xml'):
        (tmp_path / f'broken{suffix}').write_bytes(b'not a network')
    with pytest.raises(SystemExit) as stop:
        load_tool('predict').main(arguments)
    assert message in str(stop.value.code) + capsys.readouterr().err


def test_runtimes_that_do_not_run_a_file_or_on_a_device(files_model, images, load_tool, tmp_path, monkeypatch):
    pytest.importorskip('openvino', reason="needs pip install '.[openvino]'")
    monkeypatch.chdir(tmp_path)
    options = ['--input-size', '8', '8', '--format', 'openvino', '--out', 'colors.xml']
    load_tool('export').main([*map(str, files_model), *options])
    for options, message in [
        (['--runtime', 'onnx'], "runtime 'onnx' does not run colors.xml; 'openvino' can"),
        (['--runtime', 'torch'], "runtime 'torch' does not run colors.xml; 'openvino' can"),
        (['--device', 'cuda'], "runtime 'openvino' as installed here runs on cpu, not on 'cuda'"),
    ]:
        with pytest.raises(SystemExit, match=message):
            load_tool('predict').main(['colors.xml', str(images), *options])


@pytest.mark.parametrize('runtime', ['onnx', 'openvino'])
def test_runtime_of_a_checkpoint(files_model, images, predict, tmp_path, monkeypatch, runtime):
    pytest.importorskip(runtime, reason="needs pip install '.[openvino]'")
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    expected = predict(*files_model, images)
    rows = predict(*files_model, images, '--runtime', runtime)
    assert [row['class'] for row in rows] == [row['class'] for row in expected]
    np.testing.assert_allclose([row['score'] for row in rows], [row['score'] for row in expected], atol=2e-6)
    assert len([*(tmp_path / 'hub').rglob('*.onnx')]) == 1


def test_prepacked_weights(files_model, images, load_tool, predict, tmp_path, monkeypatch):
    expected = predict(*files_model, images)
    packed = []
    monkeypatch.setattr(
        'rescaps_plugin.export.predictor.prepack', lambda model: packed.append(prepack(model)) or packed[-1]
    )
    rows = predict(*files_model, images, '--prepack')
    assert any(isinstance(module, PrepackedConv2d) for module in packed[0].modules())
    assert [row['class'] for row in rows] == [row['class'] for row in expected]
    np.testing.assert_allclose([row['score'] for row in rows], [row['score'] for row in expected], atol=1e-5)
    arguments = [
        *map(str, (*files_model, images)),
        '--prepack',
        '--runtime',
        'onnx',
        '--out-dir',
        str(tmp_path / 'onnx'),
    ]
    with pytest.raises(SystemExit, match='packed weights are for the runtime torch, not onnx'):
        load_tool('predict').main(arguments)


def test_figure_of_a_network_with_bgr_input(make_model, tmp_path, predict):
    Image.new('RGB', (9, 9), (230, 30, 10)).save(tmp_path / 'red.png')
    predict(*make_model(FILES, to_rgb=False), tmp_path / 'red.png')
    picture = np.asarray(Image.open(tmp_path / 'work_dirs/config/predictions/predictions.png').convert('RGB'))
    found = {color: (abs(picture.astype(int) - color).max(2) < 3).sum() for color in [(230, 30, 10), (10, 30, 230)]}
    assert list(found.values()) == [pytest.approx(max(found.values())), 0] and found[230, 30, 10] > 1000


def test_same_as_mmpretrain_inferencer(files_model, images, predict):
    paths = sorted(str(path) for path in images.rglob('*.*g'))
    expected = ImageClassificationInferencer(str(files_model[0]), pretrained=str(files_model[1]))(paths)
    rows = predict(*files_model, *paths, '--batch-size', 3)
    assert [row['class'] for row in rows] == [result['pred_class'] for result in expected]
    np.testing.assert_allclose([row['score'] for row in rows], [result['pred_score'] for result in expected], atol=1e-6)


def test_pipeline_that_starts_from_arrays_gets_them_in_its_order_of_colors(make_model, images, predict):
    # As for CIFAR-10: arrays in memory are RGB and are not swapped.
    rows = predict(*make_model(RESIZE, to_rgb=False), images)
    assert [row['class'] for row in rows] == ['blue', 'green', 'red', 'blue']
    rows = predict(*make_model(RESIZE, to_rgb=True), images)
    assert [row['class'] for row in rows] == ['blue', 'green', 'red', 'blue']


def test_grey_model_reads_color_files_as_grey(make_model, tmp_path, predict):
    model = make_model(
        RESIZE, channels=1, weight=torch.tensor([[-1.0], [1.0]]), bias=torch.tensor([10.0, -10.0]), classes=None
    )
    for name, level in [('dark', 40), ('light', 215)]:
        Image.new('RGB', (9, 9), (level, level, level)).save(tmp_path / f'{name}.png')
    rows = predict(*model, tmp_path / 'light.png', tmp_path / 'dark.png')
    assert [row['class'] for row in rows] == ['1', '0']  # the checkpoint has no class names


def test_standard_input(files_model, images, predict, monkeypatch):
    for name, wanted in (('blue/1.png', 'blue'), ('green/1.PNG', 'green')):
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO((images / name).read_bytes())))
        (row,) = predict(*files_model, '-')
        assert (row['image'], row['class']) == ('/dev/stdin', wanted)
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(SystemExit, match='/dev/stdin: the file is empty'):
        predict(*files_model, '-')


def test_test_set_of_other_numbers(files_model, predict):
    with pytest.raises(SystemExit, match='class blue is number 0, and was 2 in training'):
        predict(*files_model)


def test_test_set_with_true_classes(files_model, predict, capsys):
    rows = predict(*files_model, *AS_TRAINED)
    # CustomDataset numbers the folders in alphabetical order, so its class 0 is 'red' in the checkpoint.
    assert [row['truth'] for row in rows] == ['red', 'green', 'blue', 'blue']
    assert [row['class'] for row in rows] == ['blue', 'green', 'red', 'blue']
    assert '2 of 4 predictions are right' in capsys.readouterr().out


def test_files_of_a_test_set_in_memory_score_as_the_test_set(repository, load_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = repository / 'configs/rescaps/digits.py'
    model = get_model(str(config))
    model.train()
    for _ in range(30):  # statistics for the normalisation layers, so that images differ in their scores
        model(100 * torch.randn(16, 1, 16, 16), mode='tensor')
    torch.save({'state_dict': model.state_dict()}, 'model.pth')
    digits = DATASETS.build(dict(type='Digits', split='test', pipeline=[]))
    for index in range(5):
        Image.fromarray(digits[index * len(digits) // 5]['img']).save(f'{index}.png')

    tables = {}
    for name, inputs in (('files', [f'{index}.png' for index in range(5)]), ('set', ['--max-images', '5'])):
        load_tool('predict').main([str(config), 'model.pth', *inputs, '--out-dir', name, '--format', 'json'])
        tables[name] = json.loads((tmp_path / name / 'predictions.json').read_text())
    assert [(row['class'], row['score']) for row in tables['files']] == [
        (row['class'], row['score']) for row in tables['set']
    ]
    assert len({row['score'] for row in tables['set']}) == 5


RANKED = (('class', 'score'), ('class_2', 'score_2'))


def test_top_k(files_model, images, predict, capsys):
    rows = predict(*files_model, images, '--top-k', '2')
    first = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('image'))
    expected = ', '.join(f'{rows[0][name]} ({rows[0][score]:.3f})' for name, score in RANKED)
    assert first == f'image {rows[0]["image"]}: {expected}'
    assert all(set(row) == {'image', 'class', 'score', 'class_2', 'score_2'} for row in rows)
    for row in rows:
        assert row['class_2'] in COLORS.keys() - {row['class']} and row['score_2'] <= row['score']
    (one,) = predict(*files_model, images / 'red/1.jpg', '--top-k', '9')
    assert {one['class'], one['class_2'], one['class_3']} == {'red', 'green', 'blue'} and 'class_4' not in one


def test_work_dir(files_model, images, load_tool, tmp_path):
    load_tool('predict').main([*map(str, (*files_model, images)), '--device', 'cpu', '--work-dir', str(tmp_path / 'w')])
    assert (tmp_path / 'w' / 'predictions' / 'predictions.csv').is_file()


def test_max_images_are_spread_over_the_test_set(files_model, images, predict):
    rows = predict(*files_model, '--max-images', 2, *AS_TRAINED)
    assert [os.path.relpath(row['image'], images) for row in rows] == ['blue/1.png', 'red/1.jpg']


def test_cfg_options_change_the_config(files_model, images, predict):
    rows = predict(*files_model, images / 'red/1.jpg', '--cfg-options', 'model.data_preprocessor.to_rgb=False')
    assert rows[0]['class'] == 'blue'


def test_images_of_any_name_and_kind(files_model, tmp_path, predict, capsys):
    """AVIF and WebP are read like JPEG, and special names do not break the table or the figure."""
    folder = tmp_path / 'any'
    folder.mkdir()
    names = ['a.avif', 'b.webp', '$c_$.gif', os.fsdecode(b'\xff.jpg')]
    for name in names:
        Image.new('RGB', (12, 10), COLORS['green']).save(folder / name)
    (folder / 'notes.txt').touch()
    rows = predict(*files_model, folder)
    assert {row['class'] for row in rows} == {'green'}
    assert [os.path.basename(row['image']) for row in rows] == ['$c_$.gif', 'a.avif', 'b.webp', r'\xff.jpg']
    assert 'skipped 1 files, not images: notes.txt' in capsys.readouterr().err


def test_names_outside_the_locale(files_model, images, tmp_path, run_tool, repository):
    """Results are written even if neither stdout nor file names are UTF-8."""
    (images / 'red' / '1.jpg').rename(images / 'red' / '图.jpg')
    locale = dict(PYTHONUTF8='0', PYTHONCOERCECLOCALE='0', LC_ALL='C', PYTHONIOENCODING='')
    path = f'{repository}{os.pathsep}{tmp_path}'
    out = tmp_path / 'out'
    result = run_tool('predict', *files_model, images / 'red', '--out-dir', out, PYTHONPATH=path, **locale)
    assert result.returncode == 0, result.stderr
    with (out / 'predictions.csv').open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [(os.path.basename(row['image']), row['class']) for row in rows] == [('2.png', 'blue'), ('图.jpg', 'red')]
    assert r'\u56fe.jpg: red' in result.stdout


@pytest.mark.parametrize('name', ['red/1.jpg', 'blue/1.png'])
def test_truncated_image_is_named_and_the_others_predicted(files_model, images, predict, tmp_path, name):
    content = (images / name).read_bytes()
    (images / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(SystemExit) as stop:
        predict(*files_model, images)
    assert '1 inputs could not be read' in stop.value.code and str(images / name) in stop.value.code
    rows = json.loads((tmp_path / 'work_dirs/config/predictions/predictions.json').read_text())
    assert len(rows) == 3 and str(images / name) not in [row['image'] for row in rows]


def test_no_readable_image(files_model, tmp_path, predict):
    (tmp_path / 'empty.png').touch()
    with pytest.raises(SystemExit, match='empty.png: the file is empty'):
        predict(*files_model, tmp_path / 'empty.png')


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['{config}', '{checkpoint}', 'nowhere/cat.png'], 'INPUT nowhere/cat.png does not exist'),
        (['{config}', '{checkpoint}', 'empty'], 'INPUT empty contains no images.*\\.jpg'),
        (['{config}', 'nowhere.pth', 'images'], 'checkpoint nowhere.pth does not exist'),
        (['nowhere.py', '{checkpoint}', 'images'], 'config nowhere.py does not exist'),
        (['{config}', '{checkpoint}', 'images', '--max-images', '0'], 'must be at least 1, not 0'),
        (['{config}', '{checkpoint}', '--cfg-options', 'default_scope=mmdet'], "default_scope 'mmdet'.*mmpretrain"),
        (
            ['{config}', '{checkpoint}', 'images', '--cfg-options', 'model.head.num_classes=5'],
            'not one of this model.*head.fc.weight',
        ),
    ],
)
def test_mistakes(files_model, predict, tmp_path, capsys, arguments, message):
    (tmp_path / 'empty').mkdir()
    config, checkpoint = files_model
    with pytest.raises(SystemExit) as stop:
        predict(*(argument.format(config=config, checkpoint=checkpoint) for argument in arguments))
    assert stop.value.code not in (None, 0)
    # argparse prints its message to stderr; sys.exit has it as code.
    assert re.search(message, f'{stop.value.code}{capsys.readouterr().err}', re.DOTALL)


def test_model_of_two_channels_takes_no_files(make_model, images, predict):
    model = make_model(RESIZE, channels=2, weight=torch.eye(2))
    with pytest.raises(SystemExit, match='takes images of 2 channels; an image file has 1 or 3'):
        predict(*model, images)


@pytest.mark.parametrize(
    ('classes', 'message'), [(7, 'classes is a int, not a list'), (('red',), r'names 1 classes; its model has 3\.')]
)
def test_checkpoint_with_odd_names_of_classes(make_model, images, predict, classes, message):
    model = make_model(FILES, classes=classes)
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        predict(*model, images)


def test_images_of_different_sizes_need_a_resize(make_model, images, predict):
    Image.new('RGB', (30, 20)).save(images / 'large.png')
    model = make_model([dict(type='LoadImageFromFile'), dict(type='PackInputs')])
    with pytest.raises(SystemExit, match='different sizes.*Resize.*--batch-size 1'):
        predict(*model, images)
    assert len(predict(*model, images, '--batch-size', 1)) == 5
