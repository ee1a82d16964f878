import subprocess
import sys

import pytest

pytest.importorskip('mmpretrain')

import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader

from rescaps_plugin.cli.config import ConfigError, complete_dataloaders, load_config, require, set_work_dir

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
            ('six::a.py', 'the package six, which is not installed'),  # a module
            ('mmpretrain::resnet/nope.py', r'does not exist: no file .*nope\.py'),
        ],
    )
    def test_missing(self, config, message):
        with pytest.raises(ConfigError, match=message):
            load_config(config)

    def test_options_import_modules(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / 'mine.py').write_text('ready = True\n')
        (tmp_path / 'a.py').write_text('model = dict()\n')
        load_config(str(tmp_path / 'a.py'), {'custom_imports.imports': ['mine']})
        assert sys.modules['mine'].ready
        with pytest.raises(ConfigError, match='Failed to import no_such_module'):
            load_config(str(tmp_path / 'a.py'), {'custom_imports': dict(imports=['no_such_module'])})

    def test_real_pkg_resources_is_not_replaced(self, tmp_path, repository):
        (tmp_path / 'pkg_resources.py').touch()
        code = (
            'import sys; sys.path[:0] = sys.argv[1:]\n'
            'from mmengine.config import config; mine = config.is_installed\n'
            'import openmmlab\n'
            'with openmmlab.find_packages(): assert config.is_installed is mine\n'
        )
        paths = [tmp_path, repository / 'rescaps_plugin' / 'compat']
        subprocess.run([sys.executable, '-c', code, *map(str, paths)], check=True)


class TestDataloaders:
    def test_mmpretrain_gets_the_defaults_of_its_tools(self):
        cfg = Config(dict(default_scope='mmpretrain', train_dataloader=dict(num_workers=2), val_dataloader=None))
        complete_dataloaders(cfg)
        assert cfg.train_dataloader == dict(
            num_workers=2,
            collate_fn=dict(type='default_collate'),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=True,
        )

    def test_values_of_the_config_take_precedence(self):
        loader = dict(num_workers=2, collate_fn=dict(type='pseudo_collate'), pin_memory=True, persistent_workers=False)
        cfg = Config(dict(default_scope='mmpretrain', test_dataloader=loader))
        complete_dataloaders(cfg)
        assert cfg.test_dataloader == loader

    @pytest.mark.parametrize('gpu', [False, True])
    def test_others_get_only_pinned_memory(self, monkeypatch, gpu):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
        cfg = Config(dict(default_scope='mmseg', train_dataloader=dict(num_workers=2, persistent_workers=True)))
        complete_dataloaders(cfg)
        assert cfg.train_dataloader == dict(num_workers=2, persistent_workers=True, pin_memory=gpu)

    @pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg'])
    def test_no_persistent_workers_without_workers(self, scope):
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


# Files of a broken config, and the expected message.
UNREADABLE = {
    'syntax error': ({'a.py': 'x = 1\nmodel = dict(\n'}, r'a\.py is not valid Python, line 2: .*never closed'),
    'syntax error in a base': (
        {'a.py': "_base_ = 'b.py'\n", 'b.py': 'x = 1\ny = = 2\n'},
        r'a\.py: its base .*b\.py is not valid Python, line 2: invalid syntax',
    ),
    'error when run': ({'a.py': 'x = 0\n\ny = 1 / x\n'}, r'a\.py, line 3: ZeroDivisionError: division by zero'),
    'error in a base': (
        {'a.py': "_base_ = ['b.py']\n", 'b.py': 'x = 1\ny = z\n'},
        r"a\.py: its base .*b\.py, line 2: NameError: name 'z' is not defined",
    ),
    'missing base': ({'a.py': "_base_ = 'b.py'\n"}, r'a\.py has the _base_ .*b\.py, which does not exist'),
    'missing base of a base': (
        {'a.py': "_base_ = 'b.py'\n", 'b.py': "_base_ = 'c.py'\n"},
        r'b\.py has the _base_ .*c\.py, which does not exist',
    ),
    'bases in a circle': (
        {'a.py': "_base_ = 'b.py'\n", 'b.py': "_base_ = 'a.py'\n"},
        r'its _base_ files include each other: .*a\.py, .*b\.py',
    ),
    'missing module': ({'a.py': "custom_imports = dict(imports=['no_such'])\n"}, r'ImportError: .*no_such'),
    'bytes': ({'a.py': '\0\1'}, r'a\.py is not valid Python'),
    'error in an imported base': (
        {
            'a.py': 'from mmengine.config import read_base\nwith read_base():\n    from .b import *\n',
            'b.py': 'x = 1\ny = 1 / 0\n',
        },
        r'a\.py: its base .*b\.py, line 2: ZeroDivisionError',
    ),
    'missing imported base': (
        {'a.py': 'from mmengine.config import read_base\nwith read_base():\n    from .b import *\n'},
        r'a\.py has the _base_ .*b\.py, which does not exist',
    ),
    'base of another type': ({'a.py': '_base_ = 5\n'}, r'a\.py: TypeError'),
}


@pytest.mark.parametrize('case', UNREADABLE)
def test_unreadable(tmp_path, case):
    files, message = UNREADABLE[case]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(str(tmp_path / 'a.py'))
    assert '\n' not in str(error.value)


