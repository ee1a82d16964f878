"""Build, installation and set-up scripts of the package."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rescaps_plugin


@pytest.fixture(scope='module')
def wheel(repository, tmp_path_factory):
    source = tmp_path_factory.mktemp('source') / 'rescaps'
    ignored = shutil.ignore_patterns('.*', '__pycache__', 'work_dirs', 'build', 'dist', '*.egg-info')

    def ignore(folder, names):
        top = {'data'} if folder == str(repository) else set()
        return ignored(folder, names) | top

    shutil.copytree(repository, source, ignore=ignore)
    folder = tmp_path_factory.mktemp('wheel')
    options = ['--quiet', '--no-deps', '--no-build-isolation', '--wheel-dir', str(folder)]
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options, str(source)], check=True)
    (path,) = folder.glob('rescaps-*.whl')
    return path


@pytest.fixture
def requirements(repository):
    """Requirements of setup.cfg by extra; ``''`` has the requirements without extras."""
    setup = ConfigParser()
    setup.read(repository / 'setup.cfg')
    sections = {'': setup['options']['install_requires'], **setup['options.extras_require']}
    return {extra: [Requirement(line) for line in text.split('\n') if line] for extra, text in sections.items()}


@pytest.fixture
def tested(repository):
    """Pinned versions of requirements/tested.txt by package."""
    lines = (repository / 'requirements/tested.txt').read_text().splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith('#')]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix('==') for pin in pins}


def tracked(folder):
    return {path for path in folder.rglob('*') if path.is_file() and '__pycache__' not in path.parts}


def test_wheel_holds_package_configs_and_tools(wheel, repository):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if '.dist-info/' not in name}
        metadata = Parser().parsestr(archive.read(f'rescaps-{rescaps_plugin.__version__}.dist-info/METADATA').decode())
    expected = {path.relative_to(repository).as_posix() for path in tracked(repository / 'rescaps_plugin')}
    for name in ('configs', 'tools'):
        paths = {path.relative_to(repository).as_posix() for path in tracked(repository / name)}
        expected |= {f'rescaps_plugin/.mim/{path}' for path in paths}
    assert names == expected | {'rescaps_plugin/.mim/model-index.yml'}
    assert 'rescaps_plugin/py.typed' in names
    assert metadata['Name'] == 'rescaps'
    assert metadata['License-File'] == 'LICENSE'
    assert set(metadata.get_all('Provides-Extra')) >= {
        'classification',
        'saliency',
        'pointcloud',
        'export',
        'all',
        'test',
    }


def test_package_is_the_first_top_level_name(wheel):
    """MMEngine and mim look for ``.mim`` there."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.read(f'rescaps-{rescaps_plugin.__version__}.dist-info/top_level.txt').decode().split()
    assert names[0] == 'rescaps_plugin'


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """A folder with the installed wheel."""
    target = tmp_path_factory.mktemp('site')
    options = ['--quiet', '--no-deps', '--no-compile', '--target', str(target)]
    subprocess.run([sys.executable, '-m', 'pip', 'install', *options, str(wheel)], check=True)
    return target


@pytest.fixture
def run_installed(installed, tmp_path):
    """Run a command with the installed wheel in an empty folder, and return the lines that it prints."""

    def run(*command):
        environment = {**os.environ, 'PYTHONPATH': str(installed), 'OMP_NUM_THREADS': '1', 'COLUMNS': '120'}
        result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    return run


def test_installed_wheel_works_away_from_the_repository(installed, run_installed):
    code = """
import timm
import rescaps_plugin
from rescaps_plugin.cli.config import load_config
from mmpretrain.registry import MODELS

print(rescaps_plugin.__file__)
print(timm.create_model('rescaps_tiny', num_classes=7).num_classes)
cfg = load_config('rescaps_plugin::rescaps/digits.py')
print(type(MODELS.build(cfg.model)).__name__)
print(load_config('rescaps::rescaps/digits.py').filename)
"""
    assert run_installed(sys.executable, '-c', code)[-4:] == [
        str(installed / 'rescaps_plugin/__init__.py'),
        '7',
        'ImageClassifier',
        str(installed / 'rescaps_plugin/.mim/configs/rescaps/digits.py'),
    ]


@pytest.mark.slow
def test_installed_console_script_trains_and_tests(installed, run_installed, tmp_path):
    options = ['train_cfg.max_epochs=1', 'train_dataloader.dataset.indices=64', 'val_dataloader.dataset.indices=32']
    rescaps, config = installed / 'bin/rescaps', 'rescaps::rescaps/digits.py'
    run_installed(rescaps, 'train', config, '--cfg-options', *options)
    checkpoint = 'work_dirs/digits/epoch_1.pth'
    assert (tmp_path / checkpoint).is_file()
    run_installed(rescaps, 'test', config, checkpoint, '--out', 'metrics.json', '--out-item', 'metrics')
    assert 'accuracy/top1' in (tmp_path / 'metrics.json').read_text()


