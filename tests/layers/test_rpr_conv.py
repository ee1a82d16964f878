"""RPRConv2d: comparison with the equations, and with the convolution that it starts as."""

import copy
import io

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from rescaps_plugin.layers import RPRConv2d, RPRNeck, RPRPlugin
from rescaps_plugin.layers.fusion import fuse_layers

ROUTINGS = ('window', 'pointwise')
PLACES = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=3, stride=2, padding=1, bias=False),
    dict(kernel_size=(3, 2), padding='same', dilation=2),
    dict(kernel_size=3, padding=(2, 1), dilation=(2, 1), padding_mode='reflect'),
    dict(kernel_size=1, stride=(1, 2)),
    dict(kernel_size=3, padding=1, groups=2),
    dict(kernel_size=3, padding='valid', groups=4, bias=False),
]


def trained(layer, std=0.2):
    """Return a layer whose parameters are not the initial ones."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(std * torch.randn_like(parameter))
    return layer


def windows(x, layer):
    """Unfold the offsets of all windows, ``[b, c, k, l]``."""
    return F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride).unflatten(1, (x.shape[1], -1))


def literal(layer, x):
    """Compute Liu et al. 2024, eqs. 8-13, literally: unfold windows, multiply poses, then integrate."""
    p, groups = layer.pose_size, layer.groups
    one = torch.eye(p, dtype=x.dtype)
    height = (x.shape[2] + 2 * layer.padding[0] - layer.dilation[0] * (layer.kernel_size[0] - 1) - 1) // layer.stride[0]
    if layer.routing == 'window':
        pose = windows(x, layer).unflatten(1, (-1, p, p))
        pose = torch.einsum('bnimkl,knmj->bnijkl', pose, one + layer.transform).flatten(2, 3)
        by_group = pose.unflatten(1, (groups, -1))
        read = layer.activation_weight.unflatten(1, (groups, -1))  # k g n a d
        activation = torch.einsum('bgndkl,kgnad->bgal', by_group, read).flatten(1, 2)
        activation = torch.sigmoid(activation + layer.activation_bias[:, None])
        mix = layer.mix[:, :, 0, 0].unflatten(0, (groups, -1))
        out = torch.einsum('goa,bgal->bgol', mix, activation.unflatten(1, (groups, -1))).flatten(1, 2)
        pose = by_group.flatten(2, 3)
    else:
        pose = torch.einsum('bnimhw,nmj->bnijhw', x.unflatten(1, (-1, p, p)), one + layer.transform[0]).flatten(2, 3)
        own = layer.activation_weight[:, :, 0].permute(1, 2, 0).unflatten(2, layer.kernel_size)
        size = [d * (k - 1) // 2 for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        activation = [
            F.conv2d(
                pose[:, n], own[n : n + 1], layer.activation_bias[n : n + 1], padding=size, dilation=layer.dilation
            )
            for n in range(layer.capsule_types)
        ]
        activation = windows(torch.sigmoid(torch.cat(activation, 1)), layer).unflatten(1, (groups, -1))
        mix = layer.mix.flatten(2).unflatten(0, (groups, -1))
        out = torch.einsum('goak,bgakl->bgol', mix, activation).flatten(1, 2)
        pose = windows(pose.flatten(1, 2), layer).unflatten(1, (groups, -1))
    weight = layer.weight.flatten(2).unflatten(0, (groups, -1))
    out = out + torch.einsum('gock,bgckl->bgol', weight, pose).flatten(1, 2)
    if layer.bias is not None:
        out = out + layer.bias[:, None]
    return out.unflatten(2, (height + 1, -1))


@pytest.mark.parametrize('routing', ROUTINGS)
@given(
    types=st.integers(1, 3),
    groups=st.integers(1, 2),
    pose_size=st.integers(1, 3),
    kernel_size=st.sampled_from([(1, 1), (3, 3), (3, 1)]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
)
def test_layer_computes_the_equations(routing, types, groups, pose_size, kernel_size, stride, dilation, bias):
    torch.manual_seed(0)
    layer = RPRConv2d(
        groups * types * pose_size**2,
        groups * 3,
        kernel_size,
        stride,
        1,
        dilation,
        groups,
        bias,
        dtype=torch.float64,
        pose_size=pose_size,
        routing=routing,
    )
    trained(layer)
    x = torch.randn(2, layer.in_channels, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(layer(x), literal(layer, x))


@pytest.mark.parametrize('activation', [True, False])
@pytest.mark.parametrize('routing', ROUTINGS)
@pytest.mark.parametrize('place', PLACES, ids=str)
def test_layer_starts_as_the_convolution_and_can_be_trained(place, routing, activation):
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 32, **place).double()
    layer = trained(RPRConv2d(64, 32, **place, routing=routing, activation=activation)).double()
    layer.load_state_dict(conv.state_dict())  # strictly: it is a state of the layer with no residual
    x = torch.randn(2, 64, 7, 8, dtype=torch.float64)
    out = layer(x)
    torch.testing.assert_close(out, conv(x))
    out.square().sum().backward()
    moved = ('weight', 'transform', 'mix') if activation else ('weight', 'transform')
    assert all(layer.get_parameter(name).grad.abs().max() > 1e-3 for name in moved)


@pytest.mark.parametrize('activation', [True, False])
@pytest.mark.parametrize('routing', ROUTINGS)
@pytest.mark.parametrize('place', PLACES, ids=str)
def test_deploy_form(place, routing, activation):
    torch.manual_seed(0)
    layer = trained(RPRConv2d(64, 32, **place, routing=routing, activation=activation), 0.1).eval().double()
    x = torch.randn(2, 64, 7, 8, dtype=torch.float64)
    expected = layer(x)
    torch.testing.assert_close(layer(x[0]), expected[0])
    deployed = timm.utils.reparameterize_model(nn.Sequential(layer))[0]
    torch.testing.assert_close(deployed(x), expected)
    convs = [module for module in deployed.modules() if isinstance(module, nn.Conv2d)]
    if activation:
        assert not list(deployed.parameters(recurse=False)) and len(convs) == 1 + 2
    else:
        plain = nn.Conv2d(64, 32, **place).double()
        plain.load_state_dict(deployed.state_dict())  # the original network can load it
        torch.testing.assert_close(plain(x), expected)
    again = RPRConv2d(64, 32, **place, routing=routing, activation=activation, deploy=True).double()
    again.load_state_dict(deployed.state_dict())
    assert torch.equal(again(x), deployed(x))
    assert 'pose_size=4' in repr(again)
    with pytest.raises(RuntimeError, match='cannot be trained'):
        again.train()


@pytest.mark.parametrize('routing', ROUTINGS)
def test_gradients(routing):
    torch.manual_seed(0)
    layer = trained(RPRConv2d(8, 4, 3, 2, 1, groups=2, pose_size=2, routing=routing, dtype=torch.float64), 0.3)
    names = [name for name, _ in layer.named_parameters()]
    assert set(names) == {'weight', 'bias', 'transform', 'activation_weight', 'activation_bias', 'mix'}
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64, requires_grad=True)

    def call(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *layer.parameters()))


@pytest.mark.parametrize(
    ('channels', 'options'),
    [(3, {}), (24, {}), (64, dict(groups=64)), (64, dict(groups=8)), (64, dict(pose_size=5))],
    ids=str,
)
def test_without_capsules_it_is_a_plain_convolution(channels, options):
    torch.manual_seed(0)
    layer = RPRConv2d(channels, 64, 3, padding=1, **options)
    assert layer.capsule_types == 0 and 'no capsules' in repr(layer)
    conv = nn.Conv2d(channels, 64, 3, padding=1, groups=options.get('groups', 1))
    conv.load_state_dict(layer.state_dict())
    x = torch.randn(1, channels, 6, 6)
    assert torch.equal(layer(x), conv(x))
    assert torch.equal(layer.fuse()(x), conv(x))


def test_initialisers_of_convolutions_leave_the_residual_at_zero():
    layer = RPRConv2d(32, 16, 3)
    for module in layer.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1)
            nn.init.constant_(module.bias, 2)
    assert not layer.transform.any() and not layer.mix.any()
    torch.testing.assert_close(layer(torch.ones(1, 32, 3, 3)), torch.full((1, 16, 1, 1), 32 * 9 + 2.0))
    trained(layer).reset_parameters()
    assert not layer.transform.any() and not layer.mix.any() and layer.activation_weight.any()


def test_own_state_loads_strictly_and_missing_keys_are_named():
    torch.manual_seed(0)
    layer = trained(RPRConv2d(16, 4, 3))
    other = RPRConv2d(16, 4, 3)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(1, 16, 5, 5)
    assert torch.equal(other(x), layer(x))
    state = layer.state_dict()
    del state['mix']
    with pytest.raises(RuntimeError, match='Missing key.*"mix"'):
        other.load_state_dict(state)


@pytest.mark.parametrize('routing', ROUTINGS)
def test_unbatched_maps_of_any_width(routing):
    layer = trained(RPRConv2d(16, 8, 3, padding=1, routing=routing))
    for width in (1, 3):
        x = torch.randn(16, 4, width)
        torch.testing.assert_close(layer(x), layer(x[None])[0])


def test_window_activations_of_groups_stay_in_them():
    """The input of one group does not affect the output of the other."""
    torch.manual_seed(0)
    for routing in ROUTINGS:
        layer = trained(RPRConv2d(64, 8, 3, padding=1, groups=2, routing=routing))
        x = torch.randn(1, 64, 4, 4)
        changed = torch.cat([x[:, :32], torch.randn(1, 32, 4, 4)], 1)
        assert torch.equal(layer(x)[:, :4], layer(changed)[:, :4])
        assert not torch.allclose(layer(x)[:, 4:], layer(changed)[:, 4:])


def test_half_precision_compilation_and_tracing():
    torch.manual_seed(0)
    for routing in ROUTINGS:
        layer = trained(RPRConv2d(32, 8, 3, padding=1, routing=routing), 0.05)
        x = torch.randn(2, 32, 6, 6)
        with torch.autocast('cpu', torch.bfloat16):
            out = layer(x)
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), layer(x), rtol=0.05, atol=0.05)
        torch.testing.assert_close(torch.fx.symbolic_trace(nn.Sequential(layer))(x), layer(x))
        torch.testing.assert_close(torch.compile(layer, backend='eager', fullgraph=True)(x), layer(x))


def test_onnx_of_the_deploy_form_is_convolutions(tmp_path):
    onnx = pytest.importorskip('onnx')
    torch.manual_seed(0)
    layer = trained(RPRConv2d(32, 8, 3, padding=1, routing='pointwise')).fuse()
    file = io.BytesIO()
    torch.onnx.export(layer, (torch.randn(1, 32, 6, 6),), file, dynamo=False)
    nodes = {node.op_type for node in onnx.load_from_string(file.getvalue()).graph.node}
    assert nodes == {'Conv', 'Sigmoid', 'Concat'}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(routing='em'), r"routing must be one of .*, got 'em'"),
        (dict(pose_size=0), 'pose_size must be a positive integer, got 0'),
        (dict(padding_mode='wrap'), 'padding_mode must be one of'),
        (dict(groups=3), 'in_channels must be divisible by groups'),
    ],
    ids=str,
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        RPRConv2d(16, 16, 3, **options)


@pytest.mark.parametrize('routing', ROUTINGS)
@pytest.mark.parametrize('groups', [None, 1, 2])
def test_plugin_starts_as_the_identity(groups, routing):
    torch.manual_seed(0)
    plugin = RPRPlugin(64, groups=groups, routing=routing).double()
    x = torch.randn(2, 64, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(plugin(x), x, rtol=0, atol=0)
    nn.init.kaiming_normal_(plugin.weight)
    assert not torch.allclose(plugin(x), x)
    plugin.init_weights()
    torch.testing.assert_close(plugin(x), x, rtol=0, atol=0)
    plugin(x).square().sum().backward()
    assert plugin.transform.grad.any() and plugin.mix.grad.any()
    out = trained(plugin, 0.1)(x)
    assert out.shape == x.shape and not torch.allclose(out, x)
    torch.testing.assert_close(copy.deepcopy(plugin).fuse()(x), out)


def test_plugin_groups_types_by_themselves():
    assert RPRPlugin(64).groups == 4 and RPRPlugin(64, groups=1).groups == 1
    with pytest.raises(ValueError, match=r'in_channels must be a multiple of pose_size \*\* 2 = 16, got 40'):
        RPRPlugin(40)
    with pytest.raises(ValueError, match='groups must leave multiples of 16 channels, got 8 of 64'):
        RPRPlugin(64, groups=8)
    with pytest.raises(ValueError, match='groups must be a positive'):
        RPRPlugin(64, groups=0)
    with pytest.raises(ValueError, match='kernel_size must be odd, got 2'):
        RPRPlugin(64, 2)


@pytest.mark.parametrize('options', [{}, dict(routing='pointwise'), dict(activation=False)], ids=str)
def test_deployed_plugin_has_nothing_to_initialise(options):
    neck = RPRNeck([32, 64], deploy=True, **options)
    before = copy.deepcopy(neck.state_dict())
    neck.init_weights()
    torch.testing.assert_close(dict(neck.state_dict()), dict(before))


def test_neck():
    torch.manual_seed(0)
    features = (torch.randn(1, 32, 8, 8, dtype=torch.float64), torch.randn(1, 64, 4, 4, dtype=torch.float64))
    neck = RPRNeck([32, 64]).double()
    assert neck.out_channels == [32, 64]
    for out, x in zip(neck(features), features, strict=True):
        torch.testing.assert_close(out, x, rtol=0, atol=0)
    nn.init.normal_(neck[1].weight)
    neck.init_weights()
    assert torch.equal(neck(features)[1], features[1])

    neck = trained(RPRNeck([32, 64], 48, routing='pointwise'), 0.05).double()
    state = copy.deepcopy(neck.state_dict())
    neck.init_weights()
    assert all(torch.equal(value, state[name]) for name, value in neck.state_dict().items())
    outs = neck(list(features))
    assert isinstance(outs, tuple) and [out.shape[1:] for out in outs] == [(48, 8, 8), (48, 4, 4)]
    for out, x in zip(fuse_layers(neck)(features), outs, strict=True):
        torch.testing.assert_close(out, x)
    assert RPRNeck(32, (16,)).double()(features[:1])[0].shape == (1, 16, 8, 8)


def test_neck_errors():
    with pytest.raises(ValueError, match='out_channels must be one for each of 2 levels, got'):
        RPRNeck([32, 64], [16])
    with pytest.raises(ValueError, match='kernel_size must be odd, got 4'):
        RPRNeck([32], 16, 4)
    with pytest.raises(ValueError, match='RPRNeck was built for 2 levels, got 1'):
        RPRNeck([32, 64])((torch.zeros(1, 32, 4, 4),))