def test_import_that_fails_inside_an_import(tmp_path, monkeypatch):
    """MMEngine only reports the outermost module; the innermost cause is needed."""
    (tmp_path / 'outer_part.py').write_text('import inner_part\n')
    (tmp_path / 'inner_part.py').write_text('\nimport no_such_package\n')
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'a.py').write_text("custom_imports = dict(imports=['outer_part'])\n")
    message = (
        r"a\.py: .*outer_part: ModuleNotFoundError: No module named 'no_such_package' \(raised at .*inner_part\.py:2"
    )
    with pytest.raises(ConfigError, match=message):
        load_config(str(tmp_path / 'a.py'))


# Options without effect, and the expected message.
WITHOUT_EFFECT = {
    'modell.x': r'--cfg-options modell\.x: config .*cifar10_small\.py has no modell\. Close: model',
    'train_dataloder.batch_size': r'has no train_dataloder\. Close: train_dataloader',
    'data_root': r'no effect: data_root is a variable .* train_dataloader\.dataset\.data_root, val_dataloader\.',
    'train_pipeline': r'no effect: .* in train_dataloader\.dataset\.pipeline already',
    'env_cfg.cudnn_benchmrk': r'env_cfg has no cudnn_benchmrk\. Close: cudnn_benchmark',
    'auto_scale_lr.base_batchsize': r'auto_scale_lr has no base_batchsize\. Close: base_batch_size',
}


@pytest.mark.parametrize('option', WITHOUT_EFFECT)
def test_option_without_effect(option, repository):
    with pytest.raises(ConfigError, match=WITHOUT_EFFECT[option]):
        load_config(str(repository / 'configs' / 'rescaps' / 'cifar10_small.py'), {option: 1})


@pytest.mark.parametrize('value', [64, 0.5, None])
def test_number_that_has_been_copied(tmp_path, value):
    path = tmp_path / 'a.py'
    path.write_text(f'size = {value}\nmodel = dict(img_size=size)\n')
    with pytest.raises(ConfigError, match=r'size has no effect: size is a variable .* in other entries already'):
        load_config(str(path), {'size': 128})


def test_fields_that_a_config_leaves_out_and_own_variables_may_be_set(tmp_path):
    path = tmp_path / 'a.py'
    path.write_text('model = dict(depth=2)\nmine = 4\n')
    options = {'custom_hooks': [], 'compile': True, 'tta_model.type': 'A', 'env_cfg.resource_limit': 5, 'mine': 3}
    cfg = load_config(str(path), options)
    assert cfg.compile is True and cfg.tta_model.type == 'A' and cfg.env_cfg.resource_limit == 5 and cfg.mine == 3


# Options with which a config cannot be built, and the expected message of tools/train.py.
UNBUILDABLE = {
    'model.backbone.type=ResCap': r"model\.backbone: .* 'ResCap', not registered here\. Close: ResCaps",
    'param_scheduler.type=LinearLr': r"param_scheduler: .* 'LinearLr', .* Close: .*LinearLR",
    'train_dataloader.dataset.pipeline.0.type=Resiz': r'train_dataloader\.dataset\.pipeline\.0: .* Close: Resize',
    'val_evaluator.type=Acuracy': r'val_evaluator: .* Close: Accuracy',
    'model.backbone.capsule_types=many': r"model\.backbone \(ResCaps\) cannot be built: .*capsule_types must .*'many'",
    'model.backbone.capsule_typs=3': r"model\.backbone \(ResCaps\) cannot be built: .*'capsule_typs'",
    'model.head.num_classes=-1': r'model\.head \(CapsuleClsHead\) .*num_classes must be positive, got -1',
    'train_dataloader.batch_size=-1': r'train_dataloader .*batch_size should be .*-1',
    'train_cfg.max_epochs=ten': r"train_cfg .*'ten'",
    'optim_wrapper.optimizer.lr=fast': r'optim_wrapper\.optimizer \(Adam\) cannot be built: TypeError',
    'train_dataloader.dataset.split=val': r"split must be one of \('train', 'test'\), not 'val'",
    'train_dataloader.dataset.indices=0': r'train_dataloader\.dataset \(Digits\) has no samples',
    'model.backbone.capsule_types.9=3': r'--cfg-options .* do not fit config',
}


@pytest.mark.parametrize('option', UNBUILDABLE)
def test_unbuildable(option, load_tool, repository, tmp_path):
    config = str(repository / 'configs' / 'rescaps' / 'digits.py')
    with pytest.raises(SystemExit, match=UNBUILDABLE[option]) as stop:
        load_tool('train').main([config, '--work-dir', str(tmp_path), '--cfg-options', option, 'log_level=ERROR'])
    assert stop.value.code.startswith('error: ') and '\n' not in stop.value.code


def test_former_name_of_the_checkpoint_hooks(tmp_path):
    config = tmp_path / 'old.py'
    config.write_text("custom_imports = dict(imports=['rescaps_plugin.engine.checkpoint'])\n")
    sys.modules.pop('rescaps_plugin.engine.checkpoint', None)
    with pytest.warns(DeprecationWarning, match="now 'rescaps_plugin.training'"):
        load_config(str(config))
    assert HOOKS.get('PlainCheckpointHook') is not None


@pytest.mark.parametrize('package', ['rescaps', 'rescaps_plugin'])
def test_configs_of_the_project_have_its_names(repository, package):
    config = load_config(f'{package}::rescaps/digits.py')
    assert config.filename == str(repository / 'configs/rescaps/digits.py')
    with pytest.raises(ConfigError, match=rf'{package}::rescaps/digit.py does not exist: no file .*rescaps/digit.py'):
        load_config(f'{package}::rescaps/digit.py')


def test_path_of_a_clone_elsewhere_names_the_config(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match='digits.py does not exist. From any folder: rescaps::rescaps/digits.py.$'):
        load_config('configs/rescaps/digits.py')
