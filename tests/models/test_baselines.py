"""The networks that ResCaps is compared with: timm's model tests and their own features."""

import pytest
import timm
import torch
from timm.models import get_pretrained_cfg_value
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import rescaps_plugin  # noqa: F401
from rescaps_plugin.layers import EMRouting, ResidualPoseRouting
from rescaps_plugin.models import CapsNet, RoutedCaps
from rescaps_plugin.models.checkpoints import checkpoint_filter_fn
from rescaps_plugin.models.routed_caps import CapsuleLayer

DATA = ('mnist', 'smallnorb', 'cifar')
FAMILIES = ('em_caps', 'rccaps_em', 'rccaps_dynamic', 'srcaps_resnet20')
TINY = ['em_caps_tiny', 'rccaps_em_tiny', 'rccaps_dynamic_tiny', 'srcaps_tiny', 'capsnet_tiny']
LARGE = [f'{family}_{data}' for family in FAMILIES for data in DATA] + ['capsnet_mnist', 'capsnet_cifar']
RESNETS = ['resnet18_cifar', 'resnet101_cifar']
# One network of each family at the size of the papers; the small ones have the same code.
every_form = pytest.mark.parametrize('name', [*TINY, 'srcaps_resnet20_mnist'])


def images(name, batch=1):
    return torch.randn(batch, *get_pretrained_cfg_value(name, 'input_size'))


def test_all_names_are_registered():
    patterns = ['em_caps_*', 'rccaps_*', 'srcaps_*', 'capsnet_*', 'resnet18_cifar', 'resnet101_cifar']
    assert set(timm.list_models(patterns)) == {*TINY, *LARGE, *RESNETS}


@pytest.mark.parametrize('name', [*TINY, *LARGE, *RESNETS])
def test_shapes_and_default_cfg(name):
    with torch.device('meta'):
        model = timm.create_model(name).eval()
        cfg = model.default_cfg
        x = images(name)
        features = model.forward_features(x)
        assert features.shape == (1, model.num_features, *cfg['pool_size'])
        assert model.forward_head(features).shape == model(x).shape == (1, cfg['num_classes'])
        assert model.forward_head(features, pre_logits=True).shape == (1, model.head_hidden_size)
    state = model.state_dict()
    assert f'{cfg["first_conv"]}.weight' in state and f'{cfg["classifier"]}.weight' in state
    assert set(model.get_submodule(cfg['classifier']).parameters()) == set(model.get_classifier().parameters())
    assert cfg['architecture'] == name


def test_em_caps_has_the_papers_size():
    # Hinton et al. 2018, Table 1: 310 K parameters with 32 types; CapsNet: 6.8 M of its 8.2 M are not the decoder's.
    count = {
        name: sum(p.numel() for p in timm.create_model(name).parameters())
        for name in ('em_caps_smallnorb', 'capsnet_mnist')
    }
    assert count['em_caps_smallnorb'] == pytest.approx(310e3, rel=0.03)
    assert count['capsnet_mnist'] == pytest.approx(6.8e6, rel=0.01)


@every_form
def test_channels_last_gives_the_same_output(name):
    torch.manual_seed(0)
    model = timm.create_model(name).eval().double()
    x = images(name).double()
    with torch.no_grad():
        expected = model(x)
        result = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(result, expected)


@every_form
def test_backward_reaches_every_parameter(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=4).train()
    output = model(images(name, batch=2))
    # A weighted sum, because the activations of self-routing sum to one.
    (output * torch.arange(4.0)).sum().backward()
    assert output.shape == (2, 4) and ((output >= 0) & (output <= 1)).all()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), f'no gradient for {parameter_name}'


@every_form
def test_pooled_unpooled_and_removed_heads(name):
    model = timm.create_model(name).eval()
    x = images(name)
    with torch.no_grad():
        features = model.forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        model.reset_classifier(0)
        torch.testing.assert_close(model(x), pooled)
        model.reset_classifier(0, '')
        torch.testing.assert_close(model(x), features)
        model.reset_classifier(6, 'flatten')
        assert model(x).shape == (1, 6) and model.num_classes == 6
        unpooled = timm.create_model(name, num_classes=0, global_pool='')
        assert unpooled(x).shape == features.shape and unpooled.head_hidden_size == unpooled.num_features
        assert timm.create_model(name, num_classes=0)(x).shape == pooled.shape


