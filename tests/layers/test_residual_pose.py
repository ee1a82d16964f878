"""Residual pose routing: comparison with the reference implementation and the deploy form, and invalid arguments."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rescaps_plugin.layers import (
    PrimaryCaps,
    ResidualPoseBlock,
    ResidualPoseBlocks,
    ResidualPoseClassifier,
    ResidualPoseRouting,
)
from rescaps_plugin.layers.fusion import StridedConv2d, fuse_layers
from rescaps_plugin.models.prepack import prepack
from tests.layers.literal import LiteralPointwise, LiteralWindow


def randomise(module, seed=0):
    """Set every parameter and statistic to a random value, so that no initial value hides an error."""
    generator = torch.Generator().manual_seed(seed)
    for value in module.parameters():
        value.data.normal_(std=0.5, generator=generator)
    for name, value in module.named_buffers():
        if name.endswith('running_var'):
            value.uniform_(0.5, 2, generator=generator)
        elif name.endswith('running_mean'):
            value.normal_(std=0.5, generator=generator)


def released(layer, entries, types):
    """Rearrange the layer's parameters, or their gradients, into the shapes of the reference implementation."""
    result = {'weights': entries['weight'].flatten(0, 1)[None]}
    activation = entries['activation_weight']
    if layer.routing == 'window':
        result['conv1.conv1.weight'] = activation.permute(2, 0, 1, 3).reshape(activation.shape[2], -1, 1, 1)
    else:
        side = layer.kernel_size
        # [k, n, 1, d] -> [n, d, kh, kw]
        result['conv1.conv1.weight'] = activation.permute(1, 2, 3, 0).reshape(types, -1, side, side)
    result['conv1.bn.weight'], result['conv1.bn.bias'] = (
        entries['activation_norm.weight'],
        entries['activation_norm.bias'],
    )
    if 'pose_weight' in entries:
        pose = entries['pose_weight']
        outputs = pose.shape[2]
        if layer.routing == 'window':
            pose = pose.permute(2, 0, 1, 3).reshape(outputs, -1, 1, 1)
        else:
            pose = pose.permute(2, 1, 3, 0).reshape(outputs, -1, layer.kernel_size, layer.kernel_size)
        result['conv2.conv1.weight'] = torch.cat([pose, entries['mix.weight']], dim=1)
        result['conv2.bn.weight'], result['conv2.bn.bias'] = entries['norm.weight'], entries['norm.bias']
    return result


def assert_equal_outputs_and_gradients(layer, literal, x):
    layer, literal = layer.double(), literal.double()
    randomise(layer)
    types = layer.capsule_types
    parameters = {name: value.detach() for name, value in layer.named_parameters()}
    values = released(layer, parameters, types)
    assert set(values) == set(dict(literal.named_parameters()))
    literal.load_state_dict(values, strict=False)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(value) for module, value in zip((layer, literal), inputs, strict=True)]
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
    direction = torch.randn_like(outputs[0])
    for output in outputs:
        (output * direction).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-9, atol=1e-9)
    gradients = released(layer, {name: value.grad for name, value in layer.named_parameters()}, types)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-9, atol=1e-9, msg=f'gradient of {name}')


shapes = st.fixed_dictionaries(
    {
        'in_types': st.integers(1, 3),
        'out_types': st.integers(1, 3),
        'kernel_size': st.sampled_from([1, 2, 3, 5]),
        'stride': st.integers(1, 3),
        'pose_size': st.integers(1, 4),
        'residual': st.sampled_from(['identity', 'ones', 'none']),
    }
)


sizes = dict(height=st.integers(3, 7), width=st.integers(3, 7), padding=st.none() | st.integers(0, 2))


def assert_equals_literal_form(routing, literal_class, shape, height, width, padding):
    padding = shape['kernel_size'] // 2 if shape['kernel_size'] > 3 else padding
    layer = ResidualPoseRouting(**shape, padding=padding, routing=routing)
    literal = literal_class(
        shape['in_types'],
        shape['out_types'],
        shape['kernel_size'],
        shape['stride'],
        padding,
        shape['pose_size'],
        shape['residual'],
    )
    x = torch.randn(2, shape['in_types'] * (shape['pose_size'] ** 2 + 1), height, width, dtype=torch.float64)
    assert_equal_outputs_and_gradients(layer, literal, x)


@settings(max_examples=25)
@given(shape=shapes, **sizes)
def test_window_routing_equals_literal_form(**drawn):
    assert_equals_literal_form('window', LiteralWindow, **drawn)


@settings(max_examples=25)
@given(shape=shapes.filter(lambda shape: shape['kernel_size'] % 2), **sizes)
def test_pointwise_routing_equals_literal_form(**drawn):
    assert_equals_literal_form('pointwise', LiteralPointwise, **drawn)


