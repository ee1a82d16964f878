"""Output of networks as log-odds, dropout, and device and dtype of parameters."""

import inspect

import pytest
import timm
import torch
from mmpretrain.registry import MODELS
from timm.models._manipulate import reinit_non_persistent_buffers
from timm.utils import reparameterize_model
from torch import nn

import rescaps_plugin.classification  # noqa: F401
from rescaps_plugin.models import CapsNet, ResCaps, ResCapsTrunk, RoutedCaps
from rescaps_plugin.models.routed_caps import CapsuleDropout
from tests.steps import TINY

SMALL = dict(in_chans=1, img_size=16)
# The activations of these networks are sigmoids.
SIGMOIDS = ['rescaps_tiny', 'em_caps_tiny', 'rccaps_em_tiny']
every_network = pytest.mark.parametrize('name', TINY)


def build_both(name, **kwargs):
    """Build a network twice, with activations and with log-odds as output."""
    torch.manual_seed(0)
    activations = timm.create_model(name, **SMALL, **kwargs).eval()
    logits = timm.create_model(name, **SMALL, **kwargs, output='logit').eval()
    logits.load_state_dict(activations.state_dict())
    return activations, logits


@every_network
def test_logits_are_the_log_odds_of_the_activations(name):
    activations, logits = build_both(name)
    images = torch.randn(3, 1, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        expected, result = activations.double()(images), logits.double()(images)
    torch.testing.assert_close(result, torch.logit(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits.forward_head(logits.forward_features(images)), result)
    logits.reset_classifier(4)
    assert not ((logits(images) >= 0) & (logits(images) <= 1)).all()


@pytest.mark.parametrize('name', SIGMOIDS)
def test_logits_of_saturated_sigmoids_are_exact(name):
    activations, logits = build_both(name)
    for network in (activations, logits):
        bias = network.head.routing.activation_norm.bias if name == 'rescaps_tiny' else network.head.routing.beta_a
        nn.init.constant_(bias, 60.0 if name == 'rescaps_tiny' else 60 / (0.08 * (1 - 0.95**3)))
    images = torch.randn(2, 1, 16, 16)
    assert (activations(images) == 1).all()
    result = logits(images)
    assert (result > 20).all()
    torch.testing.assert_close(result, logits.double()(images.double()).float())


@pytest.mark.parametrize('name', [name for name in TINY if name not in SIGMOIDS])
def test_logits_of_absent_capsules_are_finite(name):
    _, logits = build_both(name)
    features = torch.zeros_like(logits.forward_features(torch.randn(2, 1, 16, 16))).requires_grad_()
    result = logits.forward_head(features)
    result.sum().backward()
    assert result.isfinite().all() and features.grad.isfinite().all()


@every_network
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_logits_in_half_precision(name, dtype):
    _, logits = build_both(name)
    images = torch.randn(2, 1, 16, 16)
    expected = logits(images)
    result = logits.to(dtype)(images.to(dtype))
    assert result.dtype == dtype and result.isfinite().all()
    assert (result.float() - expected).abs().mean() < 0.05 * expected.abs().mean()


@pytest.mark.parametrize('name', ['rescaps_tiny', 'em_caps_tiny', 'srcaps_tiny', 'capsnet_tiny'])
def test_exported_and_scripted_logits_equal_eager(name):
    _, logits = build_both(name, **(dict(iterations=2) if name in ('em_caps_tiny', 'capsnet_tiny') else {}))
    images = torch.randn(2, 1, 16, 16)
    expected = logits(images)
    torch.testing.assert_close(torch.export.export(logits, (images,)).module()(images), expected)
    torch.testing.assert_close(torch.jit.script(logits)(images), expected)


def test_deployed_logits_equal_those_of_the_training_form():
    _, logits = build_both('rescaps_tiny')
    images = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    expected = logits.double()(images)
    fused = reparameterize_model(logits)
    torch.testing.assert_close(fused(images), expected)
    deployed = timm.create_model('rescaps_tiny', **SMALL, output='logit', deploy=True).double()
    deployed.load_state_dict(fused.state_dict())
    torch.testing.assert_close(deployed(images), expected)


@pytest.mark.parametrize('loss', [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)], ids=str)
def test_cross_entropy_of_logits_has_no_floor_at_the_log_of_the_classes(loss):
    torch.manual_seed(0)
    network = timm.create_model('rescaps_tiny', **SMALL, output='logit')
    images, target = torch.randn(10, 1, 16, 16), torch.arange(10)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        value = loss(network(images), target)
        value.backward()
        optimizer.step()
    # Of activations in (0, 1), cross-entropy is at least log(1 + 9 / e) = 1.46.
    assert value < 1.2


@every_network
def test_unknown_output_is_refused(name):
    with pytest.raises(ValueError, match="output must be one of .*'logits'"):
        timm.create_model(name, output='logits')


@every_network
def test_dropout_before_the_class_capsules(name):
    torch.manual_seed(0)
    plain = timm.create_model(name, **SMALL)
    dropping = timm.create_model(name, **SMALL, drop_rate=0.5)
    dropping.load_state_dict(plain.state_dict())
    images = torch.randn(4, 1, 16, 16)
    torch.testing.assert_close(dropping.eval()(images), plain.eval()(images))
    features = plain.forward_features(images)
    dropping.train()
    first, second = dropping.forward_head(features), dropping.forward_head(features)
    assert not torch.allclose(first, second) and first.isfinite().all()
    dropping.reset_classifier(5)
    assert not torch.allclose(dropping.forward_head(features), dropping.forward_head(features))
    with pytest.raises(ValueError, match=r'1\.5'):
        timm.create_model(name, **SMALL, drop_rate=1.5)


@pytest.mark.parametrize('weight_is_pose', [False, True])
def test_capsules_are_dropped_whole(weight_is_pose):
    torch.manual_seed(0)
    dropout = CapsuleDropout(3, 0.25, weight_is_pose)
    x = 0.1 + torch.rand(2, 3 * 5, 6, 6)
    y = dropout(x)
    kept = y[:, 12:] != 0
    assert 0.5 < kept.float().mean() < 0.95
    torch.testing.assert_close(y[:, 12:], x[:, 12:] * kept / 0.75)
    pose = x[:, :12] * (kept / 0.75).repeat_interleave(4, dim=1) if weight_is_pose else x[:, :12]
    torch.testing.assert_close(y[:, :12], pose)
    assert dropout.eval()(x) is x


@every_network
def test_stochastic_depth_is_refused_by_name(name):
    with pytest.raises(ValueError, match=r'drop_path_rate must be 0 for .*, got 0\.1'):
        timm.create_model(name, drop_path_rate=0.1)


@pytest.mark.parametrize('name', [*TINY, 'resnet18_cifar'])
def test_device_and_dtype_of_parameters(name):
    size = dict(SMALL) if name in TINY else dict(in_chans=1)
    network = timm.create_model(name, **size, dtype=torch.float64)
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    assert network(torch.randn(2, 1, 16, 16, dtype=torch.float64)).dtype == torch.float64
    network = timm.create_model(name, **size, device='meta', dtype=torch.bfloat16)
    assert {(t.device.type) for t in network.state_dict().values()} == {'meta'}
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert network.conv1.weight.is_meta if name not in TINY else network.head.routing.weight.is_meta


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [*((name, {}) for name in TINY), ('rescaps_tiny', dict(routing='pointwise', residual='ones'))],
)
def test_network_built_on_the_meta_device_takes_weights_and_buffers(name, arguments):
    network = timm.create_model(name, **SMALL, **arguments).eval()
    images = torch.randn(2, 1, 16, 16)
    for assign in (False, True):
        built = timm.create_model(name, **SMALL, **arguments, device='meta').eval()
        if not assign:
            built.to_empty(device='cpu')
            for buffer in built.buffers():
                buffer.fill_(7)
        built.load_state_dict(network.state_dict(), assign=assign)
        reinit_non_persistent_buffers(built)
        assert torch.equal(built(images), network(images))
    network = reparameterize_model(network)
    expected = network(images)
    reinit_non_persistent_buffers(network)
    assert torch.equal(network(images), expected)


@pytest.mark.parametrize('network', [CapsNet, ResCaps, ResCapsTrunk, RoutedCaps, MODELS.get('ResCaps')])
def test_arguments_are_listed_and_described(network):
    parameters = inspect.signature(network).parameters
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD and p.annotation is not p.empty for p in parameters.values())
    described = inspect.getdoc(network).partition('Args:')[2]
    assert [name for name in parameters if f'\n    {name}: ' not in described] == []
    with pytest.raises(TypeError, match="'capsule_typs'"):
        network(capsule_typs=(4, 4))


def test_arguments_of_another_routing_are_refused():
    with pytest.raises(TypeError, match="'iterations'"):
        timm.create_model('srcaps_tiny', iterations=2)
