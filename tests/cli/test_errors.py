import io

import pytest

pytest.importorskip('mmpretrain')

from mmpretrain.registry import DATASETS, MODELS

import rescaps_plugin.classification  # noqa: F401  (registers)
from rescaps_plugin.cli.config import ConfigError, load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors


@pytest.mark.parametrize(
    ('registry', 'name', 'close'),
    [
        (MODELS, 'ResCap', 'ResCaps'),
        (MODELS, 'mmpretrain.CapsuleClsHeads', 'CapsuleClsHead'),
        (DATASETS, 'Digit', 'Digits'),
    ],
)
def test_unknown_type_names_close_ones(registry, name, close):
    with pytest.raises(SystemExit) as stop, user_errors():
        registry.build(dict(type=name))
    assert f'type {name!r}' in stop.value.code
    assert close in stop.value.code.partition('Close: ')[2]


def test_other_key_errors_keep_their_traceback():
    with pytest.raises(KeyError), user_errors():
        {}['model']


def test_interrupt_while_a_file_is_open(capsys):
    class File:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            raise RuntimeError('unexpected pos')

    with pytest.raises(SystemExit) as stop, user_errors(), File():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert capsys.readouterr().err.startswith('interrupted: ')


def test_config_that_is_not_python(tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text('model = dict(\n')
    with pytest.raises(ConfigError, match='broken.py is not valid Python'):
        load_config(str(path))


def test_messages_have_no_control_characters():
    with pytest.raises(SystemExit) as stop, user_errors():
        raise UserError('a\x1b[2J.png: damaged\n  b\udcff.png: damaged')
    assert stop.value.code == 'error: a\\x1b[2J.png: damaged\n  b\\xff.png: damaged'


def test_characters_outside_the_encoding_are_printed_as_escapes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding='cp1252')
    monkeypatch.setattr('sys.stdout', stream)
    with user_errors():
        print('图 é')
    stream.flush()
    assert stream.buffer.getvalue() == b'\\u56fe \xe9\n'
