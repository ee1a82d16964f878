"""EM routing: comparison with the reference implementation and hand-computed cases, and extreme inputs."""

import math
import threading
import time
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from rescaps_plugin.layers import EMRouting, create_routing, precision
from tests.layers.literal_routing import literal_em
from tests.layers.routing_checks import (
    assert_equals_oracle,
    assert_finite_at_extremes,
    assert_full_precision_under_autocast,
    assert_keeps_memory_format,
    capsule_map,
    saved_bytes,
    shapes,
    votes_bytes,
)


@settings(max_examples=8)
@given(arguments=shapes, pose_size=st.integers(1, 3), iterations=st.integers(1, 3))
def test_equals_literal_form(arguments, pose_size, iterations):
    # A high inverse temperature gives activations as much influence as distances.
    layer = EMRouting(**arguments, pose_size=pose_size, iterations=iterations, inverse_temperature=2.0)
    assert_equals_oracle(layer, literal_em, capsule_map(layer, 3, 4))


def test_class_capsules_equal_literal_form():
    layer = EMRouting(2, 3, (4, 2), padding=0, pose_size=3, coordinate_addition=True, inverse_temperature=2.0)
    assert_equals_oracle(layer, literal_em, capsule_map(layer, 4, 2))
    assert layer.weight.shape[0] == 1


def five_votes(votes_of_a, votes_of_b, iterations):
    """Route five active children with the given scalar votes for two parents; return means and activations."""
    layer = EMRouting(1, 2, (1, 5), padding=0, pose_size=1, iterations=iterations).double()
    votes = torch.tensor([votes_of_a, votes_of_b], dtype=torch.float64)
    layer.weight.data = votes.t().reshape(5, 1, 1, 2)
    mean_a, mean_b, active_a, active_b = layer(torch.ones(1, 2, 1, 5, dtype=torch.float64)).flatten().tolist()
    return (mean_a, mean_b), (active_a, active_b)


def test_one_iteration_by_hand():
    means, activations = five_votes([1, 1, 1, 1, 1], [-2, -1, 0, 1, 2], iterations=1)
    assert means == pytest.approx((1, 0))
    # Each parent holds half of five children; standard deviations sqrt(0 + 1e-5) and sqrt(2 + 1e-5).
    costs = (2.5 * math.log(math.sqrt(1e-5)), 2.5 * math.log(math.sqrt(2.00001)))
    expected = [1 / (1 + math.exp(0.01 * 0.05 * cost)) for cost in costs]
    assert activations == pytest.approx(expected, rel=1e-12)


def test_votes_that_agree_win():
    # Children 0 to 2 agree on parent a, 3 and 4 on parent b; their votes for the other parent scatter.
    means, activations = five_votes([1, 1.01, 0.99, 4, -7], [6, -9, 3, -2, -2.01], iterations=7)
    assert means == pytest.approx((1, -2.005), abs=1e-3)
    scattered = five_votes([1, 5, -3, 4, -7], [6, -9, 3, -2, -2.01], iterations=7)[1]
    assert activations[0] > scattered[0]
    # Before routing, the mean of a's votes is far from the three that agree.
    assert abs(five_votes([1, 1.01, 0.99, 4, -7], [6, -9, 3, -2, -2.01], iterations=1)[0][0]) < 0.1


def test_children_without_activation_are_ignored():
    layer = EMRouting(3, 2).double()
    x = capsule_map(layer, 4, 4)
    x[:, -1:] = 0
    moved = x.clone()
    moved[:, 32:48] += 5
    torch.testing.assert_close(layer(moved), layer(x))


def test_poses_far_from_zero_lose_no_more_precision_than_literal_form():
    layer = EMRouting(2, 2)
    layer.weight.data = 1 + 0.01 * layer.weight.data
    x = capsule_map(layer, 4, 3, batch=1, dtype=torch.float32)
    x[:, :32] = 100 + 0.1 * x[:, :32]
    with torch.no_grad():
        single, literal = layer(x), literal_em(layer, x)
        exact = literal_em(layer.double(), x.double())
    assert (single - exact).abs().mean() < 2 * (literal - exact).abs().mean() < 0.1


class TF32(TorchDispatchMode):
    """Emulation of matrix products in TF32 on a GPU: factors are rounded to ten bits of mantissa."""

    @staticmethod
    def round(x):
        return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name().startswith('rescaps::'):
            with self:
                return precision._matmul_without_tf32._init_fn(*args)
        if (
            function.overloadpacket.__name__ in ('mm', 'bmm', 'baddbmm', 'addmm')
            and torch.backends.cuda.matmul.allow_tf32
        ):
            args = [*args[:-2], *(self.round(x) if x.dtype == torch.float32 else x for x in args[-2:])]
        return function(*args, **(kwargs or {}))


@pytest.fixture
def allowed():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def tf32(allowed, monkeypatch):
    """Matrices on a CPU in place of those on a GPU."""
    monkeypatch.setattr(precision, '_is_rounded', lambda x: precision._tf32_is_allowed())


