"""``tools/analyse_sod.py`` with detectors of red and of blue, and with saved maps."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.tools.saliency import write_detector, write_images

pytest.importorskip('mmseg')
pytest.importorskip('py_sod_metrics')


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_images(tmp_path / 'data')
    return tmp_path / 'data'


@pytest.fixture
def main(load_tool, data, tmp_path):
    def call(*arguments, out=None):
        options = [] if out is None else ['--out-dir', out]
        load_tool('analyse_sod').main([*map(str, arguments), '--device', 'cpu', *options])
        rows = json.loads((tmp_path / (out or 'work_dirs/red/analysis') / 'metrics.json').read_text())
        return {row['method']: row for row in rows}

    return call


def test_detectors_and_saved_maps(main, data, tmp_path):
    shutil.copytree(data / 'masks', tmp_path / 'perfect')
    red, blue = (write_detector(tmp_path, data, name) for name in ('red', 'blue'))
    rows = main(*red, *blue, 'perfect', '--rows', 2)
    assert list(rows) == ['red', 'blue', 'perfect']
    assert rows['perfect']['MAE'] == 0 and rows['perfect']['maxF'] == pytest.approx(1)
    assert rows['red']['maxF'] > 0.85 and rows['red']['maxF'] > rows['blue']['maxF'] + 0.2
    folder = tmp_path / 'work_dirs' / 'red' / 'analysis'
    assert {path.name for path in folder.iterdir()} == {
        *('maps.png', 'curves.png', 'metrics.md', 'metrics.csv', 'metrics.json', 'red.npz', 'blue.npz', 'perfect.npz')
    }
    picture = np.asarray(Image.open(folder / 'maps.png').convert('RGB')).astype(int)
    # Red boxes are only in the first of the five columns, white ones in the second.
    red_columns = np.flatnonzero(((picture - (240, 30, 30)).__abs__().sum(axis=2) < 40).any(axis=0)) / picture.shape[1]
    assert 0 < red_columns.min() and red_columns.max() < 0.25


def test_chosen_images(main, data, tmp_path):
    red = write_detector(tmp_path, data)
    rows = main(*red, '--max-images', 1, '--show', 'c')
    # The first of the evenly spaced images, and the one to show.
    assert rows['red']['images'] == 2
    width, height = Image.open(tmp_path / 'work_dirs/red/analysis/maps.png').size
    assert width > 2 * height  # one row of three
    with pytest.raises(SystemExit, match='--show: the set has no image z; its first is a'):
        main(*red, '--show', 'z')


def test_saved_maps_alone(main, data, tmp_path):
    shutil.copytree(data / 'masks', tmp_path / 'perfect')
    rows = main('perfect', '--images', data / 'images', '--masks', data / 'masks', out='out')
    assert rows['perfect']['images'] == 3 and rows['perfect']['MAE'] == 0
    (tmp_path / 'perfect' / 'b.png').unlink()
    with pytest.raises(SystemExit, match='perfect lacks the maps of 1 of 3 images, such as b'):
        main('perfect', '--images', data / 'images', '--masks', data / 'masks', out='out')
    rows = main('perfect', '--images', data / 'images', '--masks', data / 'masks', '--common', out='out')
    assert rows['perfect']['images'] == 2


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['maps'], 'folders of maps alone need --images and --masks'),
        (['config.py'], 'a CHECKPOINT must follow the config config.py'),
        (['maps', '--images', 'x'], '--images and --masks must be given together'),
        (['maps', '--images', 'x', '--masks', 'x', '--names', 'a', 'b'], '--names: 1 names are needed'),
    ],
)
def test_mistaken_arguments(main, tmp_path, capsys, arguments, message):
    (tmp_path / 'maps').mkdir()
    with pytest.raises(SystemExit):
        main(*arguments)
    assert message in capsys.readouterr().err
