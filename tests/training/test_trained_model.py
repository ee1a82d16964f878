"""Commands by the domain of a trained model."""

from argparse import Namespace

import pytest
from mmengine.registry import DefaultScope

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training.trained_model import call_by_scope


def command(cfg, args):
    """Return what a command is called with."""
    return cfg.work_dir, args.checkpoint, DefaultScope.get_current_instance().scope_name


COMMANDS = {'mmengine': f'{__name__}:command', 'other': 'no_such_package:command'}


@pytest.fixture
def args(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'model.pth').touch()
    (tmp_path / 'model.py').write_text("model = dict()\ntest_dataloader = dict(x=1)\ndefault_scope = 'mmengine'\n")
    return Namespace(config='model.py', checkpoint='model.pth', cfg_options=None, trust_checkpoint=False)


def test_command_of_the_scope_is_called(args):
    args.cfg_options = {'model.type': 'A'}
    assert call_by_scope(args, COMMANDS) == ('work_dirs/model', 'model.pth', 'mmengine')
    assert call_by_scope(args, COMMANDS, 'own')[0] == 'own'


def test_mistakes(args):
    args.cfg_options = {'model.type': 'A', 'default_scope': 'mmdet'}
    with pytest.raises(UserError, match="config model.py has default_scope 'mmdet'; it may be mmengine, other"):
        call_by_scope(args, COMMANDS)
    args.cfg_options = {'model.type': 'A'}
    args.checkpoint = 'nowhere.pth'
    with pytest.raises(UserError, match='checkpoint nowhere.pth does not exist'):
        call_by_scope(args, COMMANDS)
