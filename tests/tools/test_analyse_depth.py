"""``tools/analyse_depth.py`` on two tiny depths of every method."""

import json

import pytest
import torch
from PIL import Image

pytest.importorskip('mmpretrain')

from rescaps_plugin.analysis import depth


@pytest.mark.slow
def test_depths_of_every_method(load_tool, repository, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repository)
    tool = load_tool('analyse_depth')
    settings = ['--depths', '1', '2', '--epochs', '1', '--indices', '128', '--types', '2', '--layers', '1']
    # EM is omitted at the larger depth.
    tool.main([*settings, '--em-depth', '1', '--out-dir', str(tmp_path)])
    record = json.loads((tmp_path / 'depth.json').read_text())
    assert [(run['method'], run['depth']) for run in record['runs']] == [
        ('rpr', 1),
        ('none', 1),
        ('em', 1),
        ('rpr', 2),
        ('none', 2),
    ]
    for run in record['runs']:
        norms = torch.tensor(run['norms'])
        # 128 samples in batches of 32; one norm per block.
        assert norms.shape == (4, run['depth']) and (norms > 0).all() and norms.isfinite().all()
        assert 0 <= run['accuracy'] <= 100 and len(run['losses']) == 4
    page = (tmp_path / 'depth.md').read_text()
    assert '| 2 | ' in page and page.count('| 1 | ') == 1 and '--em-depth 1' in page and 'torch' in page
    with Image.open(tmp_path / 'depth.png') as plot:
        assert len(plot.convert('RGB').getcolors(1 << 24)) > 10

    # Without batch normalisation gradients vanish towards the first block, the more so where the poses shrink.
    methods = ['rpr', 'rpr-no-norm', 'none-no-norm']
    tool.main([*settings, '--methods', *methods, '--out-dir', str(tmp_path)])
    runs = json.loads((tmp_path / 'depth.json').read_text())['runs']
    ratios = {run['method']: depth.gradient_ratio(run['norms'][0]) for run in runs if run['depth'] == 2}
    assert 1 < ratios['rpr'] and 1 > ratios['rpr-no-norm'] > 2 * ratios['none-no-norm']

    # What was trained is not trained again, unless the settings differ.
    monkeypatch.setattr(depth, 'train', lambda *arguments: pytest.fail('trained again'))
    tool.main([*settings, '--em-depth', '1', '--out-dir', str(tmp_path)])
    with pytest.raises(pytest.fail.Exception, match='trained again'):
        tool.main([*settings, '--seed', '1', '--out-dir', str(tmp_path)])
    assert 'p w, 2 blocks: accuracy' in capsys.readouterr().out


def test_shallow_limits_are_a_mistake(load_tool, tmp_path):
    with pytest.raises(SystemExit, match='--em-depth: nothing is left'):
        load_tool('analyse_depth').main(
            ['--methods', 'em', '--depths', '3', '--em-depth', '2', '--out-dir', str(tmp_path / 'out')]
        )


def test_folder_that_cannot_be_written_is_told_before_a_training(load_tool, tmp_path, monkeypatch):
    monkeypatch.setattr(depth, 'train', None)
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit, match='--out-dir cannot be written'):
        load_tool('analyse_depth').main(['--out-dir', str(tmp_path / 'file')])


def test_a_changed_config_is_trained_again(load_tool, tmp_path, monkeypatch):
    trained = []

    def train(cfg, args, method, depth):
        trained.append(cfg.lr)
        return dict(method=method, depth=depth, accuracy=50.0, losses=[1.0], norms=[[1.0] * depth])

    monkeypatch.setattr(depth, 'train', train)
    config = tmp_path / 'config.py'
    for lr in (1, 1, 2):
        config.write_text(f'lr = {lr}\n')
        settings = ['--config', str(config), '--depths', '2', '--methods', 'rpr', '--out-dir', str(tmp_path / 'out')]
        load_tool('analyse_depth').main(settings)
    assert trained == [1, 2]
    # A run that is kept has the date and the machine of its training.
    (run,) = json.loads((tmp_path / 'out/depth.json').read_text())['runs']
    record = tmp_path / 'out/rpr-2.json'
    record.write_text(json.dumps(dict(run, date='1999-12-31', machine=dict(CPU='Z80'))))
    load_tool('analyse_depth').main(settings)
    assert json.loads((tmp_path / 'out/depth.json').read_text())['runs'][0]['date'] == '1999-12-31'
    assert 'CPU Z80' in (tmp_path / 'out/depth.md').read_text() and trained == [1, 2]
