"""Self-routing: comparison with the reference implementation, and extreme inputs."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rescaps_plugin.layers import SelfRouting
from tests.layers.literal_routing import literal_self
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
@given(arguments=shapes, pose_size=st.integers(1, 3))
def test_equals_literal_form(arguments, pose_size):
    layer = SelfRouting(**arguments, pose_size=pose_size)
    assert_equals_oracle(layer, literal_self, capsule_map(layer, 3, 4))


def test_activations_of_a_position_sum_to_one():
    layer = SelfRouting(3, 4)
    activation = layer(capsule_map(layer, 5, 3, dtype=torch.float32))[:, -4:]
    torch.testing.assert_close(activation.sum(dim=1), torch.ones(2, 5, 3))


def test_children_without_activation_are_ignored():
    layer = SelfRouting(3, 2).double()
    x = capsule_map(layer, 4, 4)
    x[:, -1:] = 0
    moved = x.clone()
    moved[:, 32:48] += 5
    torch.testing.assert_close(layer(moved), layer(x))
    moved[:, :16] += 5
    assert not torch.allclose(layer(moved), layer(x))


def test_class_capsules_have_the_same_activations_without_poses():
    whole = SelfRouting(2, 3, (4, 5), padding=0)
    alone = SelfRouting(2, 3, (4, 5), padding=0, activation_only=True)
    alone.load_state_dict({'weight': whole.weight})
    x = capsule_map(whole, 4, 5, dtype=torch.float32)
    assert alone(x).shape == (2, alone.out_channels, 1, 1) == (2, 3, 1, 1)
    torch.testing.assert_close(alone(x), whole(x)[:, -3:])


def test_extremes_and_precision():
    assert_finite_at_extremes(SelfRouting(2, 3))
    assert_full_precision_under_autocast(SelfRouting(2, 3, stride=2))


def test_saves_the_votes_once():
    x = torch.rand(2, 8 * 17, 8, 8, requires_grad=True)
    layer = SelfRouting(8, 8)
    assert votes_bytes(layer, x) < saved_bytes(layer, x) < 1.6 * votes_bytes(layer, x)


def test_memory_format_is_kept():
    assert_keeps_memory_format(SelfRouting(2, 3))
