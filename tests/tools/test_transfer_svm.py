"""``tools/transfer_svm.py``, and its functions on features with known classes."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from tests.tools.pointcaps import write_config

h5py = pytest.importorskip('h5py')
pytest.importorskip('sklearn')

from rescaps_plugin.cli.errors import UserError  # noqa: E402
from rescaps_plugin.pointcloud.transfer import PENALTIES, draw_fraction, fit_svm  # noqa: E402


@pytest.fixture
def model(tmp_path, repository, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, repository)


@pytest.fixture
def main(load_tool):
    return load_tool('transfer_svm').main


def test_transfer(main, model, tmp_path, capsys):
    main([*model, '--fractions', '1', '0.05'])
    folder = tmp_path / 'work_dirs' / 'rpr' / 'transfer'
    few, all_labels = json.loads((folder / 'transfer.json').read_text())
    assert (few['fraction'], few['clouds'], few['C']) == (0.05, 10, PENALTIES[2])
    assert (all_labels['fraction'], all_labels['clouds']) == (1, 60) and all_labels['C'] in PENALTIES
    with h5py.File(folder / 'latents.h5') as file:
        assert file['train/latent'].shape == (60, 16, 6) and file['test/latent'].shape == (24, 16, 6)
        assert list(file.attrs['classes']) == list('0123456789')
        labels = file['test/label'][:]
    with (folder / 'classes.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row['clouds']) for row in rows] == np.bincount(labels, minlength=10).tolist()
    right = sum(float(row['accuracy']) * int(row['clouds']) for row in rows if row['accuracy'])
    assert right / 24 == pytest.approx(all_labels['accuracy'], abs=0.01)
    assert Image.open(folder / 'confusion.png').size[0] > 400
    printed = capsys.readouterr().out
    assert '5 % of the labels (10 clouds): accuracy' in printed and '100 % of the labels (60 clouds)' in printed


def test_latents_are_read_back(main, model, tmp_path, capsys):
    main([*model, '--fractions', '1', '0.5', '--out-dir', 'first'])
    main(['--latents', 'first/latents.h5', '--fractions', '1', '0.5', '--out-dir', 'second'])
    for name in ('transfer.json', 'classes.csv'):
        assert (tmp_path / 'first' / name).read_bytes() == (tmp_path / 'second' / name).read_bytes()
    assert not (tmp_path / 'second' / 'latents.h5').exists()
    main(['--latents', 'first/latents.h5'])
    assert len(json.loads((tmp_path / 'first' / 'transfer.json').read_text())) == 1


def test_unusable_latents(main, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'text.h5').write_text('no latents')
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['x'] = [1]
    with h5py.File(tmp_path / 'short.h5', 'w') as file:
        file.attrs['classes'] = ['a', 'b']
        for split in ('train', 'test'):
            file[f'{split}/latent'] = np.zeros((3, 2, 2))
            file[f'{split}/label'] = [0, 1]
    for name, message in (
        ('nope', 'no such file'),
        ('text', 'does not hold'),
        ('other', 'does not hold'),
        ('short', '3 latents'),
    ):
        with pytest.raises(SystemExit, match=f'error: {name}.h5.*{message}'):
            main(['--latents', f'{name}.h5'])
    either = 'give CONFIG and CHECKPOINT, the name of a published model, or --latents FILE'
    for arguments, message in (
        ([], either),
        (['a.py', 'b.pth', '--latents', 'c.h5'], either),
        (['pointcaps-rpr_digitclouds', '--latents', 'c.h5'], either),
        (['a.py'], 'a CHECKPOINT must follow the config a.py.'),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err


def test_published_model_by_name(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    indices = 'test_dataloader.dataset.indices=40', 'train_dataloader.dataset.indices=60'
    main(['pointcaps-rpr_digitclouds', '--cfg-options', *indices])
    folder = tmp_path / 'work_dirs' / 'pointcaps-rpr_digitclouds' / 'transfer'
    (result,) = json.loads((folder / 'transfer.json').read_text())
    assert result['clouds'] == 60 and result['accuracy'] > 50


def test_clouds_of_another_config(main, model, tmp_path):
    other = tmp_path / 'other.py'
    other.write_text("_base_ = './rpr.py'\ntrain_dataloader = dict(dataset=dict(indices=40))\n")
    main([*model, '--data', str(other), '--out-dir', 'out'])
    assert json.loads((tmp_path / 'out' / 'transfer.json').read_text())[0]['clouds'] == 40


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nope.py', '{1}'], 'config nope.py does not exist'),
        (['{0}', 'nope.pth'], 'checkpoint nope.pth does not exist'),
        (
            ['{0}', '{1}', '--cfg-options', 'model.latent_dim=8'],
            r'rpr\.pth is not one of this model:\n  size mismatch',
        ),
        (['{0}', '{1}', '--cfg-options', 'train_dataloader=None'], 'has no train_dataloader'),
        # Before the clouds are looked for.
        (
            ['{0}', '{1}', '--out-dir', '{0}', '--cfg-options', 'train_dataloader=None'],
            r'--out-dir cannot be written: .*rpr\.py',
        ),
    ],
)
def test_mistakes(main, model, arguments, message):
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        main([argument.format(*model) for argument in arguments])


def test_another_model(main, model, tmp_path):
    other = tmp_path / 'other.py'
    other.write_text("_base_ = './rpr.py'\nmodel = dict(_delete_=True, type='ChamferLoss')\n")
    with pytest.raises(SystemExit, match='other.py: model.type must be PointCapsAE or PointNetAE, it is ChamferLoss'):
        main([str(other), model[1]])


@pytest.mark.parametrize('value', ['0', '1.5', '-1'])
def test_invalid_fractions(main, capsys, value):
    with pytest.raises(SystemExit, match='2'):
        main(['config.py', 'checkpoint.pth', '--fractions', value])
    assert f'must be above 0 and at most 1, not {value}' in capsys.readouterr().err


def test_fractions_are_of_every_class_and_nested():
    labels = np.repeat([0, 1, 2], [100, 20, 3])
    small, large = (draw_fraction(labels, fraction, 0) for fraction in (0.05, 0.2))
    assert np.bincount(labels[small]).tolist() == [5, 1, 1]
    assert np.bincount(labels[large]).tolist() == [20, 4, 1]
    assert set(small) < set(large)
    assert len(draw_fraction(labels, 1, 0)) == 123
    assert not np.array_equal(small, draw_fraction(labels, 0.05, 1))


def test_scale_and_offset_of_features_do_not_matter():
    random = np.random.RandomState(0)
    labels = np.arange(90) % 3
    features = np.eye(3)[labels] + 0.4 * random.randn(90, 3)
    classifier, penalty = fit_svm(features[:60], labels[:60], 0)
    stretched, same = fit_svm(features[:60] * (1e4, 1, 1e-4) + 7, labels[:60], 0)
    assert penalty == same and penalty in PENALTIES
    predicted = classifier.predict(features[60:])
    assert (predicted == labels[60:]).mean() > 0.8
    np.testing.assert_array_equal(stretched.predict(features[60:] * (1e4, 1, 1e-4) + 7), predicted)


def test_one_class_is_refused():
    with pytest.raises(UserError, match='two classes or more, the training clouds are all of class 4'):
        fit_svm(np.zeros((5, 2)), np.full(5, 4), 0)
