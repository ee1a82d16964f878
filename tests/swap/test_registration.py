"""Layers registered by ``custom_imports = dict(imports=['rescaps_plugin.swap'])`` in OpenMMLab's libraries."""

import subprocess
import sys

import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer, build_plugin_layer
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from rescaps_plugin.swap import RPRConv2d, RPRNeck, RPRPlugin

CODE = """
import sys
for package in ('mmcv', 'mmdet', 'mmpretrain', 'mmseg', 'sklearn', 'scipy'):
    sys.modules[package] = None
import rescaps_plugin.swap
from mmengine.registry import MODELS
print([name for name in ('RPRConv2d', 'RPRModel', 'RPRNeck', 'RPRPlugin') if MODELS.get(name) is None])
"""


def test_import_needs_only_mmengine(repository):
    done = subprocess.run([sys.executable, '-c', CODE], cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == '[]\n'


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain', 'mmseg', 'mmdet'])
def test_layers_are_found_from_every_library(scope):
    if scope == 'mmdet':
        pytest.importorskip('mmdet')
    with DefaultScope.overwrite_default_scope(scope):
        conv = build_conv_layer(dict(type='RPRConv2d', routing='pointwise'), 32, 16, 3, stride=2, bias=False)
        assert isinstance(conv, RPRConv2d) and conv.stride == (2, 2) and conv.routing == 'pointwise'
        name, plugin = build_plugin_layer(dict(type='RPRPlugin'), postfix='_after', in_channels=32)
        assert name == 'rpr_plugin_after' and isinstance(plugin, RPRPlugin)
        assert isinstance(MODELS.build(dict(type='RPRNeck', in_channels=[32])), RPRNeck)


def test_conv_module_with_rpr_conv_equals_the_plain_one():
    torch.manual_seed(0)
    module = ConvModule(32, 16, 3, padding=1, conv_cfg=dict(type='RPRConv2d'), norm_cfg=dict(type='BN'))
    assert module.conv.bias is None and not module.conv.mix.any()
    plain = ConvModule(32, 16, 3, padding=1, norm_cfg=dict(type='BN'))
    module.load_state_dict(plain.state_dict())
    x = torch.randn(1, 32, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(module.double()(x), plain.double()(x))


class Network(BaseModule):
    def __init__(self, init_cfg):
        super().__init__(init_cfg)
        self.conv = RPRConv2d(32, 32, 3, padding=1)
        self.plugin = RPRPlugin(32)
        self.neck = RPRNeck([32])


def test_initialisation_changes_only_the_convolution():
    network = Network(dict(type='Constant', layer='Conv2d', val=2.0, bias=0.5))
    network.init_weights()
    assert (network.conv.weight == 2).all() and (network.conv.bias == 0.5).all()
    assert not network.conv.transform.any() and not network.conv.mix.any()
    x = torch.randn(1, 32, 4, 4)
    assert torch.equal(network.plugin(x), x) and torch.equal(network.neck([x])[0], x)


def test_pretrained_weights_of_the_plain_network_load(tmp_path):
    state = nn.ModuleDict(dict(conv=nn.Conv2d(32, 32, 3, padding=1))).state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'plain.pth')
    network = Network(dict(type='Pretrained', checkpoint=str(tmp_path / 'plain.pth')))
    network.init_weights()
    x = torch.randn(1, 32, 4, 4, dtype=torch.float64)
    network.double()
    expected = nn.functional.conv2d(x, state['conv.weight'].double(), state['conv.bias'].double(), padding=1)
    torch.testing.assert_close(network.conv(x), expected)
    assert torch.equal(network.plugin(x), x)


def test_model_is_built_and_converted():
    preprocessor = dict(type='ClsDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[1.0, 1.0, 1.0], num_classes=5)
    inner = dict(type='TimmClassifier', model_name='resnet18', channels=(16, 16, 16, 16), num_classes=5)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        cfg = dict(type='RPRModel', model=inner, select='*.layer4.*', routing='pointwise')
        model = MODELS.build(dict(cfg, data_preprocessor=preprocessor))
        own = MODELS.build(dict(cfg, model=dict(inner, data_preprocessor=dict(preprocessor, mean=[4.0, 4.0, 4.0]))))
    assert type(model).__name__ == 'TimmClassifier'
    assert model.data_preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]
    assert own.data_preprocessor.mean.flatten().tolist() == [4.0, 4.0, 4.0]
    layers = {name: module for name, module in model.named_modules() if isinstance(module, RPRConv2d)}
    assert layers and all('.layer4.' in name and layer.routing == 'pointwise' for name, layer in layers.items())
    assert inner['type'] == 'TimmClassifier'
