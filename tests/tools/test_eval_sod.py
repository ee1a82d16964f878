"""``tools/eval_sod.py`` on folders of maps."""

import csv
import json
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmseg')
pytest.importorskip('py_sod_metrics')

from rescaps_plugin.saliency.boundary import TOLERANCES, score_boundary
from rescaps_plugin.saliency.masks import read_mask
from rescaps_plugin.saliency.metric import METRIC_NAMES, score_map, summarise

STEMS = ('1', '2', '10', 'x.y')


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Masks, and the maps of a good method, as JPEG, and of a bad one."""
    monkeypatch.chdir(tmp_path)
    random = np.random.RandomState(0)
    for folder in ('gt', 'good', 'bad'):
        (tmp_path / folder).mkdir()
    for index, stem in enumerate(STEMS):
        shape = (20 + index, 30 - index)
        mask = np.zeros(shape, np.uint8)
        mask[5:15, 4 + index : 18] = 255
        Image.fromarray(mask).save(tmp_path / 'gt' / f'{stem}.png')
        Image.fromarray((mask * 0.9).astype(np.uint8)).save(tmp_path / 'good' / f'{stem}.jpg', quality=95)
        Image.fromarray(random.randint(0, 256, shape).astype(np.uint8)).save(tmp_path / 'bad' / f'{stem}.png')
    return tmp_path


@pytest.fixture
def main(load_tool, folders):
    def call(*arguments):
        load_tool('eval_sod').main([*map(str, arguments), '--out-dir', 'out'])
        return json.loads((folders / 'out' / 'metrics.json').read_text())

    return call


def scores_by_hand(folders, method, suffix):
    pairs = []
    for stem in STEMS:
        saliency = np.asarray(Image.open(folders / method / f'{stem}{suffix}'))
        pairs.append(score_map(saliency, np.asarray(Image.open(folders / 'gt' / f'{stem}.png')) > 127))
    return summarise(pairs)


def test_compare_methods_on_the_command_line(folders, run_tool):
    result = run_tool('eval_sod', 'good', 'bad', 'gt')
    assert result.returncode == 0, result.stderr
    out = folders / 'work_dirs' / 'eval_sod'
    rows = json.loads((out / 'metrics.json').read_text())
    assert [row['method'] for row in rows] == ['good', 'bad'] and rows[0]['images'] == 4
    for row, suffix in zip(rows, ('.jpg', '.png'), strict=True):
        metrics, curves = scores_by_hand(folders, row['method'], suffix)
        assert {name: row[name] for name in METRIC_NAMES} == pytest.approx(metrics)
        np.testing.assert_allclose(np.load(out / f'{row["method"]}.npz')['precision'], curves['precision'])
    assert rows[0]['maxF'] > 0.95 > 0.7 > rows[1]['maxF']
    with (out / 'metrics.csv').open() as file:
        assert [float(row['MAE']) for row in csv.DictReader(file)] == [row['MAE'] for row in rows]
    lines = (out / 'metrics.md').read_text().splitlines()
    assert lines[0].startswith('| method | images | maxF') and f'| {rows[1]["S"]:.4f} |' in lines[3]
    assert re.search(rf'good .* {rows[0]["MAE"]:.4f} ', result.stdout)
    picture = np.asarray(Image.open(out / 'curves.png').convert('RGB')).astype(int)
    # Two lines, of matplotlib's first two colours.
    for color in ((31, 119, 180), (255, 127, 14)):
        assert (np.abs(picture - color).sum(axis=2) < 30).sum() > 300


@pytest.mark.slow
def test_several_processes(folders, main):
    assert main('good', 'bad', 'gt', '--boundary', '--workers', 2) == main('good', 'bad', 'gt', '--boundary')


def test_folders_of_equal_name_are_named_with_their_parents(folders, main):
    (folders / 'a').mkdir()
    (folders / 'b').mkdir()
    (folders / 'good').rename(folders / 'a' / 'maps')
    (folders / 'bad').rename(folders / 'b' / 'maps')
    assert [row['method'] for row in main('a/maps', 'b/maps', 'gt')] == ['a/maps', 'b/maps']
    assert [row['method'] for row in main('a/maps', 'b/maps', 'gt', '--names', 'A', 'B')] == ['A', 'B']


def test_common_files(folders, main):
    (folders / 'good' / '10.jpg').unlink()
    with pytest.raises(SystemExit, match=r'gt/10\.png: this mask has no map in .*good.*--common'):
        main('good', 'bad', 'gt')
    assert [row['images'] for row in main('good', 'bad', 'gt', '--common')] == [3, 3]
    (folders / 'gt' / '1.png').unlink()
    with pytest.raises(SystemExit, match=r'bad/1\.png: this map has no mask in gt'):
        main('bad', 'gt')


def test_maps_of_another_size(folders, main):
    for stem in ('2', '10'):
        path = folders / 'bad' / f'{stem}.png'
        Image.open(path).resize((60, 44)).save(path)
    with pytest.raises(SystemExit) as error:
        main('bad', 'gt')
    assert '2 of 4 masks' in str(error.value) and '--resize' in str(error.value)
    assert 'gt/2.png (29 x 21) and bad/2.png (60 x 44)' in str(error.value)
    assert 'gt/10.png (28 x 22) and bad/10.png (60 x 44)' in str(error.value)
    assert main('bad', 'gt', '--resize')[0]['images'] == 4


def test_cutouts_by_their_opacity(folders, main):
    """The alpha channels of cut-outs give the metrics of the maps; images without one are named."""
    (folders / 'cut').mkdir()
    for stem in STEMS:
        saliency = np.asarray(Image.open(folders / 'bad' / f'{stem}.png'))
        colors = np.random.RandomState(1).randint(0, 256, (*saliency.shape, 3)).astype(np.uint8)
        Image.fromarray(np.dstack([colors, saliency])).save(folders / 'cut' / f'{stem}.png')
    (cut,), (maps,) = main('cut', 'gt', '--alpha'), main('bad', 'gt')
    assert {**cut, 'method': 'bad'} == maps
    with pytest.raises(SystemExit, match=r'bad/1\.png: this image has no alpha channel'):
        main('bad', 'gt', '--alpha')
    with pytest.raises(SystemExit, match=r'cut/1\.png: greys .* are expected, it has colours'):
        main('cut', 'gt')


def test_boundaries(folders, main, capsys):
    good, bad = main('good', 'bad', 'gt', '--boundary')
    assert good['BF@1'] == good['BF@2'] == good['BF'] == 1
    expected = [
        score_boundary(
            np.asarray(Image.open(folders / 'bad' / f'{stem}.png')), read_mask(folders / 'gt' / f'{stem}.png')
        )
        for stem in STEMS
    ]
    for name in TOLERANCES:
        assert bad[name] == pytest.approx(np.mean([each[name] for each in expected]))
    assert bad['BF'] < bad['BF@1'] < bad['BF@2'] < 0.9
    assert re.search(r'BF@1 .* BF@2', capsys.readouterr().out)
    assert 'BF' not in main('good', 'gt')[0]


def test_two_files_of_one_stem(folders, main):
    """The file of the right size is scored, as for the masks of DUTS-TR."""
    wanted = main('good', 'gt')
    Image.new('L', (5, 4), 255).save(folders / 'gt' / '2.bmp')
    Image.new('L', (6, 4), 255).save(folders / 'good' / '10.bmp')
    assert main('good', 'gt') == wanted
    Image.new('L', (29, 21)).save(folders / 'gt' / '2.bmp')
    with pytest.raises(SystemExit, match=r'gt has two files for 2, both of the right size: 2\.bmp and 2\.png'):
        main('good', 'gt')


def test_mistakes(folders, main, capsys):
    with pytest.raises(SystemExit, match='nowhere is not a folder'):
        main('nowhere', 'gt')
    (folders / 'empty').mkdir()
    with pytest.raises(SystemExit, match='empty has no file that ends in .png'):
        main('empty', 'gt')
    with pytest.raises(SystemExit):
        main('good', 'bad', 'gt', '--names', 'one')
    assert '--names: 2 names are needed' in capsys.readouterr().err
    color = np.zeros((20, 30, 3), np.uint8)
    color[3:, :, 1] = 99
    Image.fromarray(color).save(folders / 'bad' / '1.png')
    with pytest.raises(SystemExit, match=r'bad/1\.png: greys .* are expected, it has colours.* \(0, 99, 0\)'):
        main('bad', 'gt')
    (folders / 'bad' / '1.png').write_bytes(b'')
    with pytest.raises(SystemExit, match=r'bad/1\.png: the file is empty'):
        main('bad', 'gt')