@every_form
def test_features_and_intermediates(name):
    pyramid = timm.create_model(name, features_only=True).eval()
    x = images(name)
    model = timm.create_model(name).eval()
    with torch.no_grad():
        outputs = pyramid(x)
        final, intermediates = model.forward_intermediates(x)
        early = model.forward_intermediates(x, indices=[0, 1], stop_early=True, intermediates_only=True)
        torch.testing.assert_close(final, model.forward_features(x))
    channels = [info['num_chs'] for info in model.feature_info]
    assert len(channels) >= 3
    assert [output.shape[1] for output in outputs] == pyramid.feature_info.channels() == channels
    assert [i.shape[1] for i in intermediates] == channels
    torch.testing.assert_close(final, intermediates[-1])
    torch.testing.assert_close(early, intermediates[:2])


@pytest.mark.parametrize('name', ['em_caps_tiny', 'rccaps_em_tiny', 'rccaps_dynamic_tiny', 'srcaps_tiny'])
def test_scripted_network_in_half_precision_equals_eager(name):
    """Both route in float32."""
    torch.manual_seed(0)
    model = timm.create_model(name).bfloat16().eval()
    x = images(name, batch=2).bfloat16()
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x))


@pytest.mark.parametrize('name', ['em_caps_tiny', 'rescaps_tiny'])
@pytest.mark.parametrize('features_only', [False, True])
def test_gradient_checkpointing_recomputes_capsule_layers(name, features_only):
    model = timm.create_model(name, features_only=features_only)
    (model.model if features_only else model).set_grad_checkpointing(True)
    calls = []
    layer = next(module for module in model.modules() if isinstance(module, (EMRouting, ResidualPoseRouting)))
    layer.register_forward_pre_hook(lambda *call: calls.append(call))
    output = model(images(name, batch=2))
    (output[-1] if features_only else output).square().sum().backward()
    assert len(calls) == 2


@every_form
def test_torchscript_fx_and_groups(name):
    model = timm.create_model(name).eval()
    x = images(name, batch=2)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(torch.jit.script(model)(x), expected)
        _, nodes = get_graph_node_names(model)
        (output,) = create_feature_extractor(model, eval_return_nodes=[nodes[-1]], train_return_nodes=[nodes[-1]])(
            x
        ).values()
        torch.testing.assert_close(output, expected)
    names = {parameter_name for parameter_name, _ in model.named_parameters()}
    for coarse in (False, True):
        groups = timm.models.group_parameters(model, model.group_matcher(coarse=coarse))
        assert sorted(sum(groups.values(), [])) == sorted(names)
    assert model.no_weight_decay() <= names


@pytest.mark.parametrize('name', ['em_caps_tiny', 'rccaps_dynamic_tiny', 'srcaps_tiny'])
def test_exported_program_equals_eager_at_other_batch_sizes(name):
    arguments = dict(iterations=2) if name != 'srcaps_tiny' else {}
    model = timm.create_model(name, img_size=(12, 8), in_chans=1, **arguments).eval()
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 1, 12, 8),), dynamic_shapes=({0: batch},))
    x = torch.randn(3, 1, 12, 8)
    torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize('name', ['em_caps_tiny', 'rccaps_em_tiny'])
