"""Budgets of ``tools/reproduce.py``."""

import pytest

pytest.importorskip('mmpretrain')

from mmengine.config import Config

from rescaps_plugin.analysis.experiments import Experiment

PAPER = {'I', 'II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII', 'IX', 'X', 'XI', 'XII'}


@pytest.mark.parametrize(
    ('budget', 'tables'),
    [('cpu', {*PAPER, 'viewpoints'}), ('paper', {*PAPER, 'viewpoints'}), ('viewpoints', {'viewpoints'})],
)
def test_budgets_hold_together(repository, budget, tables):
    spec = Config.fromfile(repository / f'configs/reproduce/{budget}.py')
    assert set(spec.tables) == tables
    for table in spec.tables.values():
        labels = [column.label for column in table.columns]
        assert len(labels) == len(set(labels)) and set(table.rows) <= set(spec.methods)
        assert all(column.metric in spec.metrics and column.data in spec.data_names for column in table.columns)
        for ordering in table.orderings:
            assert ordering.column in labels and {ordering.better, *ordering.than} <= set(table.rows)
    for data, definitions in spec.experiments.items():
        assert data in spec.data_names
        for definition in definitions.values():
            assert (repository / definition.config).is_file()
            assert all(
                (repository / option).is_file() for option in definition.get('options', []) if type(option) is str
            )


@pytest.mark.parametrize(('budget', 'names'), [('cpu', ('mnist', 'cifar10')), ('viewpoints', ('azimuth', 'elevation'))])
def test_budget_is_the_same_for_all(repository, budget, names):
    """Methods of one data set share schedule, samples, batches and tests."""
    spec = Config.fromfile(repository / f'configs/reproduce/{budget}.py')
    shared = ('train_cfg', 'param_scheduler', 'train_dataloader', 'test_dataloader')
    for data in names:
        built = [Experiment(method, definition) for method, definition in spec.experiments[data].items()]
        assert len({str([experiment.config[field] for field in shared]) for experiment in built}) == 1
        tests = {str([config.test_dataloader for config in experiment.tests.values()]) for experiment in built}
        assert len(tests) == 1
