"""Budgets of ``tools/reproduce.py``."""

import pytest

pytest.importorskip('mmpretrain')

from mmengine.config import Config

from rescaps_plugin.analysis.experiments import Experiment


@pytest.mark.parametrize('budget', ['cpu', 'paper'])
def test_budgets_hold_together(repository, budget):
    spec = Config.fromfile(repository / f'configs/reproduce/{budget}.py')
    assert {'I', 'II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII', 'IX', 'X', 'XI', 'XII'} < set(spec.tables)
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


def test_cpu_budget_is_the_same_for_all(repository):
    """Methods of one data set share schedule, samples, batches and tests."""
    spec = Config.fromfile(repository / 'configs/reproduce/cpu.py')
    shared = ('train_cfg', 'param_scheduler', 'train_dataloader', 'test_dataloader')
    for data in ('mnist', 'cifar10', 'azimuth'):
        built = [Experiment(method, definition) for method, definition in spec.experiments[data].items()]
        assert len({str([experiment.config[field] for field in shared]) for experiment in built}) == 1
        tests = {str([config.test_dataloader for config in experiment.tests.values()]) for experiment in built}
        assert len(tests) == 1
