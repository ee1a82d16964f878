"""Capsule maps: their layout, and the check of their channels by every routing."""

import pytest
import torch

from rescaps_plugin.layers import (
    DynamicRouting,
    EMRouting,
    PrimaryCaps,
    PrimaryVectorCaps,
    ResidualPoseClassifier,
    ResidualPoseRouting,
    SelfRouting,
    checks,
    split_capsules,
)


def test_split_follows_the_layout():
    x = torch.arange(2 * 3 * 5 * 2 * 3.0).reshape(2, 15, 2, 3)
    poses, activations = split_capsules(x, types=3, pose_size=2)
    assert poses.shape == (2, 3, 2, 2, 2, 3) and activations.shape == (2, 3, 2, 3)
    for kind in range(3):
        for row in range(2):
            for column in range(2):
                assert torch.equal(poses[:, kind, row, column], x[:, kind * 4 + row * 2 + column])
        assert torch.equal(activations[:, kind], x[:, 12 + kind])
    assert poses.data_ptr() == x.data_ptr() and activations._is_view()


def test_layers_write_that_layout():
    x = torch.randn(2, 6, 4, 5)
    primary = PrimaryCaps(6, 3, pose_size=2, activation=True)
    poses, activations = split_capsules(primary(x), 3, 2)
    torch.testing.assert_close(poses.flatten(1, 3), primary.pose(x))
    torch.testing.assert_close(activations, torch.sigmoid(primary.activation(x)))
    vectors, lengths = split_capsules(PrimaryVectorCaps(6, 3, dim=5, kernel_size=1)(x), 3, (5,))
    assert vectors.shape[:3] == (2, 3, 5)
    torch.testing.assert_close(vectors.norm(dim=2), lengths)


def test_poses_alone_have_no_activations():
    poses, activations = split_capsules(torch.zeros(2, 32, 4, 4), 2)
    assert poses.shape == (2, 2, 4, 4, 4, 4) and activations.shape == (2, 0, 4, 4)
    poses, activations = split_capsules(torch.zeros(2, 3, 4, 4), 3, (0,))
    assert poses.shape == (2, 3, 0, 4, 4) and activations.shape == (2, 3, 4, 4)


def test_residual_pose_activations_exceed_one():
    torch.manual_seed(0)
    layer = ResidualPoseRouting(4)
    torch.nn.init.constant_(layer.norm.bias, 2)
    _, activations = split_capsules(layer(torch.randn(4, 64, 6, 6)), 4)
    assert activations.min() >= 0 and activations.max() > 1


BOTH = r'takes 34 channels = 2 types x \(16 pose entries \+ 1 activation\) or 32 channels = 2 types x 16 pose entries'
WITH = r'takes 34 channels = 2 types x \(16 pose entries \+ 1 activation\)'
LAYERS = {
    'rpr': (lambda: ResidualPoseRouting(2), BOTH),
    'rpr, pointwise': (lambda: ResidualPoseRouting(2, routing='pointwise'), BOTH),
    'rpr, classes': (lambda: ResidualPoseClassifier(2), 'takes 32 channels = 2 types x 16 pose entries'),
    'dynamic': (lambda: DynamicRouting(2), BOTH),
    'em': (lambda: EMRouting(2), WITH),
    'self': (lambda: SelfRouting(2), WITH),
}


@pytest.mark.parametrize('channels', [16, 33, 51])
@pytest.mark.parametrize('name', LAYERS)
def test_wrong_channels_get_the_same_message(name, channels):
    build, message = LAYERS[name]
    layer, x = build().eval(), torch.zeros(1, channels, 1, 1)
    message = f'{type(layer).__name__} {message}, got {channels}$'
    with pytest.raises(AssertionError, match=message):
        layer(x)
    with pytest.raises(AssertionError, match=message):
        torch.fx.symbolic_trace(layer)(x)
    if hasattr(layer, 'fuse'):
        with pytest.raises(AssertionError, match=message):
            layer.fuse()(x)


def test_matrix_primaries_are_refused_as_vectors():
    matrices = PrimaryCaps(3, 8, activation=True)(torch.zeros(1, 3, 4, 4))
    with pytest.raises(AssertionError, match=r'DynamicRouting takes 72 channels = 8 types x \(8 .*, got 136'):
        DynamicRouting(8, in_dim=8)(matrices)
    with pytest.raises(AssertionError, match=r'split_capsules takes 72 channels = 8 types x \(8 .*, got 136'):
        split_capsules(matrices, 8, (8,))


@pytest.mark.parametrize('deploy', [False, True])
def test_class_capsules_have_one_position_by_default(deploy):
    torch.manual_seed(0)
    layer, everywhere = ResidualPoseClassifier(3).eval(), ResidualPoseClassifier(3, per_position=True).eval()
    everywhere.load_state_dict(layer.state_dict())
    if deploy:
        layer.fuse(), everywhere.fuse()
    x = torch.randn(2, 48, 2, 3)
    with pytest.raises(AssertionError, match='ResidualPoseClassifier without per_position takes maps of 1x1, got 2x3'):
        layer(x)
    activations = everywhere(x)
    assert activations.shape == (2, 3, 2, 3)
    torch.testing.assert_close(activations[:, :, 1, 2], layer(x[:, :, 1:, 2:]))


@pytest.mark.parametrize('name', LAYERS)
def test_checks_leave_no_trace_in_compiled_layers(name, recwarn):
    layer, _ = LAYERS[name]
    layer = layer().eval()
    channels = 32 if 'classes' in name else 34
    x, y = torch.rand(2, channels, 1, 1), torch.rand(3, channels, 1, 1)
    expected = layer(y)
    torch.testing.assert_close(torch.compile(layer, backend='eager', fullgraph=True, dynamic=True)(y), expected)
    torch.testing.assert_close(torch.jit.script(layer)(y), expected)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.testing.assert_close(program.module()(y), expected)
    recwarn.clear()
    torch.testing.assert_close(torch.jit.trace(layer, x)(x), layer(x))
    assert checks.__file__ not in [warning.filename for warning in recwarn]
