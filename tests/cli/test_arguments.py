"""Arguments that tools have in common."""

from argparse import ArgumentParser, Namespace

import pytest

from rescaps_plugin.cli.arguments import check_predict_options, colour, finite, fraction, seed, typed_command
from rescaps_plugin.cli.errors import UserError


def test_fraction(capsys):
    parser = ArgumentParser()
    parser.add_argument('value', type=fraction)
    assert [parser.parse_args([text]).value for text in ('1', '0.05', '5e-2', '8/255')] == [1, 0.05, 0.05, 8 / 255]
    for text in ('0', '1e-400', '1.5', '256/255'):
        with pytest.raises(SystemExit):
            parser.parse_args([text])
        assert f'argument value: must be above 0 and at most 1, not {text}' in capsys.readouterr().err
    for text in ('1/0', 'nan', 'half', '1e400'):
        with pytest.raises(SystemExit):
            parser.parse_args([text])
        assert f'must be a number or a quotient such as 8/255, not {text}' in capsys.readouterr().err


def test_seed_and_finite(capsys):
    parser = ArgumentParser()
    parser.add_argument('--seed', type=seed)
    parser.add_argument('--angle', type=finite)
    args = parser.parse_args(['--seed', str(2**32 - 1), '--angle', '-1000'])
    assert (args.seed, args.angle) == (2**32 - 1, -1000)
    for words, message in (
        (['--seed', '-1'], 'argument --seed: must be from 0 to 2**32 - 1, not -1'),
        (['--seed', str(2**32)], 'argument --seed: must be from 0 to 2**32 - 1, not 4294967296'),
        (['--seed', 'x'], "argument --seed: invalid seed value: 'x'"),
        (['--angle', 'nan'], 'argument --angle: must be finite, not nan'),
        (['--angle=-inf'], 'argument --angle: must be finite, not -inf'),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert message in capsys.readouterr().err


def test_colour(capsys):
    parser = ArgumentParser()
    parser.add_argument('value', type=colour)
    for text, levels in (('white', (255, 255, 255)), ('#00b140', (0, 177, 64)), ('#FFF', (255, 255, 255))):
        assert parser.parse_args([text]).value == levels
    # An alpha channel has no meaning behind a cut-out.
    for text in ('green-ish', '#00b14', '#00b140ff', ''):
        with pytest.raises(SystemExit):
            parser.parse_args([text])
        assert f"must be an opaque colour, such as white or '#00b140', not {text!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('given', 'model', 'message'),
    [
        (
            dict(overlay=True),
            dict(classes=True),
            '--overlay, --cutout, .* are of saliency maps; config a.py makes none',
        ),
        (dict(cutout=True), {}, '--overlay, --cutout, --refine and --background are of saliency maps'),
        (dict(refine=True), dict(classes=True), '--background are of saliency maps; config a.py makes none'),
        (dict(background=(0, 0, 0)), {}, '--background are of saliency maps'),
        (dict(top_k=2), dict(maps=True), '--top-k is of classes; config a.py predicts none'),
    ],
)
def test_options_of_other_models_are_refused(given, model, message):
    defaults = dict(config='a.py', overlay=False, cutout=False, refine=False, background=None, top_k=1)
    with pytest.raises(UserError, match=message):
        check_predict_options(Namespace(**defaults | given), **model)
    check_predict_options(Namespace(**defaults | dict(cutout=True) | given), classes=True, maps=True)


@pytest.mark.parametrize('given', [dict(refine=True), dict(background=(0, 0, 0))])
def test_options_of_cutouts_need_them(given):
    defaults = dict(config='a.py', overlay=True, cutout=False, refine=False, background=None, top_k=1)
    with pytest.raises(UserError, match=f'--{next(iter(given))} is of cut-outs; it needs --cutout'):
        check_predict_options(Namespace(**defaults | given), maps=True)


def test_command_can_be_typed_again(monkeypatch):
    assert typed_command('benchmark', ['a(b="c")', '--out-dir', 'x y']) == (
        """python tools/benchmark.py 'a(b="c")' --out-dir 'x y'"""
    )
    monkeypatch.setattr('sys.argv', ['rescaps analyse-depth', '--blocks', '2'])
    assert typed_command('analyse_depth', None) == 'rescaps analyse-depth --blocks 2'
