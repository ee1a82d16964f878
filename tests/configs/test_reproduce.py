"""Budgets of ``tools/reproduce.py``."""

import pytest

pytest.importorskip('mmpretrain')

from mmengine.config import Config

from rescaps_plugin.analysis.experiments import Experiment

PAPER = {'I', 'II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII', 'IX', 'X', 'XI', 'XII'}


@pytest.mark.parametrize(
    ('budget', 'tables'),
    [
        ('cpu', {*PAPER, 'viewpoints'}),
        ('paper', {*PAPER, 'viewpoints'}),
        ('viewpoints', {'viewpoints'}),
        ('learning_rates', {'learning_rates'}),
    ],
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


@pytest.mark.parametrize('budget', ['cpu', 'viewpoints', 'learning_rates'])
def test_budget_is_the_same_for_all(repository, budget):
    """Methods of one data set share schedule, samples, batches and tests; detectors train as their own family does."""
    spec = Config.fromfile(repository / f'configs/reproduce/{budget}.py')
    shared = ('train_cfg', 'param_scheduler', 'train_dataloader', 'test_dataloader')
    for data, definitions in spec.experiments.items():
        built = [Experiment(method, definition) for method, definition in definitions.items()]
        trainings = {}
        for experiment in built:
            family = experiment.name.partition('_')[0] if data == 'saliency' else data
            trainings.setdefault(family, set()).add(str([experiment.config[field] for field in shared]))
        assert all(len(different) == 1 for different in trainings.values()), data
        tests = {str([config.test_dataloader for config in experiment.tests.values()]) for experiment in built}
        assert len(tests) == 1


def test_learning_rates_are_compared_on_other_training_images(repository):
    spec = Config.fromfile(repository / 'configs/reproduce/learning_rates.py')
    for data, definitions in spec.experiments.items():
        for method, definition in definitions.items():
            config = Experiment(method, definition).config
            (test,) = Experiment(method, definition).tests.values()
            assert config.optim_wrapper.optimizer.lr == float(data.partition('-')[2])
            trained, held_out = config.train_dataloader.dataset, test.test_dataloader.dataset
            source = {key: trained.get(key) for key in ('type', 'data_root', 'split', 'data_prefix')}
            assert {key: held_out.get(key) for key in source} == source
            assert len(held_out.indices) == 1000 and not {*trained.indices} & {*held_out.indices}
