"""Names of output files, checks that they can be written, and atomic writes."""

import os
from pathlib import Path

import pytest

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import check_folder_writable, check_writable, choose_out_dir, name_outputs, replacing


@pytest.mark.parametrize(
    ('paths', 'expected'),
    [
        (['a.jpg'], ['a']),
        (['x/a.jpg', 'x/b.jpg'], ['a', 'b']),
        (['x/a.jpg', 'y/a.jpg'], ['x/a', 'y/a']),
        (['a.jpg', 'a.png', 'b.png'], ['a.jpg', 'a.png', 'b']),
        (['a.jpg', 'a.png', 'a.jpg.png'], ['a.jpg', 'a.png', 'a.jpg.png']),
        (['a', 'a.png', 'a.png.png'], ['a', 'a.png', 'a.png.png']),
        (['x/a.jpg', 'x/a.png/b.png'], ['a.jpg', 'a.png/b']),
        (['x/../a.jpg', 'a.jpg'], ['a', 'a']),
    ],
)
def test_names_of_outputs(paths, expected):
    assert name_outputs([Path(path) for path in paths]) == expected
    assert len({*expected}) == len({os.path.abspath(path) for path in paths})


def test_folders_of_frames_are_no_folder_of_images():
    paths = [Path(path) for path in ('clip.mp4', 'clip/000000.png', 'film.mp4')]
    assert name_outputs(paths, [True, False, True]) == ['clip.mp4', 'clip/000000', 'film']


def test_many_names_are_all_different():
    paths = [Path(f'in/{number % 100}/{number}.png') for number in range(30_000)]
    assert len(set(name_outputs(paths))) == len(paths)


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


def test_folder_for_results(tmp_path):
    assert choose_out_dir(None, tmp_path / 'work', 'maps') == tmp_path / 'work' / 'maps'
    assert choose_out_dir(tmp_path / 'own', tmp_path / 'work', 'maps') == tmp_path / 'own'
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='--out-dir cannot be written: .*file'):
        choose_out_dir(None, tmp_path / 'file', 'maps')


def test_replacing_creates_folders_and_takes_the_place_at_the_end(tmp_path):
    path = tmp_path / 'a' / 'b' / 'model.bin'
    for content in ('first', 'second'):
        with replacing(path) as draft:
            draft.write_text(content)
            assert path.exists() == (content == 'second')
        assert path.read_text() == content
    assert [file.name for file in path.parent.iterdir()] == ['model.bin']


def test_replacing_leaves_nothing_behind_an_error(tmp_path):
    path = tmp_path / 'model.bin'
    with pytest.raises(ZeroDivisionError), replacing(path) as draft:
        draft.write_text('half')
        1 / 0  # noqa: B018
    assert list(tmp_path.iterdir()) == []


def test_replacing_two_files(tmp_path, monkeypatch):
    path, weights = tmp_path / 'model.xml', tmp_path / 'model.bin'
    for content in ('first', 'second'):
        with replacing(path) as draft:
            draft.write_text(content)
            draft.with_suffix('.bin').write_text(content)
        assert path.read_text() == weights.read_text() == content
    moved = []

    def replace(file, target):
        moved.append(target.name)
        assert not path.exists()  # with the weights of the other
        raise OSError('the machine stops here')

    monkeypatch.setattr(Path, 'replace', replace)
    with pytest.raises(OSError, match='stops'), replacing(path) as draft:
        draft.write_text('third')
        draft.with_suffix('.bin').write_text('third')
    assert moved == ['model.bin']
    assert sorted(file.name for file in tmp_path.iterdir()) == ['model.bin']
