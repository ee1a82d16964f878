"""The tools on the device, as a user runs them."""

import csv
import json
import socket

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from tests.processes import run_alone
from tests.tools.small import CLOUDS, DIGITS, SALIENCY, write

pytestmark = pytest.mark.cuda

# A backbone that compiles in seconds.
SMALL_SALIENCY = (
    SALIENCY
    + """
model['backbone'].update(model_name='test_resnet')
model['decode_head'].update(in_channels=[32, 48, 192, 96])
"""
)
DOMAINS = {
    'classification': DIGITS,
    'saliency': SMALL_SALIENCY,
    'pointcloud': CLOUDS.replace('{sampler!r}', "'DefaultSampler'"),
}
FAST = ('--amp', 'bfloat16', '--channels-last', '--compile')


# Compiling for a CPU takes minutes.
TRIAL = """
compile = dict(_delete_=True, backend='aot_eager')
"""


@pytest.fixture(params=DOMAINS)
def domain(request, tmp_path, repository, device):
    """A domain, whose config of nine iterations is written to the folder as ``small.py``."""
    write(tmp_path, repository, DOMAINS[request.param] + (TRIAL if device.type == 'cpu' else ''))
    return request.param


def checkpoint_of(folder):
    path = (folder / 'run' / 'last_checkpoint').read_text().strip()
    return torch.load(path, weights_only=True, map_location='cpu'), path


def check_trained(finished, folder, device):
    assert finished.code == 0, finished.output
    # MMEngine logs it where there is a GPU.
    assert device.type != 'cuda' or 'memory: ' in finished.output, finished.output
    checkpoint, path = checkpoint_of(folder)
    assert checkpoint['meta']['iter'] == 9
    assert all(value.isfinite().all() for value in checkpoint['state_dict'].values())
    assert all(value.dtype != torch.bfloat16 for value in checkpoint['state_dict'].values())
    return path


def test_train_fast_killed_and_resumed(device, domain, tmp_path):
    command = 'small.py', '--work-dir', 'run', '--resume', *FAST
    killed = run_alone('train', *command, folder=tmp_path, prepare=('signal_at', 'iteration', 5))
    assert killed.code == -9, killed.output
    # The fourth iteration of the clouds is validated, and the best one kept.
    assert checkpoint_of(tmp_path)[0]['meta']['iter'] == (4 if domain == 'pointcloud' else 3)
    finished = run_alone('train', *command, folder=tmp_path)
    assert 'resumed epoch' in finished.output, finished.output
    path = check_trained(finished, tmp_path, device)
    tested = run_alone('test', 'small.py', path, '--work-dir', 'test', *FAST, folder=tmp_path)
    assert tested.code == 0, tested.output


def test_train_in_float16(device, domain, tmp_path):
    if device.type == 'cpu':
        pytest.skip('loss scaling needs a GPU')
    options = '--cfg-options', 'train_cfg.max_epochs=3' if domain != 'pointcloud' else 'train_cfg.max_iters=9'
    finished = run_alone(
        'train', 'small.py', '--work-dir', 'run', '--amp', 'float16', '--channels-last', *options, folder=tmp_path
    )
    check_trained(finished, tmp_path, device)


def test_one_process_of_a_distributed_training(device, tmp_path, repository):
    write(tmp_path, repository, DIGITS)
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    environment = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    backend = 'nccl' if device.type == 'cuda' else 'gloo'
    finished = run_alone(
        'train',
        'small.py',
        '--work-dir',
        'run',
        '--launcher',
        'pytorch',
        '--cfg-options',
        f'env_cfg.dist_cfg.backend={backend}',
        folder=tmp_path,
        **environment,
    )
    check_trained(finished, tmp_path, device)


def write_checkpoint(folder):
    """Save a network of the config, with statistics in its normalisations, and return the path."""
    cfg = Config.fromfile(folder / 'small.py')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    path = folder / 'small.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def table(folder):
    with (folder / 'predictions.csv').open() as file:
        return list(csv.DictReader(file))


def test_predict(device, domain, tmp_path, load_tool, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = write_checkpoint(tmp_path)
    for name in ('cpu', str(device)):
        command = ['small.py', str(checkpoint), '--device', name, '--max-images', '4', '--out-dir', f'out_{name}']
        load_tool('predict').main(command)
    tables = [table(tmp_path / f'out_{name}') for name in ('cpu', str(device))]
    assert len(tables[0]) == len(tables[1]) == 4
    column = dict(classification='score', saliency='MAE', pointcloud='chamfer')[domain]
    expected, actual = (np.array([float(row[column]) for row in rows]) for rows in tables)
    # A score is a sigmoid, an error is of maps in 256 grey levels, distances are in thousandths.
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-3)


def test_robustness(device, tmp_path, repository, load_tool, monkeypatch):
    pytest.importorskip('art', reason="needs pip install '.[robustness]'")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, repository, DIGITS)
    checkpoint = write_checkpoint(tmp_path)
    quick = ('--attack-images', 8, '--epsilons', 0.05, '--steps', 2, '--queries', 4, '--draws', 2)
    command = ['small.py', checkpoint, *quick, '--device', device, '--out-dir', 'out']
    load_tool('robustness').main([*map(str, command)])
    report = json.loads((tmp_path / 'out/robustness.json').read_text())
    assert report['device'] == str(device) and report['results']
