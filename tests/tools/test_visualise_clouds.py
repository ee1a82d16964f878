"""``tools/visualise_clouds.py``."""

import base64
import io
import re
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from PIL import Image

from rescaps_plugin.pointcloud.drawing import capsule_colors, draw_clouds, height_colors, write_page
from tests.tools.pointcaps import write_config

trimesh = pytest.importorskip('trimesh')


@pytest.fixture
def main(load_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_tool('visualise_clouds').main


def read_page(path):
    """Return the scene of a page."""
    data = base64.b64decode(re.search(r'base64_data="([\w+/=]+)"', path.read_text())[1])
    return trimesh.load_scene(io.BytesIO(data), file_type='glb')


def ink(path):
    """Return the fraction of non-white pixels of a picture."""
    return (np.asarray(Image.open(path).convert('L')) < 250).mean()


def test_two_models(main, tmp_path, repository):
    dynamic, rpr = (write_config(tmp_path, repository, routing) for routing in ('dynamic', 'rpr'))
    main([*dynamic, *rpr, '--clouds', '3'])
    folder = tmp_path / 'work_dirs' / 'dynamic' / 'clouds'
    for name in ('clouds.png', 'capsules.png'):
        assert ink(folder / name) > 0.004
        width, height = Image.open(folder / name).size
        assert height > width * 0.9  # three rows of three
    scene = read_page(folder / 'clouds.html')
    names = {f'{row} {column}' for row in ('input', 'dynamic', 'rpr') for column in range(3)}
    assert set(scene.geometry) == names
    assert all(len(mesh.faces) == 4 * 64 for mesh in scene.geometry.values())


def test_checkpoints_of_a_config_are_rows_of_their_own(main, tmp_path, repository):
    config, checkpoint = write_config(tmp_path, repository)
    other = shutil.copy(checkpoint, tmp_path / 'other.pth')
    main([config, checkpoint, config, str(other), '--clouds', '1', '--out-dir', 'out'])
    assert set(read_page(tmp_path / 'out' / 'clouds.html').geometry) == {'input 0', 'rpr.pth 0', 'other.pth 0'}


def test_autoencoder_without_capsules(main, tmp_path, repository):
    config, checkpoint = tmp_path / 'pointnet.py', tmp_path / 'pointnet.pth'
    config.write_text(f"""
_base_ = {str(repository / 'configs/pointnet/pointnet_digitclouds.py')!r}
test_dataloader = dict(dataset=dict(num_points=64, indices=2))
""")
    torch.save(dict(state_dict=MODELS.build(Config.fromfile(config).model).state_dict()), checkpoint)
    main([str(config), str(checkpoint), '--out-dir', 'out'])
    names = {f'{row} {column}' for row in ('input', 'pointnet') for column in range(2)}
    assert set(read_page(tmp_path / 'out' / 'clouds.html').geometry) == names


def test_points_on_a_page(tmp_path):
    cloud = np.random.RandomState(0).rand(5, 3) - 0.5
    write_page({'a': [cloud, cloud], 'b': [cloud]}, tmp_path / 'y.html')
    geometry = read_page(tmp_path / 'y.html').geometry
    first, right, below = (geometry[name].vertices.reshape(5, 4, 3).mean(axis=1) for name in ('a 0', 'a 1', 'b 0'))
    np.testing.assert_allclose(first, cloud, atol=1e-5)
    assert (right - first)[:, 0].min() > 2 and (below - first)[:, 1].max() < -2
    write_page({'a': [cloud]}, tmp_path / 'z.html', up='z')
    (mesh,) = read_page(tmp_path / 'z.html').geometry.values()
    np.testing.assert_allclose(mesh.vertices.reshape(5, 4, 3).mean(axis=1)[:, 1], cloud[:, 2], atol=1e-5)


def test_up_is_up(tmp_path):
    """A cloud above another is drawn in the upper half of the picture."""
    high = np.array([[0, 0.8, 0]]) + 0.05 * np.random.RandomState(0).randn(50, 3)
    for up, cloud in (('y', high), ('z', high[:, [0, 2, 1]])):
        draw_clouds({'': [cloud]}, tmp_path / 'up.png', up=up)
        dark = np.asarray(Image.open(tmp_path / 'up.png').convert('L')) < 250
        rows = np.flatnonzero(dark.any(axis=1)) / dark.shape[0]
        assert rows.max() < 0.5, up


def test_colours():
    colors = capsule_colors(10, 4)
    assert len({tuple(color) for color in colors}) == 4
    np.testing.assert_array_equal(colors[:4], colors[4:8])
    heights = height_colors(np.array([[0, 0.0, 5], [0, 1.0, 5]]), 'y')
    assert not np.array_equal(*heights)
    np.testing.assert_array_equal(*height_colors(np.array([[0, 0.0, 5], [0, 1.0, 5]]), 'z'))


def test_folder_that_cannot_be_written_is_told_before_clouds_are_looked_for(main, tmp_path, repository):
    config, checkpoint = write_config(tmp_path, repository, 'rpr')
    with pytest.raises(SystemExit, match='--out-dir cannot be written'):
        main([config, checkpoint, '--out-dir', config, '--cfg-options', 'test_dataloader=None'])


def test_config_without_checkpoint(main, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['config.py'])
    assert 'a CHECKPOINT must follow the config config.py' in capsys.readouterr().err
