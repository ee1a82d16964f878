"""Names of the models in tables and curves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('mmpretrain')

from rescaps_plugin.analysis.robustness.models import model_names  # noqa: E402


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
