"""Every layer and routing on the device against float64 on the CPU: precisions, memory formats, compiled, deployed.

How much rounding may change a result is measured, not guessed: inputs and parameters are moved by one unit roundoff of
the format, in float64. Every operation on the way rounds about as much once more, so a few times that change, plus the
rounding of the result itself, bounds the norm of the error whatever is summed and however it cancels.
"""

import copy
import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from rescaps_plugin.layers import (
    DynamicRouting,
    EMRouting,
    PrimaryCaps,
    PrimaryVectorCaps,
    ResidualPoseBlock,
    ResidualPoseBlocks,
    ResidualPoseClassifier,
    ResidualPoseRouting,
    RPRConv2d,
    RPRNeck,
    RPRPlugin,
    SelfRouting,
)

pytestmark = pytest.mark.cuda

# A layer is a chain of some ten operations, forward and backward. In float32, sums of hundreds of terms round too; sums
# of products in half precision are float32's.
OPERATIONS = {torch.float32: 64, torch.float16: 16, torch.bfloat16: 16}
BATCH = 8


class Levels(nn.Module):
    """A neck applied to a map and to its half-size version, concatenated into one map."""

    def __init__(self, neck):
        super().__init__()
        self.neck = neck

    def forward(self, x):
        return sum(level.mean(dim=(2, 3), keepdim=True) for level in self.neck((x, x[:, :, ::2, ::2])))


# Every layer with the channels and sides of its input. Capsule maps hold poses, which are any numbers, and activations.
LAYERS = {
    'PrimaryCaps': (lambda: PrimaryCaps(24, 4, kernel_size=3, padding=1, activation=True), 24, 9),
    'PrimaryCaps, norm': (lambda: PrimaryCaps(24, 4, stride=2, activation=True, norm=True), 24, 9),
    'PrimaryVectorCaps': (lambda: PrimaryVectorCaps(24, 4, kernel_size=3), 24, 9),
    'ResidualPoseRouting, window': (lambda: ResidualPoseRouting(3, 2), 3 * 17, 8),
    'ResidualPoseRouting, pointwise': (lambda: ResidualPoseRouting(3, stride=2, routing='pointwise'), 3 * 17, 8),
    'ResidualPoseClassifier, window': (lambda: ResidualPoseClassifier(10), 160, 1),
    'ResidualPoseClassifier, pointwise': (lambda: ResidualPoseClassifier(10, routing='pointwise'), 160, 1),
    'ResidualPoseBlock': (lambda: ResidualPoseBlock(24, 3, norm=True), 24, 12),
    'ResidualPoseBlocks': (
        lambda: ResidualPoseBlocks(ResidualPoseBlock(24, 3), ResidualPoseBlock(3 * 17, 4, norm=True)),
        24,
        12,
    ),
    'EMRouting': (lambda: EMRouting(3, 4, stride=2), 3 * 17, 8),
    'EMRouting, classes': (lambda: EMRouting(3, 5, (4, 4), padding=0, coordinate_addition=True), 3 * 17, 4),
    'DynamicRouting': (lambda: DynamicRouting(3, 4, stride=2), 3 * 17, 8),
    'SelfRouting': (lambda: SelfRouting(3, 4, stride=2), 3 * 17, 8),
    'RPRConv2d, window': (lambda: RPRConv2d(32, 24, 3, padding=1), 32, 8),
    'RPRConv2d, pointwise': (lambda: RPRConv2d(32, 24, 3, stride=2, padding=1, routing='pointwise'), 32, 8),
    'RPRConv2d, groups': (lambda: RPRConv2d(32, 24, 3, padding=1, groups=2), 32, 8),
    'RPRConv2d, linear': (lambda: RPRConv2d(32, 24, 3, padding=1, activation=False), 32, 8),
    'RPRPlugin': (lambda: RPRPlugin(32), 32, 8),
    'RPRNeck': (lambda: Levels(RPRNeck([32, 32], 16)), 32, 8),
}
ROUTED_IN_FLOAT32 = [name for name in LAYERS if name.startswith(('EM', 'Dynamic', 'Self'))]
DEPLOYABLE = [name for name in LAYERS if name.startswith(('Primary', 'Residual', 'RPR')) and 'Vector' not in name]


def build(name):
    """Build a layer, with all parameters different from zero, and an input, both in float64 on the CPU."""
    builder, channels, side = LAYERS[name]
    layer = builder().double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.randn(BATCH, channels, side, side, dtype=torch.float64)
    if channels == 3 * 17:
        x[:, -3:] = torch.rand_like(x[:, -3:])
    # Rounded to float32, so that conversion is exact.
    layer.load_state_dict({key: value.float().double() for key, value in layer.state_dict().items()})
    return layer, x.float().double()


