"""``tools/predict.py`` on clouds and meshes."""

import csv
import os

import numpy as np
import pytest
import torch

from rescaps_plugin.losses import chamfer_distance
from rescaps_plugin.pointcloud.files import read_points
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
    """A distant cloud of a hundred times the size is reconstructed at its position and size."""
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
    # One colour for each of the 16 latent capsules.
    assert len({tuple(color) for color in made['0000_box.ply'].colors}) == 16
    assert (tmp_path / 'out' / 'predictions.png').is_file()


@pytest.mark.parametrize(('form', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_file(tmp_path, repository, load_tool, monkeypatch, form, suffix):
    pytest.importorskip(form, reason="needs pip install '.[openvino]'")
    monkeypatch.chdir(tmp_path)
    model = write_config(tmp_path, repository)
    load_tool('export').main([*model, '--format', form, '--out', f'model{suffix}'])  # for one cloud at a time
    np.save('a.npy', np.random.RandomState(0).randn(200, 3))
    np.save('b.npy', 100 * np.random.RandomState(1).randn(64, 3) + 5000)
    for out, source in (('out', model), ('exported', [f'model{suffix}'])):
        load_tool('predict').main([*source, 'a.npy', 'b.npy', '--out-dir', out])
    ours, theirs = ((tmp_path / out / 'predictions.csv').read_text() for out in ('exported', 'out'))
    assert [line.split(',')[:2] for line in ours.split()] == [line.split(',')[:2] for line in theirs.split()]
    for file in ('0000_a.ply', '0001_b.ply'):
        clouds = [trimesh.load(tmp_path / out / file) for out in ('exported', 'out')]
        np.testing.assert_allclose(clouds[0].vertices, clouds[1].vertices, rtol=0, atol=1e-2)
        np.testing.assert_array_equal(clouds[0].colors, clouds[1].colors)
    np.save('few.npy', np.ones((9, 3)) * np.arange(9)[:, None])
    with pytest.raises(
        SystemExit, match=rf'1 inputs could not be read:\n  few.npy: model{suffix} takes clouds of 64x3, not 9x3'
    ):
        load_tool('predict').main([f'model{suffix}', 'few.npy', 'b.npy', '--out-dir', 'rest'])
    assert (tmp_path / 'rest' / '0000_b.ply').is_file()


def far(cloud):
    return cloud + np.array([500_000.0, 4_500_000.0, 100.0])


def test_clouds_far_from_the_origin_come_back_there(predict, tmp_path):
    """At UTM coordinates, where float32 would round points to half a metre."""
    cloud = np.random.RandomState(0).randn(64, 3)
    np.save(tmp_path / 'near.npy', cloud)
    np.savetxt(tmp_path / 'far.xyz', far(cloud), fmt='%.9f')
    predict(tmp_path / 'near.npy', tmp_path / 'far.xyz')
    near, there = rows(tmp_path)
    assert float(there['chamfer']) == pytest.approx(float(near['chamfer']), abs=2e-4)
    clouds = [read_points(tmp_path / 'out' / row['file'], None, None) for row in (near, there)]
    np.testing.assert_allclose(clouds[1], far(clouds[0]), rtol=0, atol=1e-4)


def test_clouds_of_any_size(predict, tmp_path, capsys):
    """Small clouds are used completely; large ones are sampled to the model's number of points, with a message."""
    random = np.random.RandomState(0)
    for count in (2, 5, 64, 200):
        np.save(tmp_path / f'{count:03d}.npy', random.randn(count, 3))
    np.save(tmp_path / 'same.npy', np.load(tmp_path / '200.npy'))
    trimesh.creation.box().export(tmp_path / 'box.off')
    trimesh.creation.box().export(tmp_path / 'same.off')
    names = ('200.npy', '002.npy', 'box.off', '005.npy', '064.npy', 'same.npy', 'same.off')
    predict(*(tmp_path / name for name in names))
    found = {row['cloud'].split('/')[-1]: row for row in rows(tmp_path)}
    assert [*found] == [*names]
    assert [found[name]['points'] for name in names] == ['64', '2', '64', '5', '64', '64', '64']
    # Equal geometry has equal scores, independent of the order, but for the rounding of another batch.
    for name, copy in (('200.npy', 'same.npy'), ('box.off', 'same.off')):
        assert float(found[name]['chamfer']) == pytest.approx(float(found[copy]['chamfer']), rel=1e-5)
    output = capsys.readouterr().out
    assert '2 clouds have more points than the 64 of the model' in output and '200.npy (200)' in output


def test_files_of_a_folder_that_are_no_clouds_are_named(predict, tmp_path, capsys):
    folder = tmp_path / 'shapes'
    folder.mkdir()
    np.savetxt(folder / 'a.csv', np.random.RandomState(0).rand(64, 3), delimiter=',', header='x,y,z', comments='')
    (folder / 'readme.txt').write_text('shapes of many kinds\n')
    (folder / 'photo.jpg').touch()
    predict(folder)
    assert [row['file'] for row in rows(tmp_path)] == ['0000_a.ply']
    assert 'skipped 2 files, not clouds or meshes: photo.jpg, readme.txt' in capsys.readouterr().err


def test_long_and_foreign_names(predict, tmp_path):
    cloud = np.random.RandomState(0).randn(64, 3)
    for name in ('图' * 80, '=1+1', os.fsdecode(b'\xff$x')):
        np.save(tmp_path / f'{name}.npy', cloud)
    predict(tmp_path)
    table = (tmp_path / 'out' / 'predictions.csv').read_bytes().decode()
    found = rows(tmp_path)
    assert len(found) == 3 and all(
        '图' in row['cloud'] or r'\xff$x' in row['cloud'] or '=1+1' in row['cloud'] for row in found
    )
    assert len(list((tmp_path / 'out').glob('*.ply'))) == 3 and '图' in table


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
    assert 'words.npy: not a valid .npy file: points must be real numbers, found <U1' in message
    assert 'empty.off: it has no vertices' in message
    assert 'point.npy: a cloud needs an extent' in message
    assert [row['file'] for row in rows(tmp_path)] == ['0000_whole.ply']


def test_folder_without_clouds(predict, tmp_path):
    (tmp_path / 'none').mkdir()
    with pytest.raises(SystemExit, match=r'INPUT .*none contains no clouds or meshes \(\.asc'):
        predict(tmp_path / 'none')
