"""Our configs with mmsegmentation's own tools."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip('mmseg')

from mmengine.config import Config

TOOLS = Path(find_spec('mmseg').submodule_search_locations[0], '.mim', 'tools')

CONFIG = """
_base_ = {base!r}
train_dataloader = dict(batch_size=2, dataset=dict(num_images=4))
val_dataloader = dict(batch_size=1, dataset=dict(num_images=3))
test_dataloader = dict(batch_size=1, dataset=dict(num_images=3))
model = dict(data_preprocessor=dict(train_sizes=[64], test_size=64))
train_cfg = dict(max_epochs=1)
param_scheduler = dict(end=1)
"""


@pytest.mark.parametrize('name', ['duts', 'ecssd'])
def test_inferencer_finds_the_loader_of_the_test_pipeline(repository, name):
    from mmengine.registry import DefaultScope
    from mmseg.apis import MMSegInferencer

    import rescaps_plugin.saliency  # noqa: F401

    cfg = Config.fromfile(repository / 'configs' / '_base_' / 'datasets' / f'{name}.py')
    cfg.test_dataloader.dataset.setdefault('pipeline', cfg.test_pipeline)
    with DefaultScope.overwrite_default_scope('mmseg'):
        loader, *_ = MMSegInferencer._init_pipeline(MMSegInferencer.__new__(MMSegInferencer), cfg).transforms
    assert type(loader).__name__ == 'InferencerLoader'


@pytest.mark.slow
@pytest.mark.parametrize('name', ['icon/icon-rpr', 'tspoanet/tspoanet-rpr'])
def test_train_and_test(repository, tmp_path, name):
    config = tmp_path / 'small.py'
    config.write_text(CONFIG.format(base=str(repository / 'configs' / f'{name}_efficientnet-lite0_synthetic.py')))

    def run(tool, *arguments):
        result = subprocess.run(
            [sys.executable, TOOLS / tool, config, *arguments, '--work-dir', tmp_path / 'work'],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1'},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr[-2000:]
        (line,) = (line for line in (result.stdout + result.stderr).splitlines() if 'SyntheticSOD/MAE' in line)
        return line.split('SyntheticSOD/maxF: ')[1].split('  data_time')[0]

    trained = run('train.py')
    # Label maps and drawn predictions, for a data set without files.
    options = ('--out', tmp_path / 'maps', '--show-dir', tmp_path / 'painted')
    interval = ('--cfg-options', 'default_hooks.visualization.interval=1')
    assert run('test.py', tmp_path / 'work' / 'epoch_1.pth', *options, *interval) == trained
    names = {f'SyntheticSOD-test-{number:04d}' for number in range(3)}
    assert {path.stem for path in (tmp_path / 'maps' / 'SyntheticSOD').glob('*.png')} == names
    assert len([*(tmp_path / 'painted').rglob('test_SyntheticSOD-*.png')]) == 3
