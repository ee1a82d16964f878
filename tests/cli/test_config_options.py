from argparse import ArgumentParser

import pytest

pytest.importorskip('mmengine')

from mmengine.config import DictAction

from rescaps_plugin.cli.arguments import add_config_options
from rescaps_plugin.cli.config_options import parse_value

# Values from MMEngine's documentation, or typical of its users.
AS_MMENGINE = (
    *('5', '-3', '1e-4', '1.', '-inf', 'true', 'False', 'None', 'a', '', 'data/cifar10', 'a-b', 'torch.nn.ReLU'),
    *('1,2,3', 'a,b', 'data/a,data/b', '[a,b,c]', '[a, b, c]', '(1,5)', '(1,)', '[]', '()', '[true,None]'),
    *('[(a,b),(c,d)]', '[(1, 2, 3), [a, b], c]', '[data/a,1]', 'mmpretrain::a/b.py', 'https://a.b/c?d=1'),
)

OTHERS = {
    "[dict(type='PackInputs')]": [dict(type='PackInputs')],
    '[dict(type=PackInputs)]': [dict(type='PackInputs')],
    "dict(type='A',x=[1,2],y=dict(z=None))": dict(type='A', x=[1, 2], y=dict(z=None)),
    "{'a': 1, 'b': {'c': (1, 2)}}": dict(a=1, b=dict(c=(1, 2))),
    "['0901','1000']": ['0901', '1000'],
    "('0901', 1000)": ('0901', 1000),
    '0901': '0901',
    '[0901,1000]': ['0901', 1000],
    "'5'": '5',
    "'a b, c'": 'a b, c',
    'a picture (1).png': 'a picture (1).png',
    '"[(1,2)]"': [(1, 2)],
}


@pytest.mark.parametrize('text', AS_MMENGINE)
def test_values_of_mmengine(text):
    expected = DictAction._parse_iterable(text)
    assert parse_value(text) == expected and type(parse_value(text)) is type(expected)


@pytest.mark.parametrize('text', OTHERS)
def test_values(text):
    assert parse_value(text) == OTHERS[text]


@pytest.mark.parametrize('text', ["[dict(type='A')", '[1,2', '(1,2', "[data/a,dict(type='A')]"])
def test_unreadable_values(text):
    with pytest.raises(ValueError, match='cannot be read|do not match'):
        parse_value(text)


class TestArgument:
    def parse(self, *arguments):
        parser = ArgumentParser()
        add_config_options(parser)
        return parser.parse_args(arguments).cfg_options

    def test_several(self):
        options = self.parse('--cfg-options', 'a.b=1', 'c=x=y', '--cfg-options', 'd=[1]')
        assert options == {'a.b': 1, 'c': 'x=y', 'd': [1]}
        assert self.parse() is None

    @pytest.mark.parametrize(
        ('pair', 'message'), [('a', "'a' is not KEY=VALUE"), ('model.x=[1', r"model\.x: '\[1' has brackets")]
    )
    def test_mistakes(self, pair, message, capsys):
        with pytest.raises(SystemExit):
            self.parse('--cfg-options', pair)
        assert message.replace('\\', '') in capsys.readouterr().err
