"""Loading in timm: checkpoints of tools/train.py, other numbers of classes, other image sizes, the hub's format."""

import logging
from pathlib import Path

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from timm.models import save_for_hf

import rescaps_plugin.classification  # noqa: F401
from rescaps_plugin.models.checkpoints import convert_state_dict
from tests.steps import TINY

CONFIGS = Path(__file__).parents[2] / 'configs'
SMALL = dict(in_chans=1, img_size=16)
# The config of each, and the arguments of the network in it.
TRAINED = {
    'rescaps_tiny': ('rescaps/digits.py', SMALL),
    'em_caps_tiny': ('em_caps/em_caps_digits.py', SMALL),
    'srcaps_tiny': ('srcaps/srcaps_digits.py', SMALL),
    'capsnet_tiny': ('capsnet/capsnet_digits.py', dict(reconstruction=True)),
    'resnet18_cifar': ('resnet_cifar/resnet18_mnist.py', dict(in_chans=1)),
}
IMAGES = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def train(name, folder, **model):
    """Build the classifier of a config as if it were trained, and save a checkpoint as tools/train.py does."""
    cfg = Config.fromfile(CONFIGS / TRAINED[name][0])
    cfg.merge_from_dict(dict(model=model))
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        classifier = MODELS.build(cfg.model).eval()
    for value in classifier.state_dict().values():
        if value.is_floating_point():
            value.add_(0.02 * torch.rand_like(value))
    path = str(folder / 'epoch_10.pth')
    torch.save(dict(meta=dict(epoch=10), state_dict=classifier.state_dict(), message_hub=dict(log_scalars={})), path)
    return classifier, path


