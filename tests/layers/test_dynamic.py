"""Dynamic routing: comparison with the reference implementation, and extreme inputs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rescaps_plugin.layers import DynamicRouting, PrimaryVectorCaps
from rescaps_plugin.layers.dynamic import squash
from tests.layers.literal_routing import literal_dynamic
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
@given(arguments=shapes, in_dim=st.integers(1, 4), out_dim=st.integers(2, 5), iterations=st.integers(1, 3))
def test_equals_literal_form(arguments, in_dim, out_dim, iterations):
    layer = DynamicRouting(**arguments, in_dim=in_dim, out_dim=out_dim, iterations=iterations)
    assert_equals_oracle(layer, literal_dynamic, capsule_map(layer, 3, 4))


def test_matrix_poses_are_read_as_vectors():
    layer = DynamicRouting(2, 2, kernel_size=2, padding=0, pose_size=2)
    assert layer.in_dim == layer.out_dim == 4
    assert_equals_oracle(layer, literal_dynamic, capsule_map(layer, 3, 2))


def test_agreement_pulls_children_together():
    # Three children agree on parent 0 and vote apart for parent 1: routing lengthens parent 0 alone.
    weight = torch.tensor([[[1, 0], [1, 0]], [[1, 0], [-1, 0]], [[1, 0], [0, 0.1]]])
    lengths = []
    for iterations in (1, 5):
        layer = DynamicRouting(1, 2, (1, 3), padding=0, in_dim=1, out_dim=2, iterations=iterations)
        layer.weight.data = weight.reshape(3, 1, 1, 4)
        lengths.append(layer(torch.ones(1, 1, 1, 3)).flatten()[-2:])
    # Couplings of a half: |s| = 1.5 and 0.05, squashed.
    torch.testing.assert_close(lengths[0], torch.tensor([1.5**2 / 3.25, 0.05**2 / 1.0025]))
    assert lengths[1][0] > lengths[0][0] + 0.1 and lengths[1][1] < 0.01


def test_squash_of_known_vectors_and_zero():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    vector, length = squash(x)
    torch.testing.assert_close(vector, torch.tensor([[3.0, 4.0], [0.0, 0.0]]) * (25 / 26 / 5))
    torch.testing.assert_close(length, torch.tensor([25 / 26, 0.0]))
    (vector.sum() + length.sum()).backward()
    assert x.grad.isfinite().all() and x.grad[0].any()
    tall, _ = squash(x.detach().t(), dim=0)
    torch.testing.assert_close(tall.t(), vector.detach())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_squash_of_long_vectors_in_half_precision(dtype):
    x = torch.tensor([[3e4, 4e4], [0.3, 0.4]], dtype=dtype)
    vector, length = squash(x)
    assert vector.dtype == length.dtype == dtype
    torch.testing.assert_close(length, torch.tensor([1, 0.2], dtype=dtype))
    torch.testing.assert_close(vector, torch.tensor([[0.6, 0.8], [0.12, 0.16]], dtype=dtype))


def test_primary_capsules_have_their_lengths_as_activations():
    primary = PrimaryVectorCaps(3, 5, dim=4, kernel_size=3, stride=2, padding=1)
    y = primary(torch.randn(2, 3, 7, 6))
    assert y.shape == (2, primary.out_channels, 4, 3) == (2, 25, 4, 3)
    poses = y[:, :20].reshape(2, 5, 4, 4, 3)
    torch.testing.assert_close(poses.norm(dim=2), y[:, 20:])
    assert (y[:, 20:] < 1).all()


def test_extremes_and_precision():
    assert_finite_at_extremes(DynamicRouting(2, 3))
    assert_full_precision_under_autocast(DynamicRouting(2, 3, stride=2))


def test_iterations_save_no_votes():
    x = torch.rand(2, 8 * 17, 8, 8, requires_grad=True)
    memory = [saved_bytes(DynamicRouting(8, 8, iterations=iterations), x) for iterations in (2, 4)]
    votes = votes_bytes(DynamicRouting(8, 8), x)
    assert votes < memory[0] and memory[1] < 2 * votes


def test_bad_iterations_are_named():
    with pytest.raises(ValueError, match='iterations must be a positive integer, got 1.5'):
        DynamicRouting(2, iterations=1.5)


def test_memory_format_is_kept():
    assert_keeps_memory_format(DynamicRouting(2, 3))