@pytest.mark.slow
def test_installed_console_script_has_every_tool(installed, run_installed, repository):
    """One process imports them all; tables and default configs are found in the wheel."""
    code = """
import runpy, sys

from rescaps_plugin.cli.main import main

for line in sys.argv[1:]:
    sys.argv = ['rescaps', *line.split()]
    try:
        main()
    except SystemExit as error:
        assert not error.code, (line, error.code)
"""
    names = [path.stem for path in sorted(repository.glob('tools/*.py'))]
    commands = [f'{name} --help' for name in names]
    commands.append('reproduce --table VII --budget cpu --dry-run')
    commands.append('analyse-depth --depths 1 --epochs 1 --indices 32 --types 2 --methods rpr')
    text = '\n'.join(run_installed(sys.executable, '-c', code, *commands))
    for name in names:
        assert f'usage: rescaps {name.replace("_", "-")} ' in text
    assert 'to do' in text


def test_importing_the_package_needs_only_torch_and_timm(repository):
    code = """
import sys

for name in ('mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'sklearn', 'scipy', 'cv2', 'matplotlib'):
    sys.modules[name] = None  # importing it raises ModuleNotFoundError

import rescaps_plugin
import timm

assert timm.list_models('rescaps_*')
assert rescaps_plugin.layers.EMRouting and rescaps_plugin.losses.SpreadLoss
"""
    subprocess.run([sys.executable, '-c', code], cwd=repository, check=True)


def test_tested_versions_satisfy_every_requirement(requirements, tested):
    for extra, wanted in requirements.items():
        for requirement in wanted:
            if requirement.name == 'rescaps':  # all = the other extras
                assert requirement.extras <= requirements.keys(), extra
            else:
                version = tested[canonicalize_name(requirement.name)]
                assert requirement.specifier.contains(version), f'[{extra}] {requirement}: {version} is tested'


def test_oldest_timm_is_the_tested_one(requirements, tested):
    """The networks import private modules of timm, and older versions lack some."""
    (timm,) = (requirement for requirement in requirements[''] if requirement.name == 'timm')
    assert str(timm.specifier) == f'>={tested["timm"]}'


def test_both_opencv_packages_are_one_version(tested):
    assert tested['opencv-python'] == tested['opencv-python-headless']


def test_pre_commit_uses_the_tested_ruff(repository, tested):
    hooks = yaml.safe_load((repository / '.pre-commit-config.yaml').read_text())['repos'][0]['hooks']
    versions = {package for hook in hooks for package in hook['additional_dependencies'] if package.startswith('ruff')}
    assert versions == {f'ruff=={tested["ruff"]}'}


def test_model_index_lists_every_family(repository):
    listed = yaml.safe_load((repository / 'model-index.yml').read_text())['Import']
    assert listed == sorted(
        path.relative_to(repository).as_posix() for path in repository.glob('configs/*/metafile.yml')
    )


@pytest.fixture
def clone(repository, tmp_path):
    """An empty clone with the set-up scripts, and a mock of the commands that they start."""
    for script in ('.ci/run', 'tools/setup_env.sh'):
        (tmp_path / 'clone' / script).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / script, tmp_path / 'clone' / script)
    started = tmp_path / 'clone/tools/run_tests.sh'
    started.write_text('#!/bin/sh\necho tests start in "$PWD"\n')
    # The script must not install anything here.
    (tmp_path / 'programs').mkdir()
    shutil.copy(started, tmp_path / 'programs/apt-get')
    for script in (started, tmp_path / 'programs/apt-get'):
        script.chmod(0o755)
    return tmp_path / 'clone'


def run_ci(clone):
    environment = {**os.environ, 'PATH': f'{clone.parent / "programs"}:{os.environ["PATH"]}'}
    command = [clone / '.ci/run']
    return subprocess.run(command, cwd='/', env=environment, check=True, capture_output=True, text=True).stdout


