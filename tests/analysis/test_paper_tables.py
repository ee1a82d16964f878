"""Verdicts on published orderings."""

import pytest

pytest.importorskip('mmengine')

from mmengine.config import Config

from rescaps_plugin.analysis.paper_tables import judge

METRIC = Config(dict(metric=dict(better='less', unit='%', digits=1))).metric


@pytest.mark.parametrize(
    ('better', 'verdict'),
    [({0: 2.0, 1: 3.0}, 'holds'), ({0: 1.0, 1: 8.0}, 'holds on average'), ({0: 9.0, 1: 9.0}, 'does not hold')],
)
def test_orderings_are_judged_by_mean_and_seed(better, verdict):
    found, reason = judge(METRIC, better, {0: 4.0, 1: 7.0})
    assert found.startswith(verdict) and 'against 5.5 %' in reason


def test_orderings_are_judged_by_the_seeds_that_both_have():
    found = judge(METRIC, {0: 3.0, 2: 9.0}, {0: 4.0, 1: 5.0})
    assert found == ('holds', '3.0 against 4.0 %, ahead in 1 of 1 seeds')
    for better, worse in (({0: 3.0}, {1: 4.0}), ({}, {0: 4.0}), ({0: 3.0}, {})):
        assert judge(METRIC, better, worse) is None
