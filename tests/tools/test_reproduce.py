"""``tools/reproduce.py``: resumable runs, and tables of the results."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmpretrain')

from mmengine.config import Config

from rescaps_plugin.analysis import experiments
from rescaps_plugin.analysis.experiments import Experiment, Run, RunError
from rescaps_plugin.cli.errors import UserError

# Mock of tools/train.py: writes a checkpoint per epoch, from which a resumed training continues.
TRAIN = """
import os, sys, time
from pathlib import Path
work_dir = Path(sys.argv[sys.argv.index('--work-dir') + 1])
assert '--resume' in sys.argv and Path(sys.argv[1]).is_file()
checkpoint = work_dir / 'epoch.pth'
with (work_dir / 'calls').open('a') as calls:
    calls.write('train ')
(work_dir / 'pid').write_text(str(os.getpid()))
while (epoch := len(checkpoint.read_text()) if checkpoint.exists() else 0) < 3:
    if epoch == 1 and Path('wait').exists():
        time.sleep(60)
    if epoch == 2 and Path('fail').exists():
        sys.exit('out of luck')
    checkpoint.write_text('e' * (epoch + 1))
    (work_dir / 'last_checkpoint').write_text(str(checkpoint))
"""
# Mock of tools/test.py: the accuracy depends on the seed, and is lower for novel views.
TEST = """
import json, sys
from pathlib import Path
config, checkpoint = map(Path, sys.argv[1:3])
out = Path(sys.argv[sys.argv.index('--out') + 1])
out.parent.mkdir(exist_ok=True)
assert checkpoint.read_text() == 'eee'
accuracy = 90 + int(config.parent.name[-1]) - 20 * ("azimuth='novel'" in config.read_text())
out.write_text(json.dumps({'accuracy/top1': accuracy}))
train = dict(iterations=10, seconds=5.0, iterations_per_epoch=20, memory=3000000)
cost = dict(parameters=2000000, clock='CPU time', train=train, test=dict(samples=100, seconds=0.5, memory=None))
(out.parent / 'cost.json').write_text(json.dumps(cost))
"""
MEASURE = """
import json, sys
json.dump([dict(accuracy=55.5)], open(sys.argv[1], 'w'))
"""

BUDGET = """
metrics = dict(
    error=dict(unit='%', digits=1, better='less', field=('tests', '{{test}}', 'accuracy/top1'), scale=-1, offset=100),
    time=dict(
        unit='s', digits=1, better='less', field=('cost', 'train', 'seconds'), per=('cost', 'train', 'iterations'),
        times=('cost', 'train', 'iterations_per_epoch')),
    memory=dict(unit='MB', digits=0, better='less', field=('cost', 'test', 'memory'), scale=1e-6),
    svm=dict(unit='%', digits=1, better='more', field=('measures', 'svm', -1, 'accuracy')))
methods = dict(ours='Ours', theirs='Theirs', absent='Absent')
tables = dict(
    A=dict(
        title='First', rows=('ours', 'theirs', 'absent'),
        columns=[
            dict(label='error', data='digits', metric='error', published=dict(theirs=1.25)),
            dict(label='novel', data='digits', metric='error', test='novel'),
            dict(label='epoch', data='digits', metric='time'),
            dict(label='memory', data='digits', metric='memory')],
        orderings=[dict(column='error', better='ours', than=('theirs', 'absent'))]),
    B=dict(title='Second', rows=('ours',), columns=[dict(label='svm', data='again', metric='svm')], orderings=[]))
