"""Arguments that name trained models: a config and a checkpoint, or a published name."""

from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training.model_arguments import (
    add_methods_argument,
    add_model_arguments,
    add_models_argument,
    model_names,
    parse_model_arguments,
)

NAME = 'rescaps-tiny_digits'
PUBLISHED = ('rescaps::rescaps/digits.py', 'rescaps://rescaps-tiny_digits')


@pytest.fixture
def parser():
    parser = ArgumentParser()
    add_model_arguments(parser)
    parser.add_argument('inputs', nargs='*')
    parser.add_argument('--top-k', type=int)
    parser.add_argument('--overlay', action='store_true')
    return parser


@pytest.mark.parametrize(
    ('typed', 'model', 'inputs'),
    [
        ('a.py a.pth', ('a.py', 'a.pth'), []),
        ('a.py a.pth b c', ('a.py', 'a.pth'), ['b', 'c']),
        ('mmpretrain::a.py https://b/c.pth b', ('mmpretrain::a.py', 'https://b/c.pth'), ['b']),
        (NAME, PUBLISHED, []),
        (f'{NAME} photo.jpg', PUBLISHED, ['photo.jpg']),
        (f'{NAME} b c d', PUBLISHED, ['b', 'c', 'd']),
        ('rescaps_tiny.digits b', PUBLISHED, ['b']),
        (f'--top-k 2 {NAME} --overlay b c', PUBLISHED, ['b', 'c']),
        ('a.py --overlay a.pth --top-k 2 b', ('a.py', 'a.pth'), ['b']),
    ],
)
def test_model_and_inputs(parser, typed, model, inputs):
    args = parse_model_arguments(parser, typed.split())
    assert (args.config, args.checkpoint) == model and args.inputs == inputs
    assert args.top_k == (2 if '--top-k' in typed else None) and args.overlay == ('--overlay' in typed)


@pytest.mark.parametrize(
    ('typed', 'message'),
    [
        ('a.py', 'error: a CHECKPOINT must follow the config a.py.'),
        ('a.py x.png', 'error: a CHECKPOINT must follow the config a.py; x.png is an input (image/png).'),
        ('a.py x.mp4 b.pth', 'error: a CHECKPOINT must follow the config a.py; x.mp4 is an input (video/mp4).'),
        ('rescaps-tiny_digit b', "no config, and no published model is named 'rescaps-tiny_digit'. Close: " + NAME),
        ('xyz', "no published model is named 'xyz'. rescaps zoo lists the names."),
    ],
)
def test_unknown_models_are_refused(parser, typed, message, capsys):
    with pytest.raises(SystemExit):
        parse_model_arguments(parser, typed.split())
    assert message in capsys.readouterr().err


def test_exported_files_take_the_place_of_both(parser, capsys):
    """In tools that take them; in others they are configs without a checkpoint."""
    exported = ArgumentParser()
    add_model_arguments(exported, exported=('.onnx', '.xml'))
    exported.add_argument('inputs', nargs='*')
    for file in ('a.onnx', 'b/a.XML'):
        args = parse_model_arguments(exported, [file, 'b', 'c'])
        assert (args.config, args.checkpoint, args.inputs) == (file, file, ['b', 'c'])
    assert parse_model_arguments(exported, ['a.py', 'a.pth']).checkpoint == 'a.pth'
    with pytest.raises(SystemExit):
        parse_model_arguments(parser, ['a.onnx', 'b'])
    assert "a.onnx is no config, and no published model is named 'a.onnx'" in capsys.readouterr().err


@pytest.mark.parametrize('typed', ['a.onnx', 'a.onnx a.onnx', 'photo.jpg photos', 'epoch_40.pth'])
def test_files_that_are_no_configs(parser, tmp_path, monkeypatch, typed, capsys):
    monkeypatch.chdir(tmp_path)
    first = typed.split()[0]
    Path(first).touch()
    with pytest.raises(SystemExit):
        parse_model_arguments(parser, typed.split())
    assert f'error: {first} is no config (.py, .yml, .yaml, .json): give' in capsys.readouterr().err


def test_words_after_the_model_need_inputs(capsys):
    parser = ArgumentParser()
    add_model_arguments(parser)
    assert parse_model_arguments(parser, [NAME]).checkpoint == PUBLISHED[1]
    with pytest.raises(SystemExit):
        parse_model_arguments(parser, [NAME, 'b'])
    assert 'unrecognized arguments: b' in capsys.readouterr().err


def test_a_file_of_a_published_name_is_a_config(parser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(NAME).touch()
    args = parse_model_arguments(parser, [NAME, 'a.pth'])
    assert (args.config, args.checkpoint) == (NAME, 'a.pth')


def test_models_are_pairs(capsys):
    parser = ArgumentParser()
    add_models_argument(parser)
    typed = ['a.py', 'a.pth', NAME, 'b.py', 'b.pth']
    assert parser.parse_args(typed).models == [('a.py', 'a.pth'), PUBLISHED, ('b.py', 'b.pth')]
    with pytest.raises(SystemExit):
        parser.parse_args(['a.py', 'a.pth', 'b.py'])
    assert 'a CHECKPOINT must follow the config b.py.' in capsys.readouterr().err


def test_methods_are_models_and_folders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path('maps').mkdir()
    parser = ArgumentParser()
    add_methods_argument(parser)
    found = parser.parse_args(['maps', 'a.py', 'a.pth', 'maps']).methods
    assert found == [(Path('maps'), None), (Path('a.py'), 'a.pth'), (Path('maps'), None)]
    with pytest.raises(SystemExit):
        parser.parse_args(['maps', 'a.py'])
    assert 'a CHECKPOINT must follow the config a.py.' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('models', 'names'),
    [
        ([('configs/a.py', '1.pth'), ('configs/b.py', '1.pth')], ['a', 'b']),
        ([('a.py', 'rescaps://rescaps-small_mnist'), ('a.py', '1.pth')], ['rescaps-small_mnist', 'a']),
        (
            [('a.py', 'runs/epoch_1.pth'), ('b.py', '1.pth'), ('a.py', 'runs/epoch_10.pth')],
            ['epoch_1.pth', 'b', 'epoch_10.pth'],
        ),
        ([(f'r/{x}/config.py', f'r/{x}/epoch_9.pth') for x in ('s0', 's1')], ['s0/epoch_9.pth', 's1/epoch_9.pth']),
        ([('a.py', '/runs/1.pth'), ('a.py', 'runs/1.pth')], ['/runs/1.pth', 'runs/1.pth']),
        (
            [(f'{x}.py', f'{x}/{epoch}.pth') for x in 'ab' for epoch in (1, 2)],
            ['a 1.pth', 'a 2.pth', 'b 1.pth', 'b 2.pth'],
        ),
        (
            [('x/a.py', '1.pth'), ('y/a.py', '1.pth'), ('y/a.py', '2.pth')],
            ['x/a.py 1.pth', 'y/a.py 1.pth', 'y/a.py 2.pth'],
        ),
    ],
)
def test_model_names(models, names):
    assert model_names(models) == names


PATHS = st.lists(st.sampled_from('ab'), min_size=1, max_size=3).map('/'.join)


@given(st.lists(st.tuples(PATHS.map('{}.py'.format), PATHS.map('{}.pth'.format)), min_size=1, max_size=8, unique=True))
def test_names_are_different(models):
    assert len({*model_names(models)}) == len(models)


def test_model_given_twice():
    with pytest.raises(UserError, match=r'^MODEL a\.py 1\.pth is given twice'):
        model_names([('a.py', '1.pth'), ('b.py', '1.pth'), ('a.py', '1.pth')])