@pytest.mark.parametrize('name', TRAINED)
def test_checkpoint_of_a_training_loads_in_one_line(name, tmp_path):
    classifier, path = train(name, tmp_path)
    arguments = TRAINED[name][1]
    expected = classifier(IMAGES)
    assert expected.std() > 1e-4
    network = timm.create_model(name, **arguments, checkpoint_path=path).eval()
    torch.testing.assert_close(network(IMAGES), expected)
    overlay = dict(file=path)
    network = timm.create_model(name, **arguments, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    torch.testing.assert_close(network(IMAGES), expected)


@pytest.mark.parametrize('name', ['rescaps_tiny', 'em_caps_tiny', 'srcaps_tiny', 'resnet18_cifar'])
def test_head_of_other_than_the_default_classes_is_kept_whole(name, tmp_path, caplog):
    head = dict(head=dict(num_classes=3)) if name == 'rescaps_tiny' else dict(num_classes=3)
    classifier, path = train(name, tmp_path, **head)
    arguments = TRAINED[name][1] | dict(pretrained=True, num_classes=3)
    for overlay in (dict(file=path), dict(file=path, num_classes=3)):
        network = timm.create_model(name, **arguments, pretrained_cfg_overlay=overlay).eval()
        torch.testing.assert_close(network(IMAGES), classifier(IMAGES))
    assert 'head' not in caplog.text
    # The default number of classes, which differs from that of the file.
    with pytest.raises(RuntimeError, match='size mismatch'):
        timm.create_model(name, **TRAINED[name][1], pretrained=True, pretrained_cfg_overlay=dict(file=path))
    with pytest.raises(RuntimeError, match='size mismatch'):
        timm.create_model(name, **TRAINED[name][1], num_classes=4, checkpoint_path=path)


@pytest.mark.parametrize('name', TRAINED)
@pytest.mark.parametrize(('classes', 'overlay'), [(4, {}), (10, dict(num_classes=-1))], ids=['other', 'timm train.py'])
def test_head_is_dropped_whole_with_a_warning(name, classes, overlay, tmp_path, caplog):
    _, path = train(name, tmp_path)
    stored = torch.load(path)['state_dict']
    torch.manual_seed(2)
    with caplog.at_level(logging.WARNING):
        network = timm.create_model(
            name,
            **TRAINED[name][1],
            num_classes=classes,
            pretrained=True,
            pretrained_cfg_overlay=dict(file=path, **overlay),
        )
    assert f'None of the head of the checkpoint is loaded: this {type(network).__name__}' in caplog.text
    assert f'{classes} classes' in caplog.text
    fresh = timm.create_model(name, **TRAINED[name][1], num_classes=classes).state_dict()
    for key, value in network.state_dict().items():
        if key.startswith(('head.', 'decoder.', 'fc.')):
            assert value.shape == fresh[key].shape
            own = stored.get(key, stored.get(key.replace('head.', 'head.caps.')))
            assert own.shape != value.shape or not value.is_floating_point() or not torch.equal(own, value), key
        else:
            assert torch.equal(value, stored.get(key, stored.get(f'backbone.{key}'))), key


def test_features_take_the_weights_without_a_head(tmp_path):
    classifier, path = train('rescaps_tiny', tmp_path)
    arguments = dict(SMALL, pretrained=True, pretrained_cfg_overlay=dict(file=path))
    network = timm.create_model('rescaps_tiny', **arguments, features_only=True).eval()
    torch.testing.assert_close(network(IMAGES)[-1], classifier.backbone(IMAGES)[-1])
    network = timm.create_model('rescaps_tiny', **arguments, num_classes=0).eval()
    torch.testing.assert_close(network(IMAGES), classifier.backbone(IMAGES)[-1].flatten(1))


@pytest.mark.parametrize('name', ['rescaps_tiny', 'em_caps_tiny', 'srcaps_tiny'])
def test_features_of_a_checkpoint_with_any_head(name, tmp_path):
    head = dict(head=dict(num_classes=3)) if name == 'rescaps_tiny' else dict(num_classes=3)
    _, path = train(name, tmp_path, **head)
    arguments = dict(SMALL, pretrained=True, pretrained_cfg_overlay=dict(file=path))
    expected = timm.create_model(name, **arguments, num_classes=3).eval().forward_intermediates(IMAGES)[1]
    # 10 classes are the default.
    for options in ({}, dict(num_classes=5), dict(img_size=32)):
        if 'img_size' in options and name == 'em_caps_tiny':
            continue  # The temperature of its routing depends on the size.
        network = timm.create_model(name, **arguments | options, features_only=True).eval()
        torch.testing.assert_close(network(IMAGES), expected)


@pytest.mark.parametrize('name', ['rescaps_tiny', 'srcaps_tiny', 'capsnet_tiny', 'rccaps_dynamic_tiny'])
@pytest.mark.parametrize('classes', [3, 10])
def test_head_for_another_image_size_is_refused(name, classes, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(timm.create_model(name, num_classes=classes, **SMALL).state_dict(), path)
    options = dict(in_chans=1, num_classes=classes, pretrained=True, pretrained_cfg_overlay=dict(file=str(path)))
    with pytest.raises(
        ValueError, match=r'for images of another size than this .* Build the network with the img_size'
    ):
        timm.create_model(name, img_size=32, **options)
    network = timm.create_model(name, img_size=16, **options)
    network.set_input_size(32)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, classes)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    _, path = train('em_caps_tiny', tmp_path)
    overlay = dict(file=path)
    with pytest.raises(ValueError, match=r"not one of ResCaps as built here: it lacks \['blocks\.0\.primary"):
        timm.create_model('rescaps_tiny', **SMALL, num_classes=3, pretrained=True, pretrained_cfg_overlay=overlay)


def uniform(name, **kwargs):
    """Build a network whose class capsules have equal weights at all positions."""
    torch.manual_seed(0)
    network = timm.create_model(name, **SMALL, **kwargs).eval()
    state = network.head.state_dict()
    if name == 'rescaps_tiny':
        state['primary.pose.weight'][:] = state['primary.pose.weight'][..., :1, :1].clone()
    else:
        state['routing.weight'][:] = state['routing.weight'][:1].clone()
    return network


@pytest.mark.parametrize('name', [name for name in TINY if 'em' not in name])
def test_input_size_is_set_and_uniform_maps_give_the_same(name):
    # Agreement of dynamic routing is not linear in the votes; its first iteration has none.
    network = uniform(name, **(dict(iterations=1) if name in ('capsnet_tiny', 'rccaps_dynamic_tiny') else {}))
    pixel = torch.rand(2, network.num_features, 1, 1)
    expected = network.forward_head(pixel.expand(-1, -1, *network.feature_size))
    network.set_input_size((40, 24))
    assert network(torch.randn(2, 1, 40, 24)).shape == (2, 10)
    torch.testing.assert_close(network.forward_head(pixel.expand(-1, -1, *network.feature_size)), expected)
    with pytest.raises(AssertionError):
        network(torch.randn(2, 1, 16, 16))
    network.reset_classifier(4)
    assert network(torch.randn(2, 1, 40, 24)).shape == (2, 4)


@pytest.mark.parametrize('freeze', [lambda network: network.requires_grad_(False), timm.utils.freeze], ids=['', 'timm'])
@pytest.mark.parametrize('name', TINY)
def test_frozen_head_stays_frozen_at_another_input_size(name, freeze):
    network = timm.create_model(name, **SMALL).train()
    freeze(network)
    network.head.eval().double()
    parameters = dict(network.named_parameters())
    network.set_input_size(24)
    assert all(network.get_parameter(key) is parameter for key, parameter in parameters.items())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert {value.dtype for value in network.head.parameters()} == {torch.float64}
    assert network.training and not any(module.training for module in network.head.modules())


@pytest.mark.parametrize('name', TINY)
def test_network_of_another_input_size_is_trained(name):
    network = timm.create_model(name, **SMALL)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(IMAGES).std(dim=1).sum().backward()
    network.set_input_size(24)
    before = network.head.routing.weight.detach().clone()
    network(torch.rand(2, 1, 24, 24)).std(dim=1).sum().backward()
    optimizer.step()
    assert not torch.equal(network.head.routing.weight, before)


def test_own_state_is_loaded_as_it_is():
    network = timm.create_model('rescaps_tiny', **SMALL).half()
    state = network.state_dict()
    other = timm.create_model('rescaps_tiny', **SMALL)
    other.load_state_dict(state, assign=True)
    assert {value.dtype for value in other.parameters()} == {torch.float16}
    assert convert_state_dict(state, network) is state
    with pytest.raises(RuntimeError, match='Unexpected key.*typo:scale'):
        network.load_state_dict(state | {'typo:scale': torch.ones(1)})


@pytest.mark.parametrize('name', ['em_caps_tiny', 'rccaps_em_tiny'])
def test_weights_that_positions_share_are_kept(name):
    network = timm.create_model(name, **SMALL)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.set_input_size(24)
    torch.testing.assert_close(dict(network.state_dict()), before)
    fresh = timm.create_model(name, in_chans=1, img_size=24)
    fresh.load_state_dict(before)
    images = torch.randn(2, 1, 24, 24)
    torch.testing.assert_close(network.eval()(images), fresh.eval()(images))


def test_input_size_that_cannot_be_set_is_refused():
    with pytest.raises(ValueError, match='img_size must leave room'):
        timm.create_model('em_caps_smallnorb').set_input_size(8)
    with pytest.raises(ValueError, match='img_size must be positive, got 0'):
        timm.create_model('rescaps_tiny').set_input_size(0)
    for classes in (10, 0):  # a head with its decoder may follow
        with pytest.raises(ValueError, match='reconstruction=False'):
            timm.create_model('capsnet_tiny', reconstruction=True, num_classes=classes).set_input_size(24)
    with pytest.raises(RuntimeError, match='training form'):
        timm.create_model('rescaps_tiny', deploy=True).set_input_size(24)
    anysize = timm.create_model('rescaps_tiny', global_pool='avg', num_classes=3)
    anysize.set_input_size(48)
    assert anysize(torch.randn(2, 3, 48, 48)).shape == (2, 3)


@pytest.mark.parametrize('name', [*TINY, 'resnet18_cifar'])
def test_round_trip_through_the_format_of_the_hub(name, tmp_path):
    arguments = dict(in_chans=1, num_classes=3)
    if name in TINY:
        arguments |= dict(img_size=16, output='logit', drop_rate=0.1)
    network = timm.create_model(name, **arguments).eval()
    size = (16, 16)
    if name in TINY:
        size = (24, 16)
        network.set_input_size(size)
    save_for_hf(network, tmp_path)
    loaded = timm.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    images = torch.randn(2, 1, *size)
    torch.testing.assert_close(loaded(images), network(images))
    assert loaded.num_classes == 3 and type(loaded) is type(network)
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=7).eval()
    assert again(images).shape == (2, 7)


def test_deploy_form_through_the_format_of_the_hub(tmp_path):
    network = timm.create_model('rescaps_tiny', **SMALL, deploy=True)
    save_for_hf(network, tmp_path)
    loaded = timm.create_model(f'local-dir:{tmp_path}', pretrained=True)
    torch.testing.assert_close(loaded(IMAGES), network(IMAGES))
