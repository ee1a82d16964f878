"""Packages of other versions than rescaps needs are named when an import fails."""

import os
import subprocess
import sys

import pytest

from rescaps_plugin.compat.requirements import explain_outdated


@pytest.fixture
def old_package(tmp_path):
    """Return a function that puts an empty package of a version into a folder, and the environment that finds it."""

    def install(name, version):
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').touch()
        (tmp_path / f'{name}-{version}.dist-info').mkdir()
        metadata = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        (tmp_path / f'{name}-{version}.dist-info/METADATA').write_text(metadata)
        path = os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])
        return os.environ | dict(PYTHONPATH=path)

    return install


def run(environment, *command):
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True)


def test_installed_versions_fit():
    assert explain_outdated('all') is None


def test_import_with_an_old_timm_says_what_to_install(old_package, repository):
    finished = run(
        old_package('timm', '0.9.16'), '-c', f'import sys; sys.path.append({str(repository)!r}); import rescaps_plugin'
    )
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == (
        "ImportError: rescaps needs timm>=1.0.31, but timm 0.9.16 is installed: pip install 'timm>=1.0.31'"
    )


def test_tool_with_an_old_mmengine_says_what_to_install(old_package, repository):
    finished = run(old_package('mmengine', '0.8.0'), str(repository / 'tools/train.py'), '--help')
    assert finished.returncode == 1
    assert finished.stderr.splitlines() == [
        "error: rescaps needs mmengine>=0.10.4, but mmengine 0.8.0 is installed: pip install 'mmengine>=0.10.4'"
    ]
