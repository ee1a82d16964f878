"""Arguments that tools have in common."""

from argparse import ArgumentParser, Namespace

import pytest

from rescaps_plugin.cli.arguments import check_predict_options, fraction, typed_command
from rescaps_plugin.cli.errors import UserError


def test_fraction():
    parser = ArgumentParser()
    parser.add_argument('value', type=fraction)
    assert [parser.parse_args([text]).value for text in ('1', '0.05')] == [1, 0.05]


@pytest.mark.parametrize(
    ('given', 'model', 'message'),
    [
        (dict(overlay=True), dict(classes=True), '--overlay and --cutout are of saliency maps; config a.py makes none'),
        (dict(cutout=True), {}, '--overlay and --cutout are of saliency maps'),
        (dict(top_k=2), dict(maps=True), '--top-k is of classes; config a.py predicts none'),
    ],
)
def test_options_of_other_models_are_refused(given, model, message):
    args = Namespace(**dict(config='a.py', overlay=False, cutout=False, top_k=1) | given)
    with pytest.raises(UserError, match=message):
        check_predict_options(args, **model)
    check_predict_options(args, classes=True, maps=True)


def test_command_can_be_typed_again(monkeypatch):
    assert typed_command('benchmark', ['a(b="c")', '--out', 'x y']) == (
        """python tools/benchmark.py 'a(b="c")' --out 'x y'"""
    )
    monkeypatch.setattr('sys.argv', ['rescaps analyse-depth', '--blocks', '2'])
    assert typed_command('analyse_depth', None) == 'rescaps analyse-depth --blocks 2'
