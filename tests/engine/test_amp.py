import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from rescaps_plugin.engine import amp
from rescaps_plugin.engine.amp import BFloat16OptimWrapper, configure_amp
from rescaps_plugin.engine.errors import UserError


@pytest.fixture
def device(monkeypatch):
    def pretend(name):
        monkeypatch.setattr(amp, 'get_device', lambda: name)

    pretend('cpu')
    return pretend


def wrapper(**fields):
    return Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), **fields)))


def test_forward_in_bfloat16_update_in_float32():
    model = nn.Linear(3, 1)
    optim_wrapper = OPTIM_WRAPPERS.build(
        dict(type='BFloat16OptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2)
    )
    before = model.weight.detach().clone()
    inputs = torch.tensor([[1.0, 2.0, 3.0]])
    for step in range(2):
        with optim_wrapper.optim_context(model):
            output = model(inputs)
        assert output.dtype == torch.bfloat16
        optim_wrapper.update_params(output.float().mean())
        if step == 0:  # gradients are accumulated over two steps
            assert torch.equal(model.weight, before)
    assert not torch.is_autocast_enabled('cpu')
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight.detach(), before - 0.1 * inputs)


@pytest.mark.parametrize('fields', [{}, dict(type='OptimWrapper'), dict(type='AmpOptimWrapper', loss_scale=512.0)])
def test_cpu(device, fields):
    cfg = wrapper(**fields, clip_grad=dict(max_norm=1))
    configure_amp(cfg, True)
    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper' and 'loss_scale' not in cfg.optim_wrapper
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1)
    cfg.optim_wrapper.optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert isinstance(OPTIM_WRAPPERS.build(cfg.optim_wrapper), BFloat16OptimWrapper)


def test_config_for_a_gpu_trains_on_a_cpu(device):
    cfg = wrapper(type=AmpOptimWrapper, dtype='float16')
    configure_amp(cfg, False)
    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper' and 'dtype' not in cfg.optim_wrapper


@pytest.mark.parametrize(
    ('fields', 'scale'), [(dict(type='OptimWrapper'), 'dynamic'), (dict(type='AmpOptimWrapper', loss_scale=512.0), 512)]
)
def test_gpu(device, fields, scale):
    device('cuda')
    cfg = wrapper(**fields)
    configure_amp(cfg, True)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == scale


def test_unasked(device):
    cfg = wrapper(type='OptimWrapper')
    configure_amp(cfg, False)
    assert cfg.optim_wrapper == wrapper(type='OptimWrapper').optim_wrapper
    configure_amp(Config(dict()), True)


def test_wrapper_that_cannot_be_replaced(device):
    with pytest.raises(UserError, match='--amp.*ApexOptimWrapper'):
        configure_amp(wrapper(type='ApexOptimWrapper'), True)