def test_gradient_checkpointing_changes_nothing_but_memory(name):
    torch.manual_seed(0)
    model = timm.create_model(name, img_size=16, in_chans=1)
    x = torch.randn(2, 1, 16, 16)
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('name', ['rescaps_tiny', *TINY])
def test_empty_batch(name):
    """As where a detector finds nothing: no scores, and no gradients but zeros."""
    model = timm.create_model(name, img_size=16, in_chans=1).eval()
    scores = model(torch.zeros(0, 1, 16, 16))
    assert scores.shape == (0, 10)
    scores.sum().backward()
    assert all(not parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize('name', ['em_caps_tiny', 'rccaps_em_tiny'])
def test_scaled_inverse_temperature(name):
    """The inverse temperature times the number of children of a class is the paper's at every size."""
    model = timm.create_model(name, img_size=16, in_chans=1)
    for size, children in ((16, 4 * 4 * 4), (40, 4 * 10 * 10)):
        model.set_input_size(size)
        for each in (model, timm.create_model(name, img_size=size, in_chans=1)):
            values = {module.inverse_temperature for module in each.modules() if isinstance(module, EMRouting)}
            assert len(values) == 1 and values.pop() * children == pytest.approx(0.01 * 32 * 4 * 4)
    model.reset_classifier(3)
    assert model.head.routing.inverse_temperature == model.layers[0].routing.inverse_temperature
    model = timm.create_model(name, img_size=16, inverse_temperature=0.5)
    model.set_input_size(40)
    assert model.head.routing.inverse_temperature == model.layers[0].routing.inverse_temperature == 0.5


def test_residual_layer_adds_its_input_poses():
    class Constant(torch.nn.Module):
        out_types, out_dim, out_channels = 2, 4, 10

        def forward(self, x):
            return torch.full_like(x, 0.25)

    x = torch.randn(1, 10, 3, 3)
    y = CapsuleLayer(Constant(), residual=True, norm=False)(x)
    torch.testing.assert_close(y[:, :8], x[:, :8] + 0.25)
    torch.testing.assert_close(y[:, 8:], torch.full((1, 2, 3, 3), 0.25))


def test_residuals_are_added_where_sizes_match():
    for routing in ('em', 'dynamic'):
        model = timm.create_model(f'rccaps_{routing}_mnist')
        assert [layer.residual for layer in model.layers] == [False, True, True, True]
    assert not any(layer.residual for layer in timm.create_model('em_caps_tiny').layers)


def test_checkpoint_fits_another_number_of_classes(tmp_path):
    source = timm.create_model('em_caps_tiny')
    torch.save(source.state_dict(), tmp_path / 'own.pth')
    overlay = dict(file=str(tmp_path / 'own.pth'))
    same = timm.create_model('em_caps_tiny', pretrained=True, pretrained_cfg_overlay=overlay)
    torch.testing.assert_close(same.state_dict(), source.state_dict())
    other = timm.create_model('em_caps_tiny', pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3)
    torch.testing.assert_close(other.layers.state_dict(), source.layers.state_dict())
    assert set(checkpoint_filter_fn(source.state_dict(), source)) == set(source.state_dict())


def test_decoder_reconstructs_from_the_targets_capsule_alone():
    torch.manual_seed(0)
    model = timm.create_model('capsnet_tiny', reconstruction=True, num_classes=3)
    x = torch.randn(2, 1, 16, 16)
    activation, image = model.forward_reconstruction(x, torch.tensor([0, 2]))
    torch.testing.assert_close(activation, model(x))
    assert image.shape == x.shape
    capsules = torch.randn(2, 3, 16)
    expected = model.decoder(capsules, torch.tensor([0, 2]))
    capsules[0, 1:] = 7
    capsules[1, :2] = 7
    torch.testing.assert_close(model.decoder(capsules, torch.tensor([0, 2])), expected)
    capsules[0, 0] = 7
    assert not torch.allclose(model.decoder(capsules, torch.tensor([0, 2]))[0], expected[0])
    model.reset_classifier(5)
    assert model.forward_reconstruction(x, torch.tensor([4, 4]))[1].shape == x.shape
    with pytest.raises(ValueError, match='reconstruction=True'):
        timm.create_model('capsnet_tiny').forward_reconstruction(x, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: RoutedCaps(routing='rpr'), "routing must be one of .*'rpr'"),
        (lambda: RoutedCaps(stem='conv3'), "stem must be one of .*'conv3'"),
        (lambda: RoutedCaps(inverse_temperature='high'), "inverse_temperature must be one of .*'high'"),
        (
            lambda: RoutedCaps(routing='self', inverse_temperature='scaled'),
            "unexpected keyword .*'inverse_temperature'",
        ),
        (lambda: RoutedCaps(capsule_types=(8, 8)), r'strides=\(2, 1\), got \(8, 8\)'),
        (lambda: RoutedCaps(img_size=12), 'img_size must leave room .* got 12'),
        (lambda: CapsNet(img_size=16), 'img_size must be at least 17 .* got 16'),
        (lambda: timm.create_model('em_caps_tiny', global_pool='avg'), 'global_pool'),
        (lambda: timm.create_model('capsnet_tiny').set_grad_checkpointing(), 'gradient checkpointing is not available'),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises((ValueError, TypeError), match=message):
        build()


def test_images_of_another_size_are_refused():
    model = timm.create_model('em_caps_tiny')
    with pytest.raises(AssertionError, match='class capsules read capsule maps of 8x8 only.*img_size='):
        model(torch.randn(1, 3, 40, 40))


def test_resnet_keeps_the_resolution_of_small_images():
    model = timm.create_model('resnet18_cifar', features_only=True).eval()
    sizes = [tuple(feature.shape[-2:]) for feature in model(torch.randn(1, 3, 32, 32))]
    assert sizes == [(32, 32), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert model.feature_info.reduction() == [1, 1, 2, 4, 8]


def test_class_capsules_over_thousands_of_children_start_unsaturated():
    torch.manual_seed(0)
    lengths = timm.create_model('capsnet_cifar').eval()(images('capsnet_cifar', batch=2))
    assert 0.1 < lengths.min() and lengths.max() < 0.95
