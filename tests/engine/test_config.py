import subprocess
import sys

import pytest

pytest.importorskip('mmpretrain')

import torch
from mmengine.config import Config
from torch.utils.data import DataLoader

from rescaps_plugin.engine.config import ConfigError, complete_dataloaders, load_config, require, set_work_dir

RESNET = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'


class TestLoadConfig:
    def test_file_with_options(self, tmp_path):
        path = tmp_path / 'some.py'
        path.write_text('model = dict(type="A", depth=1)\n')
        cfg = load_config(str(path), {'model.depth': 2})
        assert cfg.model == dict(type='A', depth=2)
        assert cfg.filename == str(path)

    def test_config_of_a_package(self):
        cfg = load_config(RESNET)
        assert cfg.model.backbone.type == 'ResNet_CIFAR'
        assert cfg.train_dataloader.dataset.type == 'CIFAR10'

    def test_base_in_a_package(self, tmp_path):
        """MMEngine itself needs pkg_resources for this, which current setuptools does not have."""
        path = tmp_path / 'child.py'
        path.write_text(f'_base_ = {RESNET!r}\nmodel = dict(head=dict(num_classes=3))\n')
        cfg = load_config(str(path))
        assert cfg.model.head.num_classes == 3 and cfg.model.backbone.depth == 18

    def test_package_that_is_named_otherwise_on_pypi(self):
        pytest.importorskip('mmseg')
        assert load_config('mmseg::_base_/models/upernet_r50.py').model.decode_head.type == 'UPerHead'

    @pytest.mark.parametrize(
        ('config', 'message'),
        [
            ('nope.py', r'config nope\.py does not exist\.'),
            ('no_such_package::a/b.py', 'no_such_package, which is not installed'),
            ('::a.py', 'which is not installed'),
            ('mmpretrain::resnet/nope.py', r'does not exist: no file .*nope\.py'),
        ],
    )
    def test_missing(self, config, message):
        with pytest.raises(ConfigError, match=message):
            load_config(config)

    def test_real_pkg_resources_is_left_alone(self, tmp_path, repository):
        (tmp_path / 'pkg_resources.py').touch()
        code = (
            'import sys; sys.path[:0] = sys.argv[1:]\n'
            'from mmengine.config import config; mine = config.is_installed\n'
            'import compat; compat.find_packages(); assert config.is_installed is mine\n'
        )
        paths = [tmp_path, repository / 'rescaps_plugin' / 'engine']
        subprocess.run([sys.executable, '-c', code, *map(str, paths)], check=True)


class TestDataloaders:
    def test_mmpretrain_gets_what_its_tools_add(self):
        cfg = Config(dict(default_scope='mmpretrain', train_dataloader=dict(num_workers=2), val_dataloader=None))
        complete_dataloaders(cfg)
        assert cfg.train_dataloader == dict(
            num_workers=2,
            collate_fn=dict(type='default_collate'),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=True,
        )

    def test_the_config_decides(self):
        loader = dict(num_workers=2, collate_fn=dict(type='pseudo_collate'), pin_memory=True, persistent_workers=False)
        cfg = Config(dict(default_scope='mmpretrain', test_dataloader=loader))
        complete_dataloaders(cfg)
        assert cfg.test_dataloader == loader

    def test_others_are_left_alone(self):
        cfg = Config(dict(default_scope='mmseg', train_dataloader=dict(num_workers=2, persistent_workers=True)))
        complete_dataloaders(cfg)
        assert cfg.train_dataloader == dict(num_workers=2, persistent_workers=True)

    @pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg'])
    def test_no_workers_none_persistent(self, scope):
        cfg = Config(dict(default_scope=scope, train_dataloader=dict(num_workers=0, persistent_workers=True)))
        complete_dataloaders(cfg)
        loader = cfg.train_dataloader
        DataLoader([1], num_workers=0, persistent_workers=loader.get('persistent_workers', False))


@pytest.mark.parametrize(
    ('given', 'configured', 'expected'),
    [('a', 'b', 'a'), (None, 'b', 'b'), (None, None, 'work_dirs/digits')],
)
def test_work_dir(tmp_path, given, configured, expected):
    path = tmp_path / 'digits.py'
    path.write_text(f'work_dir = {configured!r}\n')
    cfg = load_config(str(path))
    set_work_dir(cfg, given)
    assert cfg.work_dir == expected


def test_require_names_what_is_missing():
    cfg = Config(dict(model=dict(), test_cfg=None))
    require(cfg, 'model')
    with pytest.raises(ConfigError, match='has no test_cfg, test_dataloader'):
        require(cfg, 'model', 'test_cfg', 'test_dataloader')
