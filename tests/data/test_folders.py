"""Input files of command-line paths, and names of output files."""

import os
from pathlib import Path

import pytest

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import check_folder_writable, check_writable, name_outputs
from rescaps_plugin.data.folders import find_files, list_folders


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


def test_list_folders(folder):
    assert list_folders(folder) == ['sub']


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


def test_output_folders_of_videos_do_not_collide_with_images():
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
