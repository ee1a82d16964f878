"""Stand-ins for the tools that experiments run, and a budget of two tables."""

from rescaps_plugin.analysis import experiments

# Stand-in for tools/train.py: writes a checkpoint after every epoch, from which a training can resume.
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
# Stand-in for tools/test.py: the accuracy depends on the seed, and is lower for novel views.
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


def set_stage(folder, monkeypatch):
    """Write stand-ins for the tools, a config and a budget to a folder, and change to it."""
    (folder / 'tools').mkdir()
    for name, text in (('tools/train.py', TRAIN), ('tools/test.py', TEST), ('measure.py', MEASURE)):
        (folder / name).write_text(text)
    (folder / 'config.py').write_text('model = dict(width=3)\ntest_dataloader = dict(dataset=dict(type="Set"))\n')
    (folder / 'budget.py').write_text(BUDGET.format(config='config.py'))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(experiments, 'ROOT', folder)
    return folder
