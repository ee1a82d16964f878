import copy

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from mmengine.runner.amp import autocast
from torch import nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training import precision
from rescaps_plugin.training import runner as engine_runner
from rescaps_plugin.training.precision import (
    BFloat16OptimWrapper,
    compile_network,
    configure_amp,
    evaluation_dtype,
    find_precision,
    suggest_precision,
)
from rescaps_plugin.training.runner import build_runner


@pytest.fixture
def device(monkeypatch):
    def pretend(name, bfloat16=True):
        monkeypatch.setattr(precision, 'get_device', lambda: name)
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: name == 'cuda')
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation=True: bfloat16)

    pretend('cpu')
    return pretend


def config(amp=None, **fields):
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1), **fields)
    return Config(dict(amp=amp, optim_wrapper=wrapper, val_cfg=dict(), test_cfg=dict()))


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


@pytest.mark.parametrize(
    ('kind', 'dtype', 'expected'),
    [
        (OptimWrapper, None, 'float32'),
        (BFloat16OptimWrapper, None, 'bfloat16'),
        (AmpOptimWrapper, None, 'float16'),
        (AmpOptimWrapper, torch.bfloat16, 'bfloat16'),
    ],
)
def test_precision_of_a_wrapper(kind, dtype, expected):
    wrapper = object.__new__(kind)  # AmpOptimWrapper can only be built on a GPU
    wrapper.cast_dtype = dtype
    assert find_precision(wrapper) == expected


@pytest.mark.parametrize('amp', ['auto', 'bfloat16', True])
@pytest.mark.parametrize('fields', [{}, dict(type='OptimWrapper'), dict(type='AmpOptimWrapper', loss_scale=512.0)])
def test_cpu(device, fields, amp):
    cfg = config(amp, **fields, clip_grad=dict(max_norm=1))
    configure_amp(cfg)
    assert cfg.amp == 'bfloat16'
    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper' and 'loss_scale' not in cfg.optim_wrapper
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=1)
    assert cfg.val_cfg.fp16 and cfg.test_cfg.fp16
    before = cfg.to_dict()
    configure_amp(cfg)  # as a resumed run's config, which is saved as it was set up
    assert cfg.to_dict() == before
    cfg.optim_wrapper.optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    assert isinstance(OPTIM_WRAPPERS.build(cfg.optim_wrapper), BFloat16OptimWrapper)


def test_config_for_a_gpu_trains_on_a_cpu(device):
    cfg = config(type=AmpOptimWrapper, dtype='float16')
    configure_amp(cfg)
    assert cfg.optim_wrapper.type == 'BFloat16OptimWrapper' and 'dtype' not in cfg.optim_wrapper


@pytest.mark.parametrize(
    ('fields', 'scale'), [(dict(type='OptimWrapper'), 'dynamic'), (dict(type='AmpOptimWrapper', loss_scale=512.0), 512)]
)
@pytest.mark.parametrize(('amp', 'bfloat16'), [('float16', True), ('auto', False)])
def test_float16_on_a_gpu(device, fields, scale, amp, bfloat16):
    device('cuda', bfloat16)
    cfg = config(amp, **fields)
    configure_amp(cfg)
    assert cfg.amp == cfg.optim_wrapper.dtype == 'float16'
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == scale


def test_bfloat16_on_a_gpu(device):
    device('cuda')
    cfg = config('auto', type='AmpOptimWrapper', dtype='float16', use_fsdp=True)
    configure_amp(cfg)
    assert cfg.amp == 'bfloat16' and cfg.optim_wrapper.type == 'BFloat16OptimWrapper'
    assert not {'dtype', 'use_fsdp'} & cfg.optim_wrapper.keys()


@pytest.mark.parametrize('fields', [dict(type='OptimWrapper'), dict(type='AmpOptimWrapper', dtype='bfloat16')])
def test_full_precision_by_default(device, fields):
    device('cuda')
    cfg = config(**fields)
    configure_amp(cfg)
    assert cfg.to_dict() == config(**fields).to_dict()
    configure_amp(Config(dict()))


@pytest.mark.parametrize(
    ('instructions', 'cfg', 'advice'),
    [
        (['avx2', 'avx512_bf16'], config(), 'training with --amp takes'),
        (['amx_bf16'], config(), 'training with --amp takes'),
        (['amx_bf16'], config(type='ApexOptimWrapper'), None),
        (['avx2', 'avx512_bf16'], config('auto'), None),
        (['avx2', 'avx512_bf16'], config(type='AmpOptimWrapper'), None),
        (['avx2'], config('auto'), 'faster without --amp'),
        (['avx2'], config(type='AmpOptimWrapper'), 'faster without --amp'),
        (['avx2'], config(), None),
        ([], config('auto'), None),
    ],
)
def test_advice_for_the_processor(device, monkeypatch, instructions, cfg, advice):
    monkeypatch.setattr(precision, 'find_instructions', lambda: instructions)
    cfg = copy.deepcopy(cfg)
    configure_amp(cfg)
    found = suggest_precision(cfg)
    assert (found is None) if advice is None else advice in found
    device('cuda')
    assert suggest_precision(cfg) is None


def test_without_training(device):
    cfg = Config(dict(amp='auto', test_cfg=dict(), val_cfg=None))
    configure_amp(cfg)
    assert cfg.test_cfg.fp16


