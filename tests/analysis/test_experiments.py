"""Experiments whose runs resume after interruptions."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip('mmengine')

from rescaps_plugin.analysis.experiments import Experiment, Run, RunError
from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from tests.analysis.stand_ins import set_stage


@pytest.fixture
def stage(tmp_path, monkeypatch):
    return set_stage(tmp_path, monkeypatch)


@pytest.mark.parametrize('signal_number', [signal.SIGTERM, signal.SIGKILL], ids=['term', 'kill'])
def test_killed_runs_resume(stage, repository, signal_number):
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
    with pytest.raises(RunError, match='locked by another process'):
        run.execute()
    process.send_signal(signal_number)
    assert process.wait() != 0
    (stage / 'wait').unlink()
    if signal_number == signal.SIGKILL:
        # The training, whose parent was killed, still locks the run.
        with pytest.raises(RunError, match='locked by another process'):
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
    # A named config's fields replace, a dictionary is merged.
    assert config.test_dataloader == dict(batch_size=2, pin_memory=torch.cuda.is_available())
    assert config.custom_hooks == [dict(type='CostHook')]
    same, other = Experiment('x', definition), Experiment('x', dict(config='config.py'))
    assert Experiment('x', definition).digest == same.digest != other.digest


def test_digest_of_a_machine_with_a_gpu(stage, monkeypatch):
    with_cpu = Experiment('x', dict(config='config.py'))
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: not with_cpu.config.test_dataloader.pin_memory)
    with_gpu = Experiment('x', dict(config='config.py'))
    assert with_gpu.config != with_cpu.config and with_gpu.digest == with_cpu.digest


def test_measures_find_their_configs_from_any_folder(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = load_config(str(repository / 'configs/reproduce/paper.py'))
    commands = [method.measures.svm.command for method in spec.experiments.modelnet40.values()]
    for command in commands:
        assert load_config(command[command.index('--data') + 1]).train_dataloader.dataset.type == 'ModelNet40'


def test_unknown_fields_are_refused(stage):
    with pytest.raises(UserError, match=r'experiment x: a definition has a config .* config, option\.'):
        Experiment('x', dict(config='config.py', option=[]))