def outcome(layer, x, context=None, relative=0.0):
    """The output of a layer and the gradients of its input and parameters, in float64 on the CPU, by name.

    The outputs are summed with random weights, which are moved by ``relative``, and the sum is differentiated.
    """
    x = x.detach().requires_grad_()
    layer.zero_grad()
    with context or nullcontext():
        output = layer(x)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    output.backward(moved(weights, relative).to(output))
    gradients = {name: parameter.grad for name, parameter in layer.named_parameters()}
    tensors = dict(output=output.detach(), input=x.grad, **gradients)
    # Copies: a layer that is moved or cast takes its gradients with it.
    return {
        name: torch.zeros(()) if value is None else value.to('cpu', torch.float64, copy=True)
        for name, value in tensors.items()
    }


def unit_roundoff(dtype):
    return torch.finfo(dtype).eps / 2


def moved(tensor, relative):
    """Change every number by the fraction ``relative``, up or down."""
    sign = torch.randint(2, tensor.shape).double() * 2 - 1
    return tensor * (1 + relative * sign)


def rounding(layer, x, dtype):
    """Return the outcome in float64, and the change of each part if inputs and parameters are rounded to ``dtype``."""
    expected = outcome(layer, x)
    change = dict.fromkeys(expected, 0.0)
    relative = unit_roundoff(dtype)
    for _ in range(2):
        other = copy.deepcopy(layer)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.copy_(moved(parameter, relative))
        for name, value in outcome(other, moved(x, relative), relative=relative).items():
            change[name] = max(change[name], (value - expected[name]).norm().item())
    return expected, {name: change[name] + relative * value.norm().item() for name, value in expected.items()}


def assert_rounded(actual, expected, change, operations=OPERATIONS[torch.float32]):
    for name, value in expected.items():
        error = (actual[name] - value).norm().item()
        # A gradient that cancels to zero (a bias before a normalisation) consists only of the rounding errors of its
        # terms.
        terms = math.sqrt(value.numel()) * max(change.values()) / 8
        bound = operations * max(change[name], terms if value.norm() < 1e-9 else 0.0)
        assert error <= bound, f'{name}: error {error:.3g}, bound {bound:.3g}, of {value.norm():.3g}'


@pytest.mark.parametrize('name', LAYERS)
def test_float32(device, name):
    layer, x = build(name)
    expected, change = rounding(layer, x, torch.float32)
    assert_rounded(outcome(layer.to(device, torch.float32), x.to(device, torch.float32)), expected, change)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', LAYERS)
def test_autocast(device, name, dtype):
    layer, x = build(name)
    expected, change = rounding(layer, x, dtype)
    layer, x = layer.to(device, torch.float32), x.to(device, torch.float32)
    actual = outcome(layer, x, torch.autocast(device.type, dtype))
    assert all(value.isfinite().all() for value in actual.values())
    assert_rounded(actual, expected, change, OPERATIONS[dtype])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', ROUTED_IN_FLOAT32)
def test_routing_by_votes_stays_in_float32_under_autocast(device, name, dtype):
    layer, x = build(name)
    expected, change = rounding(layer, x, torch.float32)
    layer, x = layer.to(device, torch.float32), x.to(device, torch.float32)
    actual = outcome(layer, x, torch.autocast(device.type, dtype))
    assert_rounded(actual, expected, change)


@pytest.mark.parametrize('name', [name for name in LAYERS if name.startswith('EM')])
def test_tf32_rounds_nothing_of_em_routing(device, name):
    layer, x = build(name)
    expected, change = rounding(layer, x, torch.float32)
    layer, x = layer.to(device, torch.float32), x.to(device, torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = True
    assert_rounded(outcome(layer, x), expected, change)
    assert torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize('name', LAYERS)
def test_channels_last(device, name):
    layer, x = build(name)
    expected, change = rounding(layer, x, torch.float32)
    layer = layer.to(device, torch.float32, memory_format=torch.channels_last)
    x = x.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
    assert_rounded(outcome(layer, x), expected, change)
    output = layer(x)
    if output.dim() == 4 and output.shape[2] > 1 and 'Vector' not in name:
        assert output.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name', LAYERS)
def test_compiled(device, name):
    layer, x = build(name)
    expected, change = rounding(layer, x, torch.float32)
    layer = layer.to(device, torch.float32)
    torch.compiler.reset()
    layer.compile(backend='inductor' if device.type == 'cuda' else 'aot_eager')
    assert_rounded(outcome(layer, x.to(device, torch.float32)), expected, change)


@pytest.mark.parametrize('name', DEPLOYABLE)
def test_deploy_form(device, name):
    layer, x = build(name)
    for _ in range(3):
        layer(x)
    layer.eval()
    expected, change = rounding(layer, x, torch.float32)
    deployed = layer.to(device, torch.float32)
    for module in [*deployed.modules()]:
        if hasattr(module, 'fuse'):
            module.fuse()
    with torch.no_grad():
        output = deployed(x.to(device, torch.float32)).double().cpu()
    # Folding adds a few operations.
    assert_rounded(dict(output=output), dict(output=expected['output']), change, 2 * OPERATIONS[torch.float32])
