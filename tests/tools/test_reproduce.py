"""``tools/reproduce.py``: resumable runs, and tables of the results."""

import json

import pytest

pytest.importorskip('mmpretrain')

from tests.analysis.stand_ins import set_stage


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return set_stage(tmp_path, monkeypatch)


@pytest.fixture
def reproduce(stage, load_tool):
    def run(*arguments):
        load_tool('reproduce').main(['--budget', 'budget.py', '--out-dir', 'tables', '--runs', 'runs', *arguments])

    return run


def calls(folder):
    return {path.parent.parent.name.split('-')[1]: path.read_text().split() for path in folder.rglob('seed0/calls')}


def test_tables_state_what_was_measured(reproduce, stage):
    reproduce('--table', 'A', '--seeds', '2')
    page = (stage / 'tables/table_A.md').read_text()
    # 90 and 91 % with seeds 0 and 1; 5 seconds for 10 of 20 iterations.
    assert '| Ours | 9.5 ± 0.7 | 29.5 ± 0.7 | 10.0 ± 0.0 | – |' in page
    assert '| Theirs | 9.5 ± 0.7 *1.25* | 29.5 ± 0.7 | 10.0 ± 0.0 | – |' in page
    assert '| Absent' not in page
    assert '| error: Ours better than Theirs | does not hold | 9.5 against 9.5 %, ahead in 0 of 2 seeds |' in page
    assert '| error: Ours better than Absent | not measured |  |' in page
    assert 'quick' in page and 'Data: Digits.' in page and '4 of 4 runs are done' in page
    assert 'python tools/reproduce.py --budget budget.py' in page and 'torch' in page
    assert (stage / 'tables/table_A.png').stat().st_size > 1000
    record = json.loads((stage / 'tables/table_A.json').read_text())
    assert record['values']['error']['ours'] == {'0': 10, '1': 9}
    commands = record['results'][0]['commands']
    assert commands[0].startswith('python tools/train.py runs/digits-ours-') and '--seed 0 --resume' in commands[0]


def test_finished_runs_are_not_repeated(reproduce, stage):
    reproduce('--table', 'A', '--methods', 'ours')
    assert calls(stage) == {'ours': ['train']}
    # Another table with the same experiment, and another seed, reuse finished runs.
    reproduce('--table', 'A', 'B')
    assert calls(stage) == {'ours': ['train'], 'theirs': ['train']}
    assert '| Ours | 55.5 |' in (stage / 'tables/table_B.md').read_text()
    # A changed experiment is a new one; the old runs are kept.
    (stage / 'config.py').write_text((stage / 'config.py').read_text().replace('width=3', 'width=4'))
    reproduce('--table', 'B', '--methods', 'ours')
    # An experiment has one name, whichever table asks for it.
    assert len(list(stage.glob('runs/digits-ours-*'))) == 2 and not list(stage.glob('runs/again-*'))


def test_tables_have_all_seeds_that_are_done(reproduce, stage):
    reproduce('--table', 'A', '--seeds', '2', '--methods', 'theirs')
    reproduce('--table', 'A', '--methods', 'ours')
    for arguments in ([], ['--write-only']):
        reproduce('--table', 'A', *arguments)
        page = (stage / 'tables/table_A.md').read_text()
        assert '| Ours | 10.0 (n=1) |' in page and '| Theirs | 9.5 ± 0.7 *1.25* |' in page
        assert '3 of 3 runs are done' in page and 'ahead in 0 of 1 seeds' in page


def test_a_budget_with_the_name_of_another_needs_a_folder(stage, load_tool):
    (stage / 'budget.py').rename(stage / 'cpu.py')
    command = ['--budget', str(stage / 'cpu.py'), '--table', 'A', '--write-only']
    with pytest.raises(SystemExit, match='has the name of the budget cpu, .* set --out-dir'):
        load_tool('reproduce').main(command)
    load_tool('reproduce').main([*command, '--out-dir', 'tables'])
    assert (stage / 'tables/table_A.md').is_file()


def test_failures_are_reported_and_other_runs_continue(reproduce, stage, capsys):
    (stage / 'fail').touch()
    with pytest.raises(SystemExit) as stopped:
        reproduce('--table', 'A')
    assert '2 of 2 runs are missing' in str(stopped.value) and 'out of luck' in str(stopped.value)
    assert '0 of 2 runs are done' in (stage / 'tables/table_A.md').read_text()
    (stage / 'fail').unlink()
    reproduce('--table', 'A')
    assert calls(stage) == {'ours': ['train', 'train'], 'theirs': ['train', 'train']}
    assert '| Ours | 10.0 |' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--table', 'C'], '--table C: must be one of A, B, or all'),
        (['--table', 'A', '--methods', 'x'], '--methods x: must be one of ours, theirs, absent'),
        (['--table', 'A', '--data', 'x'], '--data x: must be one of digits, again'),
    ],
)
def test_mistakes_take_one_line(reproduce, arguments, message):
    with pytest.raises(SystemExit, match=message):
        reproduce(*arguments)


def test_what_a_run_lacks_is_told_before_any(reproduce, stage, monkeypatch):
    (stage / 'file').touch()
    for option in ('--out-dir', '--runs'):
        with pytest.raises(SystemExit, match=f'error: {option} cannot be written: file'):
            reproduce('--table', 'B', option, 'file')
    budget = stage / 'budget.py'
    budget.write_text(budget.read_text().replace('ours = dict(', "ours = dict(packages=dict(sklearn='pointcloud'), "))
    reproduce('--table', 'B', '--write-only')
    hidden = {'sklearn': None}
    monkeypatch.setattr('rescaps_plugin.cli.extras.find_spec', lambda package: hidden.get(package, package))
    with pytest.raises(SystemExit, match='sklearn is not installed: pip install'):
        reproduce('--table', 'B')
    assert calls(stage) == {}
