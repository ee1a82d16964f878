"""timm's model tests, applied to the networks of the plugin."""

import pytest
import timm
import torch
from timm.layers import set_scriptable
from timm.models import get_pretrained_cfg_value
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import rescaps_plugin  # noqa: F401

NAMES = timm.list_models('rescaps_*')
OURS = [name for name in timm.list_models() if timm.model_entrypoint(name).__module__.startswith('rescaps_plugin.')]
LARGEST = 96
every_model = pytest.mark.parametrize('name', NAMES)


def input_size(name):
    """Return the input size of a network, reduced where it can be chosen."""
    channels, *size = get_pretrained_cfg_value(name, 'input_size')
    if not get_pretrained_cfg_value(name, 'fixed_input_size'):
        size = [min(side, LARGEST) for side in size]
    return channels, *size


def images(name, batch=1):
    return torch.randn(batch, *input_size(name))


@every_model
def test_forward_and_default_cfg(name):
    model = timm.create_model(name).eval()
    cfg = model.default_cfg
    output = model(images(name))
    assert output.shape == (1, cfg['num_classes']) and not output.isnan().any()
    state = model.state_dict()
    classifiers = [cfg['classifier']] if isinstance(cfg['classifier'], str) else cfg['classifier']
    for module in [cfg['first_conv'], *classifiers]:
        assert f'{module}.weight' in state
    named = {parameter for module in classifiers for parameter in model.get_submodule(module).parameters()}
    assert named <= set(model.get_classifier().parameters())
    assert cfg['architecture'] == name


@every_model
def test_backward_reaches_every_parameter(name):
    model = timm.create_model(name, num_classes=11)
    model.train()
    output = model(images(name, batch=2))
    output.mean().backward()
    assert output.shape[-1] == 11 and not output.isnan().any()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), f'no gradient for {parameter_name}'


@every_model
def test_pooled_unpooled_and_removed_heads(name):
    model = timm.create_model(name).eval()
    cfg = model.default_cfg
    x = torch.randn(1, *cfg['input_size'])
    unpooled = (1, model.num_features, *cfg['pool_size'])
    with torch.no_grad():
        features = model.forward_features(x)
        assert features.shape == unpooled
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.shape == (1, model.head_hidden_size)
        model.reset_classifier(0)
        torch.testing.assert_close(model(x), pooled)
        model.reset_classifier(0, '')
        torch.testing.assert_close(model(x), features)
        model.reset_classifier(6, 'avg')
        assert model(x).shape == (1, 6) and model.num_classes == 6
    bare = timm.create_model(name, num_classes=0, global_pool='').eval()
    assert bare(x).shape == unpooled
    pooling = timm.create_model(name, num_classes=0).eval()
    assert pooling(x).shape == (1, pooling.head_hidden_size)


@every_model
def test_feature_pyramid_and_intermediates(name):
    pyramid = timm.create_model(name, features_only=True).eval()
    x = images(name)
    with torch.no_grad():
        outputs = pyramid(x)
    channels, reductions = pyramid.feature_info.channels(), pyramid.feature_info.reduction()
    assert len(outputs) == len(channels) == len(reductions) >= 4
    for output, channel, reduction in zip(outputs, channels, reductions, strict=True):
        assert output.shape[1] == channel and not output.isnan().any()
        assert output.shape[-2:] == tuple(-(-side // reduction) for side in x.shape[-2:])

    model = timm.create_model(name).eval()
    with torch.no_grad():
        final, intermediates = model.forward_intermediates(x)
        torch.testing.assert_close(final, model.forward_features(x))
        torch.testing.assert_close(final, intermediates[-1])
        early = model.forward_intermediates(x, indices=[0, 1], stop_early=True, intermediates_only=True)
    torch.testing.assert_close(early, intermediates[:2])
    assert [i.shape[1] for i in intermediates] == [info['num_chs'] for info in model.feature_info]


LEVELS = [
    (name, arguments, index)
    for name, arguments, levels in (
        ('rescaps_tiny', {}, 5),
        ('rescaps_cifar_2b', dict(capsule_types=(2,)), 4),
        ('em_caps_tiny', {}, 4),
        ('rccaps_em_tiny', {}, 5),
        ('rccaps_dynamic_tiny', {}, 5),
        ('srcaps_tiny', {}, 4),
        ('srcaps_resnet20_mnist', dict(capsule_types=(2, 2)), 3),
        ('capsnet_tiny', dict(reconstruction=True), 3),
    )
    for index in range(levels)
]


@pytest.mark.parametrize(('name', 'arguments', 'index'), LEVELS)
def test_features_need_every_parameter_that_is_kept(name, arguments, index):
    torch.manual_seed(0)
    whole = timm.create_model(name, **arguments).eval()
    torch.manual_seed(0)
    pyramid = timm.create_model(name, features_only=True, out_indices=(index,), **arguments).eval()
    assert pyramid.feature_info.channels() == [whole.feature_info[index]['num_chs']]
    x = images(name, batch=2)
    (features,) = pyramid(x)
    torch.testing.assert_close([features], whole.forward_intermediates(x, [index], intermediates_only=True))
    for each in (pyramid.model, pyramid.model.train().eval()):
        torch.testing.assert_close(each.forward_features(x), features)
        assert each.num_features == each.head_hidden_size == features.shape[1]
    features.square().sum().backward()
    unused = [parameter_name for parameter_name, parameter in pyramid.named_parameters() if parameter.grad is None]
    assert not unused
    for level, wanted in zip(pyramid.model.forward_capsules(x), whole.forward_capsules(x), strict=False):
        assert level.name == wanted.name and level.poses.shape == wanted.poses.shape


@pytest.mark.parametrize('name', [name for name in OURS if name.endswith('_tiny')])
def test_head_can_be_kept_with_the_last_level(name):
    model = timm.create_model(name).eval()
    x = images(name)
    expected = model(x)
    last = len(model.feature_info) - 1
    assert model.prune_intermediate_layers(1, prune_head=False) == [last]
    torch.testing.assert_close(model(x), expected)
    assert model.prune_intermediate_layers([0, -2], prune_head=False) == [0, last - 1]
    assert model.num_classes == 0 and len(model.feature_info) == last


@pytest.mark.parametrize('name', [name for name in OURS if name.endswith('_tiny')])
def test_classifier_is_what_is_reset(name):
    model = timm.create_model(name).eval()
    classifier = set(model.get_classifier().parameters())
    before = set(model.parameters())
    model.reset_classifier(7)
    assert before - set(model.parameters()) == classifier
    assert set(model.parameters()) - before == set(model.get_classifier().parameters())
    with pytest.raises(ValueError, match='global_pool must be one of'):
        model.reset_classifier(5, 'max')
    assert model.num_classes == 7 and model(images(name)).shape == (1, 7)


@every_model
def test_torchscript(name):
    with set_scriptable(True):
        model = timm.create_model(name).eval()
    x = images(name)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x))


