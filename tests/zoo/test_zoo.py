"""Published models give their stated results, offline, and can be trained further and exported."""

import pytest
import yaml

import rescaps_plugin.classification  # noqa: F401  (registers models in mmpretrain)
from rescaps_plugin import zoo
from rescaps_plugin.cli.main import ROOT
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.models.published import ZOO, read_index
from rescaps_plugin.zoo.cards import format_card, format_table
from rescaps_plugin.zoo.tasks import TASKS, describe_metric
from tests.zoo.published import MODELS, measure


@pytest.mark.usefixtures('offline')
@pytest.mark.parametrize('model', MODELS)
def test_subset_gives_the_recorded_metrics(model, tmp_path, monkeypatch, repository):
    monkeypatch.chdir(repository)
    metrics = measure(model, tmp_path, evenly_spaced(model.samples, model.subset['samples']))
    assert metrics == pytest.approx(dict(model.subset['metrics']), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('model', MODELS)
def test_whole_test_set_gives_the_stated_metrics(model, tmp_path, monkeypatch, repository):
    monkeypatch.chdir(repository)
    metrics = measure(model, tmp_path)
    stated = {name: describe_metric(name, value)[1] for name, value in model.metrics.items()}
    assert {name: describe_metric(name, metrics[name])[1] for name in stated} == stated


@pytest.mark.parametrize('model', MODELS)
def test_card_and_metafile_agree_with_the_index(model):
    assert (ZOO / 'cards' / f'{model.name}.md').read_text(encoding='utf-8') == format_card(model)
    config = ROOT / model.config
    entries = yaml.safe_load(config.with_name('metafile.yml').read_text(encoding='utf-8'))['Models']
    (entry,) = [entry for entry in entries if entry['Config'] == model.config]
    title, value = describe_metric(model.metric, model.metrics[model.metric])
    assert config.is_file() and entry['Name'] == model.name and entry['Weights'] == f'rescaps://{model.name}'
    assert entry['Results'][0]['Metrics'] == {title: float(value)}


def test_every_card_is_of_a_model():
    assert {path.stem for path in (ZOO / 'cards').glob('*')} == {model.name for model in read_index()}


def test_first_page_has_the_table_of_the_index(repository):
    table = format_table()
    assert table in (repository / 'README.md').read_text(encoding='utf-8'), f'the table of README.md is now\n\n{table}'


def test_lists_by_task():
    everything = zoo.list_models()
    by_task = {task: zoo.list_models(task) for task in TASKS}
    assert everything == sum(by_task.values(), []) and 'rescaps-tiny_digits' in by_task['classification']
    with pytest.raises(ValueError, match="task must be one of .*'saliency'.* or None, got 'detection'"):
        zoo.list_models('detection')


@pytest.mark.parametrize('arguments', [(), ('--task', 'classification'), ('rescaps_tiny.digits',)])
def test_command_lists_models_and_prints_cards(load_tool, capsys, arguments):
    load_tool('zoo').main(arguments)
    output = capsys.readouterr().out
    if arguments[:1] == ('rescaps_tiny.digits',):
        assert output == format_card(zoo.find('rescaps-tiny_digits'))
    else:
        header, *rows = output.splitlines()
        assert [row.split()[0] for row in rows] == zoo.list_models(*arguments[1:])
        for row, model in zip(rows, map(zoo.find, zoo.list_models(*arguments[1:])), strict=True):
            assert model.data_license in row and f'{model.bytes / 1e6:.2f} MB' in row


def test_command_refuses_unknown_names(load_tool):
    with pytest.raises(SystemExit, match="no published model is named 'rescaps-tiny'. Close: rescaps-tiny_digits"):
        load_tool('zoo').main(['rescaps-tiny'])
