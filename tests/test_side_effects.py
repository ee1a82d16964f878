"""Changes of the plugin to other packages: by its import, by the import of all modules, and by its tools."""

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')


@pytest.fixture(scope='module')
def steps(repository, tmp_path_factory):
    finished = subprocess.run(
        [sys.executable, '-W', 'ignore', repository / 'tests' / 'side_effects.py', tmp_path_factory.mktemp('run')],
        env={**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])


def test_import_of_the_package(steps):
    """It adds its networks to timm, and to mmcv-lite the names of compiled operators that it lacks."""
    assert steps['plugin']['changed'] == []
    kinds = [
        (r'timm\.models\._registry\.', 'models'),
        (r'sys\.meta_path\.\d+$', 'finder'),
        (r'mmcv\.(_ext|ops|cnn\.bricks\.transformer\.MultiScaleDeformableAttention)$', 'operators'),
        (r'mm\w+\.registry\.(MMENGINE_)?MODELS\.', 'modules of mmcv.ops'),
        (r'torch\.(ops\.rescaps$|_library\.|fx\._symbolic_trace\.|jit\._builtins\.)', 'functions'),
    ]
    found = [
        next((kind for pattern, kind in kinds if re.match(pattern, name)), name) for name in steps['plugin']['added']
    ]
    assert set(found) == {kind for _, kind in kinds}
    assert found.count('finder') == 1


def test_import_of_every_module(steps):
    # Registering rescaps:// makes MMEngine replace its table of schemes by a sorted copy.
    assert steps['modules']['changed'] == ['mmengine.runner.checkpoint.CheckpointLoader._schemes']
    assert 'mmengine.registry.TRANSFORMS.LoadCheckedImageFromFile' in steps['modules']['added']


def test_runs_of_the_tools(steps):
    # PyTorch counts hooks, and marks the classes of optimizers that were built.
    assert set(steps['runs']['changed']) <= {'torch.utils.hooks.RemovableHandle.next_id', 'torch.optim.adam.Adam.step'}
    assert any('MessageHub._instance_dict' in name for name in steps['runs']['added'])