@every_model
def test_fx(name):
    model = timm.create_model(name)
    x = images(name, batch=2)
    train_nodes, eval_nodes = get_graph_node_names(model)
    extractor = create_feature_extractor(
        model, train_return_nodes=[train_nodes[-1]], eval_return_nodes=[eval_nodes[-1]]
    )
    with torch.no_grad():
        (output,) = extractor.eval()(x).values()
        torch.testing.assert_close(output, model.eval()(x))
    (output,) = extractor.train()(x).values()
    output.mean().backward()
    assert all(parameter.grad is not None for parameter in extractor.parameters())


@every_model
def test_parameter_groups(name):
    model = timm.create_model(name)
    names = {parameter_name for parameter_name, _ in model.named_parameters()}
    for coarse in (False, True):
        groups = timm.models.group_parameters(model, model.group_matcher(coarse=coarse))
        assert sorted(sum(groups.values(), [])) == sorted(names)
    assert len(timm.models.group_parameters(model, model.group_matcher())) > len(model.blocks) + 1
    assert model.no_weight_decay() <= names


# Arguments that the scripts of timm 1.0.31 pass to create_model by default; create_model drops those that are None.
SCRIPTS = {
    'train.py': dict(
        pretrained=False,
        in_chans=3,
        num_classes=None,
        drop_rate=0.0,
        drop_path_rate=None,
        drop_block_rate=None,
        global_pool=None,
        bn_momentum=None,
        bn_eps=None,
        scriptable=False,
        checkpoint_path='',
    ),
    'validate.py': dict(pretrained=False, num_classes=None, in_chans=3, global_pool=None, scriptable=False),
    'benchmark.py': dict(
        num_classes=None,
        in_chans=3,
        global_pool=None,
        scriptable=False,
        drop_rate=0.0,
        drop_path_rate=None,
        drop_block_rate=None,
    ),
}


@pytest.mark.parametrize('script', SCRIPTS)
@pytest.mark.parametrize('name', OURS)
def test_arguments_of_timms_scripts(name, script):
    with torch.device('meta'):
        model = timm.create_model(name, **SCRIPTS[script])
    assert model.in_chans == 3 and model.num_classes == model.default_cfg['num_classes']
    with torch.device('meta'):
        model = timm.create_model(name, **(SCRIPTS[script] | dict(drop_rate=0.2, num_classes=7)))
    assert model.num_classes == 7


@pytest.mark.parametrize('name', [name for name in OURS if name.endswith('_tiny')])
def test_new_classifier_is_on_the_device_of_the_network(name):
    size = get_pretrained_cfg_value(name, 'input_size')
    arguments = dict(in_chans=size[0], img_size=size[1:])
    model = timm.create_model(name, **arguments).to(torch.bfloat16).eval()
    model.reset_classifier(7)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        assert model(torch.zeros(1, *size, dtype=torch.bfloat16)).shape == (1, 7)
    # In place of an accelerator.
    model = timm.create_model(name, **arguments).to('meta').train()
    model.reset_classifier(7)
    assert {tensor.device.type for tensor in model.state_dict().values()} == {'meta'}
    assert model.head.training


def test_new_decoder_is_on_the_device_of_the_network():
    model = timm.create_model('capsnet_tiny', reconstruction=True).to(torch.bfloat16)
    model.reset_classifier(7)
    assert {parameter.dtype for parameter in model.decoder.parameters()} == {torch.bfloat16}
