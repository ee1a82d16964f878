"""``tools/predict.py`` on clouds and meshes."""

import csv

import numpy as np
import pytest
import torch

from rescaps_plugin.losses import chamfer_distance
from tests.tools.pointcaps import write_config

trimesh = pytest.importorskip('trimesh')


@pytest.fixture
def predict(load_tool, tmp_path, repository, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = write_config(tmp_path, repository)

    def run(*arguments):
        load_tool('predict').main([*model, *map(str, arguments), '--out-dir', 'out'])

    return run


def rows(tmp_path):
    with (tmp_path / 'out' / 'predictions.csv').open() as file:
        return list(csv.DictReader(file))


def test_clouds_come_back_in_their_units(predict, tmp_path):
    """A cloud far away and a hundred times larger is reconstructed there, as large."""
    folder = tmp_path / 'shapes'
    folder.mkdir()
    cloud = np.random.RandomState(0).randn(64, 3)
    np.save(folder / 'near.npy', cloud)
    np.save(folder / 'there.npy', 100 * cloud + (5000, 0, 0))
    trimesh.creation.box((2, 2, 2)).export(folder / 'box.off')
    predict(folder)
    box, near, there = rows(tmp_path)
    assert [row['file'] for row in (box, near, there)] == ['0000_box.ply', '0001_near.ply', '0002_there.ply']
    made = {row['file']: trimesh.load(tmp_path / 'out' / row['file']) for row in (box, near, there)}
    points = {name: cloud.vertices for name, cloud in made.items()}
    np.testing.assert_allclose(points['0002_there.ply'], 100 * points['0001_near.ply'] + (5000, 0, 0), atol=0.05)
    radius = np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).max()
    unit = [torch.tensor(each - cloud.mean(axis=0))[None] / radius for each in (points['0001_near.ply'], cloud)]
    assert float(near['chamfer']) == pytest.approx(1000 * chamfer_distance(*unit).item(), rel=1e-3)
    # A colour for each of the 16 latent capsules.
    assert len({tuple(color) for color in made['0000_box.ply'].colors}) == 16
    assert (tmp_path / 'out' / 'predictions.png').is_file()


def test_test_set(predict, tmp_path, capsys):
    predict('--max-images', 3)
    assert [row['cloud'] for row in rows(tmp_path)] == ['0', '8', '16']
    assert 'cloud 8: Chamfer distance' in capsys.readouterr().out


def test_broken_files_are_named_and_the_others_reconstructed(predict, tmp_path):
    np.save(tmp_path / 'whole.npy', np.random.RandomState(0).randn(80, 3))
    np.save(tmp_path / 'words.npy', np.array([['a', 'b', 'c']] * 64))
    (tmp_path / 'empty.off').write_text('OFF\n0 0 0\n')
    np.save(tmp_path / 'point.npy', np.zeros((64, 3)))
    with pytest.raises(SystemExit) as stop:
        predict(*(tmp_path / name for name in ('words.npy', 'whole.npy', 'empty.off', 'point.npy')))
    message = str(stop.value.code)
    assert '3 inputs could not be read' in message
    assert 'words.npy: not a whole .npy file: points must be real numbers, found <U1' in message
    assert 'empty.off: it has no vertices' in message
    assert 'point.npy: a cloud needs an extent' in message
    assert [row['file'] for row in rows(tmp_path)] == ['0000_whole.ply']


def test_folder_without_clouds(predict, tmp_path):
    (tmp_path / 'none').mkdir()
    with pytest.raises(SystemExit, match=r'INPUT .*none holds no clouds or meshes, at any depth: no \.asc'):
        predict(tmp_path / 'none')
