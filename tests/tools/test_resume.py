"""Training that is killed repeatedly at any point ends with the weights of an uninterrupted one."""

import pytest
import torch

pytest.importorskip('mmpretrain')

from tests.processes import run
from tests.tools.small import CLOUDS, DIGITS, write

# The learning rate depends on the validations, each of which counts as a plateau.
PLATEAU = """
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=2, by_epoch=True, convert_to_iter_based=True),
    dict(type='ReduceOnPlateauLR', monitor='accuracy/top1', rule='greater', threshold=100.0, patience=0, by_epoch=True)]
"""

ACCUMULATED = """
optim_wrapper = dict(accumulative_counts=2)
"""

MID_EPOCH = ('default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=2')
ALL_KEPT = 'default_hooks.checkpoint.max_keep_ckpts=-1'
ONE_KEPT = 'default_hooks.checkpoint.max_keep_ckpts=1'
WORKERS = ('train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True')

CASES = {
    'digits, by epoch': (
        DIGITS + PLATEAU,
        ['train_cfg.val_interval=1'],
        [
            ('writing', 'epoch_1.pth'),
            ('replaced', 'epoch_1.pth'),
            ('validation', 1),
            ('written', 'best_'),
            ('iteration', 2),
            ('written', 'last_checkpoint'),
            ('writing', 'epoch_3.pth'),
        ],
    ),
    'digits, inside epochs, one checkpoint kept': (
        DIGITS + PLATEAU,
        [*MID_EPOCH, ONE_KEPT],
        [('iteration', 4), ('written', 'iter_4.pth'), ('writing', 'iter_6.pth'), ('replaced', 'iter_8.pth')],
    ),
    'clouds, by iteration': (
        CLOUDS.replace('{sampler!r}', "'InfiniteSampler'") + ACCUMULATED,
        [ONE_KEPT],
        [('iteration', 5), ('writing', 'iter_6.pth'), ('iteration', 5)],
    ),
    'clouds, by iteration over epochs': (
        CLOUDS.replace('{sampler!r}', "'DefaultSampler'") + ACCUMULATED,
        [ONE_KEPT],
        [('iteration', 8)],
    ),
}


def same(one, two):
    """Return whether nested data are bitwise equal."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


@pytest.mark.parametrize(
    ('text', 'checkpoints'), [(DIGITS, ('epoch_1', 'epoch_3')), (CLOUDS, ('iter_3', 'iter_9'))], ids=['epochs', 'iters']
)
def test_seed_of_the_killed_run(tmp_path, repository, load_tool, monkeypatch, capsys, text, checkpoints):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, repository, text, sampler='DefaultSampler')

    def train(name, *arguments):
        options = 'randomness.seed=None', f'experiment_name={tmp_path.name} {name}', ALL_KEPT
        load_tool('train').main(['small.py', '--work-dir', name, *arguments, '--cfg-options', *options])
        return torch.load(f'{name}/{checkpoints[1]}.pth', weights_only=True)

    whole = train('whole')
    for seed in ([], ['--seed', '5']):
        resumed = train(f'resumed{len(seed)}', '--resume', f'whole/{checkpoints[0]}.pth', *seed)
        for part in ('state_dict', 'optimizer'):
            assert same(whole[part], resumed[part])
        assert ('warning: training keeps the seed' in capsys.readouterr().err) == bool(seed)


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_killed_again_and_again(tmp_path, repository, case):
    text, options, deaths = CASES[case]
    write(tmp_path, repository, text)
    whole = run('train', 'small.py', '--work-dir', 'whole', '--cfg-options', *options, folder=tmp_path)
    assert whole.code == 0, whole.output

    # With another number of workers than the reference run.
    killed = 'small.py', '--work-dir', 'killed', '--resume', '--cfg-options', *options, *WORKERS
    for death in deaths:
        dead = run('train', *killed, folder=tmp_path, prepare=('signal_at', *death))
        assert dead.code == -9, f'{death}: {dead.output}'
        for path in tmp_path.glob('killed/*.pth'):
            torch.load(path, weights_only=True)
    rest = run('train', *killed, folder=tmp_path)
    assert rest.code == 0, rest.output
    assert 'resumed epoch' in rest.output

    assert {path.name for path in tmp_path.glob('whole/*.pth')} <= {path.name for path in tmp_path.glob('killed/*.pth')}
    last = torch.load((tmp_path / 'whole' / 'last_checkpoint').read_text(), weights_only=True)
    again = torch.load((tmp_path / 'killed' / 'last_checkpoint').read_text(), weights_only=True)
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert same(last[part], again[part]), part
    assert last['meta']['iter'] == again['meta']['iter'] == 9
