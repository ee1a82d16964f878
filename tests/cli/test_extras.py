"""Errors of missing optional packages name the pip install command."""

import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import EXTRAS, import_extra
from rescaps_plugin.cli.reporting import user_errors


def test_extras_are_those_of_the_package(repository):
    setup = ConfigParser()
    setup.read(repository / 'setup.cfg')
    brought = {
        extra: {canonicalize_name(Requirement(line).name) for line in lines.split('\n') if line}
        for extra, lines in setup['options.extras_require'].items()
    }
    distributions = packages_distributions()
    for module, extras in EXTRAS.items():
        names = {canonicalize_name(name) for name in distributions[module]}
        assert set(extras) == {extra for extra, packages in brought.items() if names & packages}, module


def test_missing_module_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(UserError, match=r"h5py is not installed: pip install '\.\[pointcloud\]' in a clone of rescaps"):
        import_extra('h5py', 'pointcloud')


def test_config_that_needs_a_missing_library_names_its_extra(monkeypatch, tmp_path):
    (tmp_path / 'needs_mmseg.py').write_text('import mmseg.models')
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['needs_mmseg'], allow_failed_imports=False)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, 'mmseg', None)
    with pytest.raises(SystemExit, match=r"^error: mmseg is not installed: pip install '\.\[saliency\]' in a clone of"):
        with user_errors():
            load_config(str(config))


@pytest.mark.parametrize('code', ['import no_such_package', 'from os import no_such_name'])
def test_other_import_errors_keep_their_traceback(code):
    with pytest.raises(ImportError), user_errors():
        exec(code)


def test_tools_without_mmengine_name_the_extra(repository):
    tools = {path.stem for path in repository.glob('tools/*.py')} - {'benchmark', 'demo', 'eval_sod', 'launch', 'zoo'}
    code = f"""
import runpy, sys

sys.modules['mmengine'] = None  # importing it raises ModuleNotFoundError
for name in {tools}:
    sys.argv = [name, '--help']
    try:
        runpy.run_path(f'tools/{{name}}.py', run_name='__main__')
    except SystemExit as error:
        print(name, error.code)
"""
    result = subprocess.run([sys.executable, '-c', code], cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for line in result.stdout.splitlines():
        assert "error: mmengine is not installed: pip install '.[classification]' or " in line
    assert len(result.stdout.splitlines()) == len(tools)


def test_published_models_are_listed_without_mmengine(repository):
    code = """
import runpy, sys

sys.modules['mmengine'] = sys.modules['mmpretrain'] = None
from rescaps_plugin import zoo
from rescaps_plugin.cli.errors import UserError

try:
    zoo.load('rescaps-tiny_digits')
except UserError as error:
    print(error)
sys.argv = ['zoo', 'rescaps_tiny.digits']
runpy.run_path('tools/zoo.py', run_name='__main__')
"""
    result = subprocess.run([sys.executable, '-c', code], cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("mmengine is not installed: pip install '.[classification]' in a clone of rescaps")
    assert '# rescaps-tiny_digits' in result.stdout