def test_ci_links_and_unpacks_shared_data(clone):
    shared = clone.parent / 'shared/data'
    for name in ('mnist', 'kicad-norb', 'kicad40'):
        (shared / name).mkdir(parents=True)
    image = shared / 'image.jpg'
    image.write_bytes(b'image')
    for archive, member in (
        ('cifar10-jpeg.tar.xz', 'train/cat/1.jpg'),
        ('cifar10-train.tar.xz', 'cifar10/train/cat/1.avif'),
        ('cifar10-test.tar.xz', 'cifar10/test/cat/1.webp'),
        ('ecssd-0001-0600.tar', 'ECSSD/images/0001.jpg'),
    ):
        with tarfile.open(shared / archive, 'w:xz' if archive.endswith('xz') else 'w') as file:
            file.add(image, member)
    for _ in range(2):  # the second run finds all files
        assert run_ci(clone) == f'tests start in {clone}\n'
        assert sorted(path.name for path in (clone / 'data').iterdir()) == [
            'ECSSD',
            'cifar10',
            'cifar10-jpeg',
            'kicad-norb',
            'kicad40',
            'mnist',
        ]
        assert (clone / 'data/cifar10/train/cat/1.avif').is_file()
        assert (clone / 'data/cifar10/test/cat/1.webp').is_file()
        assert (clone / 'data/cifar10-jpeg/train/cat/1.jpg').read_bytes() == b'image'
        assert (clone / 'data/ECSSD/images/0001.jpg').read_bytes() == b'image'
        assert (clone / 'data/mnist').samefile(shared / 'mnist')


def test_ci_runs_without_shared_data(clone):
    assert run_ci(clone) == f'tests start in {clone}\n'
    assert not (clone / 'data').exists()


@pytest.mark.parametrize(
    ('environment', 'message'),
    [
        ({}, r'no Python 3\.11, 3\.12 or 3\.13 found \(Python 3\.8\.18\)'),
        (
            {'VIRTUAL_ENV': '/old'},
            r'the active environment has Python 3\.8\.18; Python 3\.11, 3\.12 or 3\.13 is needed',
        ),
    ],
)
def test_setup_refuses_an_old_python(clone, environment, message):
    programs = clone.parent / 'programs'
    (programs / 'dirname').symlink_to(shutil.which('dirname'))
    for name in ('python', 'python3'):
        (programs / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.18\n')
        (programs / name).chmod(0o755)
    result = subprocess.run(
        [shutil.which('bash'), '-c', 'set -euo pipefail; . clone/tools/setup_env.sh; echo went on'],
        cwd=clone.parent,
        env={'PATH': str(programs), **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1 and result.stdout == ''
    assert re.search(message, result.stderr)
    assert not (clone / '.venv').exists()


@pytest.mark.parametrize(
    ('script', 'expected'),
    [
        (
            'quickstart.sh',
            [
                '--constraint requirements/tested.txt setuptools',
                '--constraint requirements/tested.txt --no-build-isolation -e .[classification]',
            ],
        ),
        ('run_tests.sh', ['-r requirements/tested.txt', '--no-deps --no-build-isolation -e .']),
    ],
)
@pytest.mark.parametrize('has_opencv', [True, False])
def test_first_command_installs_one_extra_and_second_everything(
    repository, tested, clone, script, expected, has_opencv
):
    """A mock of Python records what pip is to install; OpenCV may fail to load, as without a desktop's libraries."""
    shutil.copy(repository / 'tools' / script, clone / 'tools')
    shutil.copytree(repository / 'requirements', clone / 'requirements')
    programs = clone.parent / 'programs'
    programs.mkdir(exist_ok=True)
    for name in ('dirname', 'grep'):
        (programs / name).symlink_to(shutil.which(name))
    (programs / 'python').write_text(
        '#!/bin/sh\n'
        'case "$*" in\n'
        '*"pip install"*) echo "$*" >>installed ;;\n'
        f'*"import cv2"*) exit {int(not has_opencv)} ;;\n'
        'esac\n'
    )
    (programs / 'python').chmod(0o755)
    environment = {'PATH': str(programs), 'VIRTUAL_ENV': '/active'}
    subprocess.run([shutil.which('bash'), clone / 'tools' / script], env=environment, capture_output=True)
    installed = [line.split(' --progress-bar off ')[1] for line in (clone / 'installed').read_text().splitlines()]
    if not has_opencv:
        headless = f'opencv-python-headless=={tested["opencv-python-headless"]}'
        expected = [*expected, f'--force-reinstall --no-deps {headless}']
    assert installed == expected


@pytest.mark.parametrize('script', ['quickstart.sh', 'run_tests.sh'])
def test_scripts_can_be_started(repository, script):
    path = Path(repository, 'tools', script)
    assert os.access(path, os.X_OK)
    subprocess.run(['bash', '-n', path], check=True)


def test_workflow_runs_the_scripts_of_the_first_page(repository):
    jobs = yaml.safe_load((repository / '.github/workflows/ci.yml').read_text())['jobs']
    commands = '\n'.join(step['run'] for job in jobs.values() for step in job['steps'] if 'run' in step)
    page = (repository / 'README.md').read_text(encoding='utf-8')
    for script in ('./tools/quickstart.sh', './tools/run_tests.sh'):
        assert script in commands and script in page
    versions = jobs['tests']['strategy']['matrix']['python-version']
    setup = (repository / 'tools/setup_env.sh').read_text()
    assert versions and all(f'python{version} ' in setup for version in versions)
