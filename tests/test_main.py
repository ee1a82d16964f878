"""``python -m rescaps_plugin``: scripts of other projects can use the plugin's names."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from rescaps_plugin.data.digits import load_digits

SCRIPT = """
import sys
import helper, timm
if __name__ == '__main__':
    print(sys.argv, helper.NAME, timm.is_model('rescaps_tiny'))
"""


@pytest.fixture
def run(repository, tmp_path):
    """Run ``python -m rescaps_plugin ...`` in an empty folder and return the finished process."""

    def start(*arguments):
        return subprocess.run(
            [sys.executable, '-m', 'rescaps_plugin', *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1'},
            capture_output=True,
            text=True,
        )

    return start


@pytest.fixture
def project(tmp_path):
    """A script that imports a module from its folder."""
    (tmp_path / 'project').mkdir()
    (tmp_path / 'project/script.py').write_text(SCRIPT)
    (tmp_path / 'project/helper.py').write_text("NAME = 'helper'")
    return tmp_path / 'project'


def test_script_runs_as_by_itself(run, project):
    result = run('project/script.py', '--model', 'rescaps_tiny', '-m', '--help')
    assert result.stdout == "['project/script.py', '--model', 'rescaps_tiny', '-m', '--help'] helper True\n"


def test_module_runs_as_by_itself(run, project):
    for module in project.iterdir():
        module.rename(project.parent / module.name)
    result = run('-m', 'script', '-m', 'x')
    assert result.stdout == f"['{project.parent / 'script.py'}', '-m', 'x'] helper True\n"


def test_exit_code_is_that_of_the_script(run, tmp_path):
    (tmp_path / 'script.py').write_text('raise SystemExit(3)')
    assert run('script.py').returncode == 3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((), 'error: name a script, or -m and a module'),
        (('-m',), 'error: name a script, or -m and a module'),
        (('--model', 'x'), 'error: name a script, or -m and a module'),
        (('missing.py',), 'error: script missing.py does not exist.'),
    ],
)
def test_error_is_one_line(run, arguments, message):
    result = run(*arguments)
    assert result.returncode == 1 and result.stderr.startswith(message) and result.stderr.count('\n') == 1


def test_help(run):
    result = run('--help')
    assert result.returncode == 0 and 'python -m rescaps_plugin SCRIPT [ARGS]' in result.stdout


def test_training_script_of_timm_trains(run, repository, tmp_path):
    for split, folder in (('train', 'train'), ('test', 'validation')):
        images, labels = load_digits(split, 'classification')
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / 'digits' / folder / str(label) / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.rint(image * (255 / 16)).astype(np.uint8)).resize((16, 16)).save(path)
    result = run(repository / 'tests/timm_script.py', 'digits', 'rescaps_tiny', 2)
    assert result.returncode == 0, result.stderr
    first, second = json.loads(result.stdout)
    assert second['loss'] < first['loss'] < np.log(10)
    assert second['top1'] > 90
