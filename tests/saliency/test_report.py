from pathlib import Path

import pytest

pytest.importorskip('mmseg')
pytest.importorskip('py_sod_metrics')

from rescaps_plugin.cli.errors import UserError  # noqa: E402
from rescaps_plugin.saliency.report import name_methods  # noqa: E402


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('a/icon.py', 'b/icon.py', 'tspoa.py'):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    for name in ('maps/icon', 'maps/v1.5'):
        Path(name).mkdir(parents=True)
    Path('again').symlink_to('maps/icon')
    Path('link').symlink_to('maps/v1.5')
    Path('maps/v1.6').mkdir()
    Path('other').symlink_to('maps/v1.6')


@pytest.mark.parametrize(
    ('methods', 'names'),
    [
        ([('a/icon.py', 'x.pth'), ('tspoa.py', 'x.pth')], ['icon', 'tspoa']),
        ([('a/icon.py', 'x.pth'), ('b/icon.py', 'x.pth')], ['a/icon', 'b/icon']),
        (
            [('a/icon.py', 'w/x.pth'), ('a/icon.py', 'w/y.pth'), ('tspoa.py', 'w/x.pth')],
            ['icon (x)', 'icon (y)', 'tspoa'],
        ),
        ([('rescaps::icon/icon-rpr.py', 'rescaps://icon-rpr'), ('maps', None)], ['icon-rpr', 'maps']),
        ([('a/icon.py', 'v/x.pth'), ('a/icon.py', 'w/x.pth')], ['icon (v/x)', 'icon (w/x)']),
        ([('link', None), ('other', None)], ['link', 'other']),
        ([('a/icon.py', 'x.pth'), ('maps/icon', None), ('maps/v1.5', None)], ['a/icon', 'maps/icon', 'maps/v1.5']),
    ],
)
def test_names(folder, methods, names):
    assert name_methods([(Path(path), checkpoint) for path, checkpoint in methods]) == names


@pytest.mark.parametrize(
    'methods', [[('a/icon.py', 'x.pth')] * 2, [('maps/icon', None)] * 2, [('maps/icon', None), ('again', None)]]
)
def test_method_given_twice(folder, methods):
    with pytest.raises(UserError, match=r'METHOD \S*(icon|again)\S* is given twice'):
        name_methods([(Path(path), checkpoint) for path, checkpoint in methods])


def test_names_of_their_own():
    methods = [(Path('maps'), None)] * 3
    names = ['icon', 'tspoa', 'icon (x)']
    assert name_methods(methods, names) == names
    for names, message in (
        (['a', 'b', 'a'], 'a names two methods'),
        (['ours+', 'b', 'ours*'], r'ours\+ and ours\* have one file name, ours_;'),
        (['a', ''], "'' names no method"),
        ([' '], "' ' names no method"),
    ):
        with pytest.raises(UserError, match=f'^--names: {message}'):
            name_methods(methods, names)