@settings(max_examples=10)
@given(classes=st.integers(2, 6), pose=st.integers(1, 4), residual=st.sampled_from(['identity', 'ones']))
def test_classifier_equals_literal_form(classes, pose, residual):
    layer = ResidualPoseClassifier(classes, pose, residual=residual)
    literal = LiteralWindow(classes, kernel=1, pose=pose, residual=residual, integrate=False)
    assert_equal_outputs_and_gradients(layer, literal, torch.randn(3, classes * pose**2, 1, 1, dtype=torch.float64))


def test_pointwise_classifier_reads_each_class_from_its_own_pose():
    layer = ResidualPoseClassifier(5, routing='pointwise').eval()
    x = torch.randn(2, 5 * 16, 1, 1)
    changed = x.clone()
    changed[:, 2 * 16 : 3 * 16] += 1
    assert ((layer(x) != layer(changed)).any(dim=0) == torch.tensor([False, False, True, False, False])).all()
    assert layer.activation_weight.numel() == 5 * 16


def test_gradients_numerically():
    layer = ResidualPoseRouting(2, kernel_size=3, pose_size=2).double()
    randomise(layer)
    layer.eval()
    x = torch.randn(1, 8, 3, 4, dtype=torch.float64, requires_grad=True)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters))


def test_identity_residual_without_transform_keeps_poses():
    """With w = 0 the transform is the identity, with residual='none' it is zero."""
    keep, drop = (ResidualPoseRouting(2, residual=residual, transform_std=0.0) for residual in ('identity', 'none'))
    torch.testing.assert_close(keep._transform(), torch.eye(16).expand(9, 2, 16, 16))
    assert not drop._transform().any()


def test_pose_only_gives_the_poses_of_the_full_map():
    full = ResidualPoseRouting(3)
    poses = ResidualPoseRouting(3, pose_only=True)
    state = full.state_dict()
    for name, value in poses.state_dict().items():
        state[name] = (
            state[name][:, :, : value.shape[2]]
            if name == 'pose_weight'
            else state[name][: len(value)]
            if value.dim()
            else value
        )
    poses.load_state_dict(state)
    x = torch.randn(2, 48, 5, 6)
    torch.testing.assert_close(poses(x), full(x)[:, :48])


def test_activations_of_the_input_are_ignored():
    layer = ResidualPoseRouting(3).eval()
    x = torch.randn(2, 3 * 17, 5, 5)
    torch.testing.assert_close(layer(x), layer(x[:, :48]))


def train_a_little(module, x, steps=3):
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        module(x).square().mean().backward()
        optimiser.step()


LAYERS = {
    'window': lambda: ResidualPoseRouting(3, 2, stride=2, residual='ones'),
    'pointwise': lambda: ResidualPoseRouting(3, 2, stride=2, routing='pointwise'),
    'primary': lambda: PrimaryCaps(48, 4, stride=2, activation=True, norm=True),
    'padded primary': lambda: PrimaryCaps(48, 4, kernel_size=3, padding=1, norm=True),
    'block': lambda: ResidualPoseBlock(48, 3, norm=True),
}