@pytest.mark.parametrize(
    ('name', 'bfloat16', 'cfg', 'message'),
    [
        ('cpu', True, config(True, type='ApexOptimWrapper'), '--amp.*ApexOptimWrapper'),
        ('cpu', True, config('float16'), 'amp float16 needs a GPU'),
        ('cuda', False, config('bfloat16'), 'amp bfloat16 needs a GPU that has it'),
        ('cpu', True, config('half'), "amp must be float16, bfloat16 or auto, got 'half'"),
    ],
)
def test_refused(device, name, bfloat16, cfg, message):
    device(name, bfloat16)
    with pytest.raises(UserError, match=message):
        configure_amp(cfg)


def test_evaluation_dtype(device):
    device('cuda')
    before = torch.get_autocast_dtype('cuda')
    for amp, dtype in (('bfloat16', torch.bfloat16), ('float16', torch.float16), (None, before)):
        with evaluation_dtype(amp):
            assert torch.get_autocast_dtype('cuda') == dtype
        assert torch.get_autocast_dtype('cuda') == before
    device('cpu')
    with evaluation_dtype('bfloat16'), autocast():
        assert nn.Linear(1, 1)(torch.zeros(1, 1)).dtype == torch.bfloat16


@MODELS.register_module()
class Watched(BaseModel):
    """Records the inputs of its convolution."""

    def __init__(self):
        super().__init__(BaseDataPreprocessor())
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 1))
        self.seen = []
        self.backbone[0].register_forward_hook(lambda module, inputs, output: self.seen.append(output))

    def forward(self, inputs, mode='tensor'):
        output = self.backbone(inputs)
        return dict(loss=output.float().mean()) if mode == 'loss' else [output]


@pytest.mark.parametrize(
    ('options', 'dtype', 'channels_last'),
    [
        (dict(), torch.float32, False),
        (dict(amp='bfloat16'), torch.bfloat16, False),
        (dict(channels_last=True), torch.float32, True),
        (dict(amp='auto', channels_last=True, compile=dict(backend='eager')), torch.bfloat16, True),
    ],
)
def test_runs_follow_their_config(tmp_path, options, dtype, channels_last):
    data = [dict(inputs=torch.randn(3, 6, 6)) for _ in range(2)]
    loader = dict(dataset=data, batch_size=2, collate_fn=dict(type='default_collate'))
    loader['sampler'] = dict(type='DefaultSampler', shuffle=False)
    cfg = dict(
        model=dict(type='Watched'),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        work_dir=str(tmp_path),
        default_scope='mmengine',
        randomness=dict(seed=0),
        experiment_name=f'precision-{tmp_path.name}',
        **options,
    )
    runner = build_runner(Config(cfg))
    runner.train()
    model = runner.model
    assert model.seen[0].dtype == dtype
    assert model.seen[0].is_contiguous(memory_format=torch.channels_last) == channels_last
    assert model.backbone[0].weight.dtype == torch.float32
    assert (model.backbone._compiled_call_impl is not None) == ('compile' in options)
    saved = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    assert set(saved) == {'backbone.0.weight', 'backbone.0.bias', 'backbone.2.weight', 'backbone.2.bias'}
    assert model.data_preprocessor._non_blocking


def test_compiled_parts_give_the_same():
    torch.manual_seed(0)
    model = nn.Module()
    model.data_preprocessor = BaseDataPreprocessor()
    model.backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    x = torch.randn(2, 1, 5, 5)
    expected = model.backbone(x)
    graphs = []
    compile_network(model, backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    torch.testing.assert_close(model.backbone(x), expected)
    assert len(graphs) == 1 and model.data_preprocessor._compiled_call_impl is None


class Building:
    """The part of MMEngine's runner that builds the optimizer."""

    def build_optim_wrapper(self, optim_wrapper):
        return optim_wrapper


@pytest.mark.parametrize(
    ('device', 'optimizer', 'fused'),
    [
        ('cuda', dict(type='Adam', lr=0.1), True),
        ('cuda', dict(type='AdamW', lr=0.1, fused=False), False),
        ('cuda', dict(type='SGD', lr=0.1, foreach=True), None),
        ('cuda', dict(type='LARS', lr=0.1), None),
        ('cpu', dict(type='Adam', lr=0.1), None),
    ],
)
def test_fused_optimizers_on_a_gpu(monkeypatch, device, optimizer, fused):
    monkeypatch.setattr(engine_runner, 'get_device', lambda: device)
    wrapper = dict(type='OptimWrapper', optimizer=dict(optimizer))
    built = type('Runner', (engine_runner._Careful, Building), {})().build_optim_wrapper(wrapper)
    assert built['optimizer'].get('fused') is fused
    assert wrapper['optimizer'] == optimizer  # the config is unchanged
    assert {key: built['optimizer'][key] for key in optimizer} == optimizer


def test_channels_last_needs_the_plain_runner(tmp_path):
    cfg = Config(dict(runner_type='FlexibleRunner', channels_last=True, work_dir=str(tmp_path)))
    with pytest.raises(UserError, match='channels_last needs runner_type Runner; the config has FlexibleRunner'):
        build_runner(cfg)
