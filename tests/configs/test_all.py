"""Checks of all configs: unique names (of work directories), metafiles, and complete custom_imports."""

import importlib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from rescaps_plugin.cli.config import load_config

CONFIGS = Path(__file__).parents[2] / 'configs'
PATHS = sorted(path for path in CONFIGS.glob('*/*.py') if path.parent.name not in ('_base_', 'reproduce'))
# Packages that register types of configs and must be in custom_imports.
PACKAGES = ('classification', 'pointcloud', 'saliency', 'swap')


def test_no_two_configs_share_a_work_directory():
    names = Counter(path.stem for path in PATHS)
    assert names['digits'] == 1
    assert [name for name, count in names.items() if count > 1] == []


def test_every_config_is_in_the_metafile_of_its_family():
    listed = {}
    for metafile in CONFIGS.glob('*/metafile.yml'):
        for model in yaml.safe_load(metafile.read_text(encoding='utf-8'))['Models']:
            assert model['Name'] not in listed, model['Name']
            listed[model['Name']] = CONFIGS.parent / model['Config']
            assert listed[model['Name']].parent == metafile.parent
    assert sorted(listed.values()) == PATHS


def test_only_configs_pages_and_their_pictures():
    folders = [path for path in CONFIGS.iterdir() if path.name not in ('_base_', '__pycache__')]
    for path in (path for folder in folders for path in folder.iterdir() if path.name != '__pycache__'):
        page = path.with_name('README.md').read_text(encoding='utf-8')
        assert path.suffix == '.py' or path.name in ('README.md', 'metafile.yml') or f'({path.name})' in page, path


# Those of other libraries, with layers swapped, are for several GPUs.
@pytest.mark.parametrize('path', [path for path in PATHS if path.parent.name != 'swap'], ids=lambda path: path.stem)
def test_learning_rate_is_that_of_the_batch(path):
    config = load_config(str(path))
    if 'auto_scale_lr' in config:
        assert config.auto_scale_lr.base_batch_size == config.train_dataloader.batch_size


def types(value):
    """Iterate over all types in a config, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get('type'), str):
            yield value['type'].rpartition('.')[2]
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from types(item)


@pytest.fixture(scope='module')
def registered():
    """Names of the types that each package registers."""
    from mmengine.registry import root

    names = {package: set(importlib.import_module(f'rescaps_plugin.{package}').__all__) for package in PACKAGES}
    registries = [registry for registry in vars(root).values() if isinstance(registry, root.Registry)]
    for registry in list(registries):
        registries += registry.children.values()
    for registry in registries:
        for name, member in registry.module_dict.items():
            top, _, inner = member.__module__.partition('.')
            if top == 'rescaps_plugin' and inner.partition('.')[0] in names:
                names[inner.partition('.')[0]].add(name)
    assert 'ImageFolder' in names['classification'] and 'RPRConv2d' in names['swap']
    return names


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.stem)
def test_config_imports_the_packages_of_all_that_it_names(path, registered):
    if path.stem.endswith('_coco'):
        pytest.importorskip('mmdet')
    config = load_config(str(path))
    named = set(types(config.to_dict()))
    imported = {module.split('.')[1] for module in config.custom_imports.imports}
    assert {package for package, names in registered.items() if names & named} <= imported
