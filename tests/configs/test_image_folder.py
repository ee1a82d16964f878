"""Your own images with configs/rescaps/image_folder.py: all tools take the classes from the folders."""

import csv
import logging

import numpy as np
import pytest
from PIL import Image

CLASSES = {'bolts': (250, 0, 0), 'nuts': (0, 250, 0), 'washers': (0, 0, 250)}


@pytest.fixture
def options(tmp_path):
    random = np.random.RandomState(0)
    for split, count in (('train', 8), ('test', 2)):
        for name, color in CLASSES.items():
            folder = tmp_path / 'pictures' / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = random.randint(0, 40, (70, 90, 3))
                Image.fromarray(np.clip(noise + color, 0, 255).astype(np.uint8)).save(folder / f'{number}.png')
    loaders = ('train', 'val', 'test')
    values = dict(data_root=tmp_path / 'pictures')
    options = [f'{loader}_dataloader.dataset.{key}={value}' for loader in loaders for key, value in values.items()]
    options += [f'{loader}_dataloader.num_workers=0' for loader in loaders]
    small = ['model.backbone.capsule_types=(2,2,2,2)', 'model.head.in_channels=34', 'log_level=ERROR']
    return [*options, *small, 'train_dataloader.batch_size=8', 'train_cfg.max_epochs=1']


@pytest.fixture
def config(repository):
    return str(repository / 'configs/rescaps/image_folder.py')


def test_train_and_predict(config, options, load_tool, tmp_path):
    options = ['--cfg-options', *options, 'model.head.num_classes=3']
    load_tool('train').main([config, '--work-dir', str(tmp_path / 'run'), *options])
    arguments = [config, str(tmp_path / 'run/epoch_1.pth')]
    load_tool('predict').main([*arguments, '--out-dir', str(tmp_path / 'out'), '--top-k', '3', *options])
    with (tmp_path / 'out/predictions.csv').open(encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and {row['truth'] for row in rows} == set(CLASSES)
    assert all({row['class'], row['class_2'], row['class_3']} == set(CLASSES) for row in rows)


def test_wrong_number_of_classes_is_reported(config, options, load_tool, tmp_path):
    with pytest.raises(SystemExit, match=r'has 3 classes: set model\.head\.num_classes=3'):
        load_tool('train').main([config, '--work-dir', str(tmp_path / 'run'), '--cfg-options', *options])


def rename_test_folder(tmp_path, old, new):
    (tmp_path / 'pictures/test' / old).rename(tmp_path / 'pictures/test' / new)


def test_other_folders_than_in_training(config, options, load_tool, tmp_path):
    options = ['--cfg-options', *options, 'model.head.num_classes=3']
    run, checkpoint = str(tmp_path / 'run'), str(tmp_path / 'run/epoch_1.pth')
    load_tool('train').main([config, '--work-dir', run, *options])
    # Moves "nuts" from 1 to 2.
    rename_test_folder(tmp_path, 'washers', 'clamps')
    message = (
        r'_dataloader\.dataset: class nuts is number 2, and was 1 in training, so that labels are wrong\. '
        r'These data lack washers and have clamps: name the same classes'
    )
    for tool, arguments in (
        ('train', ['--work-dir', str(tmp_path / 'again')]),
        ('test', [checkpoint, '--work-dir', run]),
        ('predict', [checkpoint, '--out-dir', run]),
        ('robustness', [checkpoint, '--out-dir', run]),
        ('visualise_capsules', [checkpoint, '--out-dir', run]),
        ('baselines', []),
    ):
        with pytest.raises(SystemExit, match=message):
            load_tool(tool).main([config, *arguments, *options])
    assert not list(tmp_path.glob('again/*.pth'))


def test_other_spelling_is_a_warning(config, options, load_tool, tmp_path, caplog):
    rename_test_folder(tmp_path, 'nuts', 'nut')
    options = [option for option in options if not option.startswith('log_level')]
    arguments = [config, '--work-dir', str(tmp_path / 'run'), '--cfg-options', *options, 'model.head.num_classes=3']
    load_tool('train').main(arguments)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    assert 'val_dataloader.dataset: classes have other names than in training: 1 is nut, in training nuts.' in (
        log.read_text()
    )


def test_other_spelling_is_a_warning_of_baselines(config, options, load_tool, tmp_path, monkeypatch):
    pytest.importorskip('sklearn')
    logged = []
    monkeypatch.setattr('rescaps_plugin.classification.baselines.print_log', lambda *args: logged.append(args))
    rename_test_folder(tmp_path, 'nuts', 'nut')
    load_tool('baselines').main([config, '--cfg-options', *options])
    message = 'test_dataloader.dataset: classes have other names than in training: 1 is nut, in training nuts.'
    assert logged == [(message, 'current', logging.WARNING)]


def test_missing_folder_is_reported_with_instructions(config, load_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = r'data/images/train is missing; .* Put pictures there, or set dataset\.data_root'
    with pytest.raises(SystemExit, match=message):
        load_tool('train').main([config, '--work-dir', 'run', '--cfg-options', 'log_level=ERROR'])
