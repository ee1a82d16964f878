"""Verdicts on published orderings."""

import pytest

pytest.importorskip('mmengine')

from mmengine.config import Config

from rescaps_plugin.analysis.paper_tables import judge, make_page

METRIC = Config(dict(metric=dict(better='less', unit='%', digits=1))).metric


@pytest.mark.parametrize('direction', ['less', 'more'])
@pytest.mark.parametrize(
    ('better', 'verdict'),
    [
        ({0: 2.0, 1: 3.0}, 'holds'),
        ({0: 1.0, 1: 8.0}, 'holds on average, not for every seed'),
        ({0: 9.0, 1: 9.0}, 'does not hold'),
    ],
)
def test_orderings_are_judged_by_mean_and_seed(direction, better, verdict):
    sign = 1 if direction == 'less' else -1
    metric = Config(dict(METRIC, better=direction))
    sides = ({seed: sign * value for seed, value in side.items()} for side in (better, {0: 4.0, 1: 7.0}))
    found, reason = judge(metric, *sides)
    assert found == verdict and f'against {sign * 5.5} %' in reason


def test_orderings_are_judged_by_the_seeds_that_both_have():
    found = judge(METRIC, {0: 3.0, 2: 9.0}, {0: 4.0, 1: 5.0})
    assert found == ('holds', '3.0 against 4.0 %, ahead in 1 of 1 seeds')
    for better, worse in (({0: 3.0}, {1: 4.0}), ({}, {0: 4.0}), ({0: 3.0}, {})):
        assert judge(METRIC, better, worse) is None


@pytest.mark.parametrize(
    ('statistic', 'better', 'cell'), [('best', 'less', '2.0'), ('best', 'more', '5.0'), ('mean', 'less', '3.0 ± 1.7')]
)
def test_cells_summarise_seeds(statistic, better, cell):
    column = dict(label='MNIST', data='mnist', metric='metric', statistic=statistic, published=dict(ours=1.5))
    spec = Config(
        dict(
            tables=dict(I=dict(title='Errors', columns=[column], rows=['ours'])),
            metrics=dict(metric=dict(METRIC, better=better)),
            methods=dict(ours='Ours'),
            data_names=dict(mnist='MNIST'),
            protocol='None.',
        )
    )
    about = dict(done=3, runs=3, date='today', machine='here', command='reproduce')
    page = make_page(spec, 'I', {'MNIST': {'ours': {0: 2.0, 1: 2.0, 2: 5.0}}}, [], about)
    assert f'| Ours | {cell} *1.5* |' in page