def outcome(layer, x, context):
    x = x.clone().requires_grad_()
    layer.zero_grad()
    with context:
        output = layer(x)
        output.square().sum().backward()
    return [value.double() for value in (output.detach(), x.grad, layer.weight.grad, layer.beta_u.grad)]


def test_tf32_rounds_nothing(tf32):
    layer = EMRouting(3, 4, inverse_temperature=1.0)
    x = capsule_map(layer, 5, 4, dtype=torch.float32)
    left, right = torch.rand(2, 3, 4), torch.rand(2, 4, 5)
    with TF32():
        # The emulation does round other products.
        assert not torch.equal(left @ right, precision.matmul_full_precision(left, right))
    single = outcome(layer, x, nullcontext())
    rounded = outcome(layer, x, TF32())
    exact = outcome(layer.double(), x.double(), nullcontext())
    for one, other, reference in zip(single, rounded, exact, strict=True):
        assert (other - reference).norm() <= 2 * (one - reference).norm()
    assert torch.backends.cuda.matmul.allow_tf32


def test_compiled_without_tf32(tf32):
    layer = EMRouting(2, 2, iterations=2)
    x = capsule_map(layer, 4, 3, dtype=torch.float32)
    compiled = torch.compile(layer, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


def test_product_without_tf32_has_the_gradients_of_a_product(tf32):
    left = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    right = torch.rand(2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(precision.matmul_full_precision, (left, right))


@pytest.mark.parametrize('name', ['highest', 'high', 'medium'])
def test_settings_are_restored(name):
    torch.set_float32_matmul_precision(name)
    try:
        with precision.without_tf32():
            assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.get_float32_matmul_precision() == name
        assert torch.backends.cuda.matmul.allow_tf32 == (name != 'highest')
    finally:
        torch.set_float32_matmul_precision('highest')


def test_settings_are_restored_by_overlapping_threads(allowed):
    first_has_started, first_has_ended = threading.Event(), threading.Event()
    seen = []

    def first():
        with precision.without_tf32():
            first_has_started.set()
            time.sleep(0.1)
        first_has_ended.set()

    def second():
        first_has_started.wait()
        seen.append(precision._tf32_is_allowed())  # as nobody had turned it off
        with precision.without_tf32():
            first_has_ended.wait()

    threads = [threading.Thread(target=target) for target in (first, second, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True, True]
    assert torch.backends.cuda.matmul.allow_tf32


def test_settings_are_untouched_on_a_cpu(allowed, monkeypatch):
    monkeypatch.delattr(precision, 'without_tf32')
    layer = EMRouting(2, 2)
    layer(capsule_map(layer, 4, 3, dtype=torch.float32)).sum().backward()
    assert layer.weight.grad.any()


def test_extremes_and_precision():
    assert_finite_at_extremes(EMRouting(2, 3))
    assert_full_precision_under_autocast(EMRouting(2, 3, stride=2))


def test_compiled_layer_equals_eager():
    layer = EMRouting(2, 2, iterations=2)
    x = capsule_map(layer, 4, 3, dtype=torch.float32)
    compiled = torch.compile(layer, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


def test_iterations_save_no_votes():
    x = torch.rand(2, 8 * 17, 8, 8, requires_grad=True)
    memory = [saved_bytes(EMRouting(8, 8, iterations=iterations), x) for iterations in (1, 3)]
    votes = votes_bytes(EMRouting(8, 8), x)
    assert memory[0] > 2 * votes  # votes and their squares
    assert memory[1] < 3.5 * votes


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_types=0), 'in_types must be a positive integer, got 0'),
        (dict(in_types=2, kernel_size=(3, 0)), r'kernel_size must be .*\(3, 0\)'),
        (dict(in_types=2, padding=-1), 'padding must be .* -1'),
        (dict(in_types=2, iterations=0), 'iterations must be a positive integer, got 0'),
        (dict(in_types=2, pose_size=1, coordinate_addition=True), 'pose_size must be at least 2'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        EMRouting(**arguments)


def test_map_without_activations_is_refused():
    with pytest.raises(AssertionError, match=r'EMRouting takes 34 channels = 2 types x \(16 .*, got 32'):
        EMRouting(2)(torch.zeros(1, 32, 3, 3))


def test_routing_by_name():
    x = torch.rand(2, 3 * 17, 6, 4)
    for name in ('rpr', 'em', 'dynamic', 'self'):
        layer = create_routing(name, 3, 2, kernel_size=3, stride=2, padding=1, pose_size=4)
        assert layer(x).shape == (2, layer.out_channels, 3, 2) == (2, 34, 3, 2)
    with pytest.raises(ValueError, match="routing must be one of .*'em'.*got 'EM'"):
        create_routing('EM', 3)


def test_memory_format_is_kept():
    assert_keeps_memory_format(EMRouting(2, 3))