protocol = 'quick'
data_names = dict(digits='Digits', again='Digits once more')
views = dict(test=[], novel=[dict(test_dataloader=dict(dataset=dict(azimuth='novel')))])
svm = dict(svm=dict(command=['measure.py', '{{out}}.json'], result='{{out}}.json'))
ours = dict(config={config!r}, tests=views, measures=svm)
experiments = dict(
    digits=dict(ours=ours, theirs=dict(config={config!r}, options=[dict(model=dict(width=9))], tests=views)),
    again=dict(ours=ours))
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A folder with mocks of the tools, a config and a budget."""
    (tmp_path / 'tools').mkdir()
    for name, text in (('tools/train.py', TRAIN), ('tools/test.py', TEST), ('measure.py', MEASURE)):
        (tmp_path / name).write_text(text)
    (tmp_path / 'config.py').write_text('model = dict(width=3)\ntest_dataloader = dict(dataset=dict(type="Set"))\n')
    (tmp_path / 'budget.py').write_text(BUDGET.format(config='config.py'))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, 'ROOT', tmp_path)
    return tmp_path


@pytest.fixture
def reproduce(stage, load_tool):
    def run(*arguments):
        load_tool('reproduce').main(['--budget', 'budget.py', '--out', 'tables', '--runs', 'runs', *arguments])

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
    assert len(list(stage.glob('runs/digits-ours-*'))) + len(list(stage.glob('runs/again-ours-*'))) == 2


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


@pytest.mark.parametrize('signal_number', [signal.SIGTERM, signal.SIGKILL], ids=['term', 'kill'])
def test_killed_runs_are_resumed(stage, repository, signal_number):
    (stage / 'wait').touch()
    code = (
        'import sys; from pathlib import Path; from rescaps_plugin.analysis import experiments as e\n'
        'e.ROOT = Path.cwd()\n'
        "e.Run(e.Experiment('x', dict(config='config.py')), 0, Path('runs')).execute()"
    )
    environment = {**os.environ, 'PYTHONPATH': str(repository)}
    process = subprocess.Popen([sys.executable, '-c', code], cwd=stage, env=environment, stderr=subprocess.DEVNULL)
    run = Run(Experiment('x', dict(config='config.py')), 0, Path('runs'))
    while not (run.folder / 'epoch.pth').exists():
        assert process.poll() is None
        time.sleep(0.1)
    assert run.state == 'begun'
    with pytest.raises(RunError, match='another process is at it'):
        run.execute()
    process.send_signal(signal_number)
    assert process.wait() != 0
    (stage / 'wait').unlink()
    if signal_number == signal.SIGKILL:
        # The orphaned training still locks the run.
        with pytest.raises(RunError, match='another process is at it'):
            run.execute()
        os.kill(int((run.folder / 'pid').read_text()), signal.SIGKILL)
        while True:
            try:
                run.execute()
                break
            except RunError:
                time.sleep(0.1)
    assert run.execute()['tests'] == {'test': {'accuracy/top1': 90}}
    assert (run.folder / 'calls').read_text().split() == ['train', 'train']
    assert run.state == 'done'


def test_options_change_a_config(stage):
    (stage / 'other.py').write_text('test_dataloader = dict(batch_size=2)\n')
    definition = dict(config='config.py', options=['other.py', dict(model=dict(depth=2))])
    config = Experiment('x', definition).config
    assert config.model == dict(width=3, depth=2)
    # Fields of a config replace others, dictionaries are merged.
    assert config.test_dataloader == dict(batch_size=2, pin_memory=torch.cuda.is_available())
    assert config.custom_hooks == [dict(type='CostHook')]
    same, other = Experiment('x', definition), Experiment('x', dict(config='config.py'))
    assert Experiment('x', definition).digest == same.digest != other.digest


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--table', 'C'], '--table C: there are A, B, or all'),
        (['--table', 'A', '--methods', 'x'], '--methods x: there are ours, theirs, absent'),
        (['--table', 'A', '--data', 'x'], '--data x: there are digits, again'),
    ],
)
def test_mistakes_take_one_line(reproduce, arguments, message):
    with pytest.raises(SystemExit, match=message):
        reproduce(*arguments)


def test_unknown_fields_are_refused(stage):
    with pytest.raises(UserError, match=r'experiment x: a definition has a config .* config, option\.'):
        Experiment('x', dict(config='config.py', option=[]))


@pytest.mark.parametrize(
    ('better', 'verdict'),
    [({0: 2.0, 1: 3.0}, 'holds'), ({0: 1.0, 1: 8.0}, 'holds on average'), ({0: 9.0, 1: 9.0}, 'does not hold')],
)
def test_orderings_are_judged_by_mean_and_seed(load_tool, better, verdict):
    metric = Config(dict(metric=dict(better='less', unit='%', digits=1))).metric
    found, reason = load_tool('reproduce').judge(metric, better, {0: 4.0, 1: 7.0})
    assert found.startswith(verdict) and 'against 5.5 %' in reason


@pytest.mark.parametrize('budget', ['cpu', 'paper'])
def test_budgets_are_consistent(repository, budget):
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
    """All methods of a data set have the same schedule, samples, batches and tests."""
    spec = Config.fromfile(repository / 'configs/reproduce/cpu.py')
    shared = ('train_cfg', 'param_scheduler', 'train_dataloader', 'test_dataloader')
    for data in ('mnist', 'cifar10', 'azimuth'):
        built = [Experiment(method, definition) for method, definition in spec.experiments[data].items()]
        assert len({str([experiment.config[field] for field in shared]) for experiment in built}) == 1
        tests = {str([config.test_dataloader for config in experiment.tests.values()]) for experiment in built}
        assert len(tests) == 1
