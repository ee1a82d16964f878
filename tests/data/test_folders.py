"""Input files of command-line paths, and names of output files."""

import os

import pytest

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.folders import find_files, list_folders, raise_unreadable


@pytest.fixture
def folder(tmp_path):
    for name in ('b.PNG', 'a.png', 'c.gif', 'notes.txt', 'sub/d.png', '.hidden.png', '.cache/e.png', '__MACOSX/f.png'):
        path = tmp_path / 'in' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / 'in'


def names(paths, root):
    return [str(path.relative_to(root)) for path in paths]


def test_folders_are_searched_recursively_and_skipped_files_reported(folder, capsys):
    found = find_files([str(folder)], 'images', ('.png',))
    assert names(found, folder) == ['a.png', 'b.PNG', 'sub/d.png']
    assert capsys.readouterr().err == f'INPUT {folder}: skipped 2 files, not images: c.gif, notes.txt\n'
    for number in range(8):
        (folder / f'{number}.txt').touch()
    find_files([str(folder)], 'images', ('.png', '.gif'))
    assert 'skipped 9 files, not images: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, ...' in capsys.readouterr().err


def test_accept_decides_in_addition_to_the_suffix(folder):
    found = find_files([str(folder)], 'texts', ('.txt', '.png'), lambda path: path.stem == 'notes')
    assert names(found, folder) == ['notes.txt']
    # Files named explicitly are always read.
    assert find_files([str(folder / 'c.gif')], 'texts', ('.txt',)) == [folder / 'c.gif']


def test_circular_links_are_followed_once(folder):
    """Two circular links would result in 2^40 paths."""
    for name in ('one', 'two', 'sub/three'):
        (folder / name).symlink_to(folder, target_is_directory=True)
    assert names(find_files([str(folder)], 'images', ('.png',)), folder) == ['a.png', 'b.PNG', 'sub/d.png']


def test_missing_and_special_files(tmp_path, folder):
    os.mkfifo(tmp_path / 'pipe.png')
    os.mkfifo(folder / 'pipe.png')
    with pytest.raises(UserError, match=r'INPUT .*pipe\.png is neither a file nor a folder'):
        find_files([str(tmp_path / 'pipe.png')], 'images', ('.png',))
    assert 'pipe.png' not in names(find_files([str(folder)], 'images', ('.png',)), folder)
    with pytest.raises(UserError, match='INPUT nowhere does not exist'):
        find_files(['nowhere'], 'images', ('.png',))
    with pytest.raises(UserError, match='INPUT -: clouds are not read from standard input'):
        find_files(['-'], 'clouds', ('.ply',))


def test_list_folders(folder):
    assert list_folders(folder) == ['sub']


def test_unreadable_inputs_are_listed():
    raise_unreadable([])
    with pytest.raises(UserError, match='2 inputs could not be read:\n  a: empty\n  b: damaged'):
        raise_unreadable(['a: empty', 'b: damaged'])