@pytest.mark.parametrize('name', LAYERS)
def test_deploy_form_equals_training_form_after_training(name):
    torch.manual_seed(0)
    x = torch.randn(4, 48, 7, 6, dtype=torch.float64) + 1
    layer = LAYERS[name]().double()
    train_a_little(layer, x)
    expected = layer.eval()(x)
    fused = copy.deepcopy(layer)
    for module in [fused, *fused.modules()]:
        if hasattr(module, 'fuse'):
            module.fuse()
    torch.testing.assert_close(fused(x), expected)
    kept = [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    # Folding a normalisation into a zero-padded convolution would not be exact at the border.
    assert len(kept) == (1 if name == 'padded primary' else 0)


def test_deploy_form_is_plain_convolutions_and_refuses_training():
    layer = ResidualPoseRouting(3).eval().double()
    x = torch.randn(1, 48, 4, 4, dtype=torch.float64)
    expected = layer(x)
    assert layer.fuse() is layer and layer.fuse() is layer
    torch.testing.assert_close(layer(x), expected)
    assert {type(module) for module in layer.children()} == {StridedConv2d}
    assert {name for name, _ in layer.named_parameters()} == {
        'activation_conv.weight',
        'activation_conv.bias',
        'pose_conv.weight',
        'pose_conv.bias',
        'mix.weight',
    }
    layer.eval()
    with pytest.raises(RuntimeError, match='deploy form.*cannot be trained'):
        layer.train()


def test_bfloat16_autocast_is_close_to_float32():
    torch.manual_seed(0)
    layer = ResidualPoseRouting(4).eval()
    x = torch.randn(2, 64, 8, 8)
    expected = layer(x)
    with torch.autocast('cpu', torch.bfloat16):
        output = layer(x)
    assert (output - expected).abs().max() < 0.03 * expected.abs().max()


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_types=2, routing='windows'), r"routing must be one of .*'window'.*'windows'"),
        (dict(in_types=2, residual='one'), r"residual must be one of .*'identity'.*'one'"),
        (dict(in_types=0), 'capsule_types must be a positive integer, got 0'),
        (dict(in_types=2, out_types=-1), 'out_types must be a positive integer, got -1'),
        (dict(in_types=2, kernel_size=2.5), 'kernel_size must be a positive integer, got 2.5'),
        (dict(in_types=2, stride=0), 'stride must be a positive integer, got 0'),
        (dict(in_types=2, kernel_size=2, routing='pointwise'), 'kernel_size must be odd'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualPoseRouting(**arguments)


def test_primary_capsules_concatenate_poses_and_activations():
    layer = PrimaryCaps(6, 3, activation=True)
    x = torch.randn(2, 6, 4, 5)
    output = layer(x)
    torch.testing.assert_close(output[:, :48], layer.pose(x))
    torch.testing.assert_close(output[:, 48:], torch.sigmoid(layer.activation(x)))
    assert PrimaryCaps(6, 3)(x).shape == (2, 48, 4, 5)


def make_blocks(strides, routing, **block):
    torch.manual_seed(0)
    blocks, channels = [], 20
    for index, stride in enumerate(strides):
        arguments = dict(primary_stride=stride, norm=index > 0, routing=routing, **block)
        blocks.append(ResidualPoseBlock(channels, 2 + index, **arguments))
        channels = blocks[-1].out_channels
    blocks = ResidualPoseBlocks(*blocks).double()
    train_a_little(blocks, torch.randn(4, 20, 19, 14, dtype=torch.float64) + 1)
    return blocks.eval()


def record_sizes(blocks, x):
    """Return the sizes of the outputs of the convolutions, without hooks on the modules."""
    sizes = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            output = function(*args, **(kwargs or {}))
            if function is torch.ops.aten.convolution.default:
                sizes.append(tuple(output.shape[2:]))
            return output

    with Sizes(), torch.no_grad():
        blocks(x)
    return sizes


@pytest.mark.parametrize('form', ['training', 'deploy', 'prepacked'])
@pytest.mark.parametrize('routing', ['window', 'pointwise'])
@pytest.mark.parametrize(
    ('strides', 'block'),
    [((2, 2, 2), {}), ((1, 3, 1), dict(num_layers=1)), ((2, 2), dict(stride=2, kernel_size=5)), ((2,), {})],
)
def test_blocks_compute_the_positions_that_are_read(strides, block, routing, form):
    blocks = make_blocks(strides, routing, **block)
    if form != 'training':
        fuse_layers(blocks)
    x = torch.randn(2, 20, 19, 14, dtype=torch.float64)
    expected = nn.Sequential(*blocks)(x)
    if form == 'prepacked':
        blocks, x, expected = prepack(blocks.float()), x.float(), expected.float()
    torch.testing.assert_close(blocks(x), expected)


@pytest.mark.parametrize('reader', ['hook', 'pre-hook', 'fx', 'normalisation'])
def test_maps_that_others_read_are_computed_in_full(reader):
    blocks = make_blocks((2, 2), 'window')
    x = torch.randn(2, 20, 19, 14, dtype=torch.float64)
    # Primary capsules, then activations, poses and the mix of activations of two layers; in each of the blocks.
    last = [(5, 4)] * 7
    assert record_sizes(blocks, x) == [(10, 7)] * 4 + [(5, 4)] * 3 + last
    if reader == 'fx':
        blocks = torch.fx.symbolic_trace(blocks)
    elif reader == 'hook':
        blocks[0].routing2.register_forward_hook(lambda *call: None)
    elif reader == 'normalisation':
        blocks[1].primary.norm.train()
    else:
        blocks[1].primary.register_forward_pre_hook(lambda *call: None)
    assert record_sizes(blocks, x) == [(10, 7)] * 7 + last


def test_blocks_normalise_over_all_positions_in_training():
    blocks = make_blocks((2, 2), 'window').train()
    x = torch.randn(2, 20, 19, 14, dtype=torch.float64)
    expected = copy.deepcopy(nn.Sequential(*blocks)).train()
    torch.testing.assert_close(blocks(x), expected(x))
    torch.testing.assert_close(blocks.state_dict(), expected.state_dict())
    assert blocks[1].primary.norm.running_mean.abs().max() > 0
