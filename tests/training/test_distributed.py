import pytest
import torch.distributed as dist

pytest.importorskip('mmengine')

from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS
from torch import nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training import distributed
from rescaps_plugin.training.distributed import ResumableFSDPStrategy, prepare_cpu_ddp


@pytest.fixture
def process(monkeypatch, tmp_path):
    """Environment of a single process started by torchrun, without an accelerator."""
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=0).items():
        monkeypatch.setenv(name, str(value))
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def wrap(cfg):
    """Wrap a model the way MMEngine's runner does."""
    return MODEL_WRAPPERS.build(cfg.model_wrapper_cfg, default_args=dict(device_ids=[0], module=nn.Linear(1, 1)))


def test_joins_gloo_and_wraps_without_a_device(process):
    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True, env_cfg=dict(dist_cfg=dict(timeout=5))))
    prepare_cpu_ddp(cfg)
    assert dist.get_backend() == 'gloo'
    model = wrap(cfg)
    assert type(model).__name__ == 'MMDistributedDataParallel'
    assert model.device_ids is None and model.find_unused_parameters and not model.broadcast_buffers


def test_keeps_the_wrapper_of_the_config(process):
    cfg = Config(dict(launcher='pytorch', model_wrapper_cfg=dict(type='DistributedDataParallel', bucket_cap_mb=3)))
    prepare_cpu_ddp(cfg)
    prepare_cpu_ddp(cfg)  # a second runner in the same process
    model = wrap(cfg)
    assert type(model).__name__ == 'DistributedDataParallel'
    assert model.device_ids is None and model.bucket_bytes_cap == 3 * 2**20


@pytest.mark.parametrize(
    ('launcher', 'device'), [('none', 'cpu'), ('slurm', 'cpu'), ('mpi', 'cpu'), ('pytorch', 'cuda')]
)
def test_otherwise_nothing_changes(process, monkeypatch, launcher, device):
    monkeypatch.setattr(distributed, 'get_device', lambda: device)
    cfg = Config(dict(launcher=launcher))
    prepare_cpu_ddp(cfg)
    assert not dist.is_initialized() and cfg.to_dict() == dict(launcher=launcher)


def test_normalisation_is_not_synchronised_on_a_cpu(process):
    cfg = Config(dict(launcher='pytorch', sync_bn='torch'))
    prepare_cpu_ddp(cfg)
    assert cfg.sync_bn is None


@pytest.mark.parametrize('kind', ['FSDPStrategy', 'ResumableFSDPStrategy'])
def test_shards_on_the_cpu(process, kind):
    cfg = Config(dict(launcher='pytorch', strategy=dict(type=kind)))
    prepare_cpu_ddp(cfg)
    assert cfg.strategy.model_wrapper.device_id == 'cpu' and 'model_wrapper_cfg' not in cfg


FULL = dict(
    state_dict_type='FULL_STATE_DICT',
    state_dict_config=dict(type='FullStateDictConfig'),
    optim_state_dict_config=dict(type='FullOptimStateDictConfig'),
)


@pytest.mark.parametrize('state_dict_cfg', ['full', FULL])
def test_whole_checkpoints(tmp_path, state_dict_cfg):
    ResumableFSDPStrategy(work_dir=str(tmp_path), state_dict_cfg=state_dict_cfg)


@pytest.mark.parametrize(
    'options', [{}, dict(state_dict_cfg='local'), dict(state_dict_cfg=dict(state_dict_type='SHARDED_STATE_DICT'))]
)
def test_checkpoints_in_parts_are_refused(tmp_path, options):
    with pytest.raises(UserError, match=r"strategy\.state_dict_cfg must be 'full': .*, got .*(local|SHARDED)"):
        ResumableFSDPStrategy(work_dir=str(tmp_path), **options)
