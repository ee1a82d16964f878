"""The console script ``rescaps``, as it runs from a clone."""

import os
import re
import subprocess
import sys

import pytest

import rescaps_plugin

TRAIN = 'Train a model from a config'


@pytest.fixture
def rescaps(repository, tmp_path):
    """Run ``rescaps ...`` in an empty folder; gives the finished process."""

    def run(*arguments, columns=120):
        return subprocess.run(
            [sys.executable, '-c', 'from rescaps_plugin.cli.main import main; main()', *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1', 'COLUMNS': str(columns)},
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize('arguments', [(), ('--help',), ('-h',)])
def test_help_lists_every_tool(rescaps, repository, arguments):
    result = rescaps(*arguments)
    assert result.returncode == 0
    listed = dict(re.findall(r'^ {4}([\w-]+)\s+(\S.*)$', result.stdout, re.MULTILINE))
    assert listed.keys() == {path.stem.replace('_', '-') for path in repository.glob('tools/*.py')}
    assert listed['train'].startswith(TRAIN)


def test_version_names_the_folder_of_configs(rescaps, repository):
    assert rescaps('--version', columns=20).stdout == f'rescaps {rescaps_plugin.__version__} from {repository}\n'


@pytest.mark.parametrize(
    ('name', 'hint'),
    [('trian', 'Close: train.'), ('eval', 'Close: eval-sod.'), ('xyz', 'rescaps --help lists the commands.')],
)
def test_unknown_command_names_close_ones(rescaps, name, hint):
    result = rescaps(name, 'config.py')
    assert result.returncode == 2
    assert result.stderr == f'error: rescaps has no command {name}. {hint}\n'


def test_unknown_option_is_refused(rescaps):
    result = rescaps('--verbose')
    assert result.returncode == 2 and 'unrecognized arguments: --verbose' in result.stderr


def test_tool_runs_with_hyphens_and_underscores(rescaps):
    result = rescaps('eval-sod', '--help')
    assert result.returncode == 0 and result.stdout.startswith('usage: rescaps eval-sod [-h]')
    result = rescaps('eval_sod')
    assert result.returncode == 2 and 'rescaps eval-sod: error: the following arguments are required' in result.stderr


def test_demo_prints_its_help(rescaps):
    result = rescaps('demo', '--help')
    assert result.returncode == 0 and result.stdout.startswith('usage: rescaps demo [-h] [--port PORT]')


def test_errors_of_a_tool_are_its_own(rescaps):
    result = rescaps('test', 'missing.py', 'missing.pth')
    assert result.returncode == 1 and result.stderr == 'error: config missing.py does not exist.\n'


@pytest.fixture
def run_tool(repository, tmp_path):
    """Run the code of a tool by the console script, from a folder of its own; gives the finished process."""

    def run(code):
        (tmp_path / 'tools').mkdir()
        (tmp_path / 'tools/tool.py').write_text(code)
        script = tmp_path / 'script.py'
        script.write_text(
            'from pathlib import Path\nfrom rescaps_plugin.cli import main\nmain.ROOT = Path.cwd()\nmain.main()\n'
        )
        environment = {**os.environ, 'PYTHONPATH': str(repository)}
        command = [sys.executable, script, 'tool']
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    return run


def test_interrupted_imports_end_without_a_traceback(run_tool):
    result = run_tool('raise KeyboardInterrupt')
    assert (result.returncode, result.stderr) == (130, 'interrupted.\n')


def test_worker_processes_find_the_functions_of_a_tool(run_tool):
    """A tool is ``__main__``: processes that are spawned import it again, by its path."""
    code = """
from multiprocessing import get_context

def double(number):
    return 2 * number

if __name__ == '__main__':
    with get_context('spawn').Pool(1) as pool:
        print(pool.map(double, [1, 2]))
"""
    result = run_tool(code)
    assert result.stdout == '[2, 4]\n', result.stderr
