import pytest

pytest.importorskip('mmengine')

from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.files import check_folder_writable, check_writable


@pytest.mark.parametrize('name', ['file/x.json', '', '/proc/x.json'])
def test_not_writable(tmp_path, name):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='--out .* cannot be written'):
        check_writable(tmp_path / name, '--out')


def test_writable(tmp_path):
    check_writable(tmp_path / 'a' / 'b' / 'x.json', '--out')
    assert not list(tmp_path.iterdir())


def test_folder(tmp_path):
    check_folder_writable(tmp_path / 'a' / 'b', '--out-dir')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='--out-dir cannot be written: .*file'):
        check_folder_writable(tmp_path / 'file', '--out-dir')
