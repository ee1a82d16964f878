"""Recording of capsule layers and measurements on them, on cases with known results."""

import numpy as np
import pytest
import timm
import torch

import rescaps_plugin  # noqa: F401
from rescaps_plugin.analysis.capsule_views import (
    CapsuleLayout,
    Recording,
    activation_maps,
    input_layout,
    measure_equivariance,
    output_layout,
    part_whole_by_input,
    part_whole_by_weight,
    recording,
    shares,
    warp_images,
    whole_poses,
)
from rescaps_plugin.layers import ResidualPoseClassifier, ResidualPoseRouting, SelfRouting

# Layers with activations, and the types and pose entries of each.
NETWORKS = {
    'rescaps_tiny': {'blocks.0.routing2': (4, 16), 'blocks.3.routing2': (4, 16), 'head.routing': (10, 0)},
    'em_caps_tiny': {'primary': (4, 16), 'layers.0.routing': (4, 16), 'head.routing': (10, 16)},
    'rccaps_dynamic_tiny': {'primary': (4, 16), 'layers.1.routing': (4, 16), 'head.routing': (10, 16)},
    'srcaps_tiny': {'primary.0': (4, 16), 'head.routing': (10, 0)},
    'capsnet_tiny': {'primary': (8, 8), 'head.routing': (10, 16)},
}


def record(network, images):
    with recording(network) as records, torch.no_grad():
        output = network(images)
    return records, output


@pytest.mark.parametrize('name', NETWORKS)
def test_every_network_is_read(name):
    torch.manual_seed(0)
    network = timm.create_model(name, in_chans=1, img_size=16, num_classes=10).eval()
    records, output = record(network, torch.randn(2, 1, 16, 16))
    maps, poses = activation_maps(records), whole_poses(records)
    for layer, (types, dim) in NETWORKS[name].items():
        assert maps[layer].shape[:2] == (2, types)
        if dim:
            assert poses[layer].shape == (2, types, dim)
    torch.testing.assert_close(maps['head.routing'].flatten(1), output)
    for name, entry in records.items():
        layout = entry.layout
        assert entry.given.shape[1] == layout.types * (layout.dim + layout.activations), name
        channels = [channel for kind in range(layout.types) for channel in layout.channels(kind)]
        assert sorted(channels) == list(range(entry.given.shape[1]))
        torch.testing.assert_close(
            layout.capsules(entry.given)[:, 0].flatten(1), entry.given[:, layout.channels(0)].flatten(1)
        )
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_of_logits_show_activations(name):
    torch.manual_seed(0)
    network = timm.create_model(name, in_chans=1, img_size=16, output='logit').eval()
    records, output = record(network, torch.randn(2, 1, 16, 16))
    maps = activation_maps(records)
    torch.testing.assert_close(maps['head.routing'].flatten(1), torch.sigmoid(output))


@pytest.mark.parametrize('name', NETWORKS)
def test_contributions_do_not_depend_on_the_form_of_the_output(name):
    found = []
    for output in ('activation', 'logit'):
        torch.manual_seed(0)
        network = timm.create_model(name, in_chans=1, img_size=16, output=output).eval()
        records, _ = record(network, torch.randn(2, 1, 16, 16))
        found.append(part_whole_by_input(records['head.routing']))
    torch.testing.assert_close(*found)


def test_class_poses_are_what_the_classifier_reads():
    torch.manual_seed(0)
    network = timm.create_model('rescaps_tiny', in_chans=1, img_size=16).eval()
    images = torch.randn(3, 1, 16, 16)
    records, _ = record(network, images)
    with torch.no_grad():
        expected = network.head.primary(network.forward_features(images)).reshape(3, 10, 16)
    torch.testing.assert_close(whole_poses(records)['head.routing'], expected)


def test_other_modules_have_no_layout():
    assert output_layout(torch.nn.Conv2d(1, 1, 1)) is None and input_layout(torch.nn.ReLU(), 3) is None
    assert output_layout(ResidualPoseRouting(4, pose_only=True)) == CapsuleLayout(4, 16, False)
    assert output_layout(ResidualPoseRouting(4, 6)) == CapsuleLayout(6, 16, True)
    assert input_layout(SelfRouting(3, 5), 51) == CapsuleLayout(3, 16, True)


@pytest.mark.parametrize('dim', [16, 8])
def test_poses_that_a_matrix_multiplies_are_equivariant(dim):
    torch.manual_seed(0)
    poses = torch.randn(40, 3, dim)
    side = 4 if dim == 16 else dim
    matrices = torch.randn(3, side, side)
    moved = (poses.unflatten(2, (-1, side)) @ matrices).flatten(2)
    noise = torch.randn(40, 3, dim)
    activation = torch.rand(40, 3) + 0.5
    found = measure_equivariance([activation, 1.5 * activation, activation], [poses, moved, noise], reference=0)
    assert found.activation == pytest.approx([0, 0.5, 0], abs=1e-6)
    assert found.pose[0] == 0 and found.pose[1] > 1
    assert found.residual[:2] == pytest.approx([0, 0], abs=1e-5)
    assert found.residual[2] > 0.8  # no linear map fits several images


def test_inactive_capsules_are_ignored():
    found = measure_equivariance([torch.zeros(4, 2), torch.ones(4, 2)], [torch.zeros(4, 2, 16)] * 2, reference=0)
    assert all(np.isnan(value) for value in [*found.activation, *found.pose, *found.residual])
    found = measure_equivariance([torch.ones(4, 2), torch.ones(4, 2)], None, reference=0)
    assert found.activation == [0, 0] and found.pose is None and found.residual is None


def test_images_are_transformed_like_arrays():
    images = torch.randint(0, 256, (2, 3, 7, 7), dtype=torch.uint8)
    torch.testing.assert_close(warp_images(images, rotation=90), torch.rot90(images, dims=(2, 3)))


def only_from(layer, part):
    """Set all weights of a ResP layer to zero except those that read one part type."""
    with torch.no_grad():
        kept = layer.pose_weight[:, part].clone()
        layer.pose_weight.zero_()
        layer.pose_weight[:, part] = kept
        layer.mix.weight.zero_()
        layer.norm.bias.fill_(1)
    return layer.eval()


def recorded(layer, x):
    with torch.no_grad():
        return Recording(layer, output_layout(layer), x, layer(x))


@pytest.mark.parametrize('routing', ['window', 'pointwise'])
def test_a_part_that_nothing_reads_contributes_nothing(routing):
    torch.manual_seed(0)
    layer = only_from(ResidualPoseRouting(3, 5, routing=routing), part=1)
    entry = recorded(layer, torch.randn(4, 3 * 16, 6, 5))
    by_input, by_weight = part_whole_by_input(entry), part_whole_by_weight(layer)
    for found in (by_input, by_weight):
        assert found.shape == (5, 3)
        assert found[:, 1].min() > 0 and found[:, [0, 2]].abs().max() < 1e-6
        torch.testing.assert_close(shares(found), torch.tensor([[0.0, 1.0, 0.0]]).expand(5, 3))


def test_norms_are_those_of_the_layers_jacobian():
    """Only the pose path: weights of activations are zero, and all units are above their thresholds."""
    torch.manual_seed(0)
    layer = ResidualPoseRouting(2, 3)
    with torch.no_grad():
        layer.mix.weight.zero_()
        layer.norm.weight.uniform_(0.5, 2)
        layer.norm.running_var.uniform_(0.5, 2)
        layer.norm.bias.fill_(100)
    layer.eval().double()
    origin = torch.zeros(1, 32, 3, 3, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0, :, 1, 1], origin)[:, 0]
    expected = torch.empty(3, 2, dtype=torch.float64)
    whole, part = CapsuleLayout(3, 16, True), CapsuleLayout(2, 16, False)
    for row in range(3):
        for column in range(2):
            expected[row, column] = jacobian[whole.channels(row)][:, part.channels(column)].norm()
    torch.testing.assert_close(part_whole_by_weight(layer), expected)
    assert not layer.deployed
    torch.testing.assert_close(part_whole_by_weight(layer.fuse()), expected)


def test_classes_read_from_their_own_pose_alone_in_the_pointwise_classifier():
    torch.manual_seed(0)
    layer = ResidualPoseClassifier(4, routing='pointwise').eval()
    found = part_whole_by_weight(layer)
    assert found.diagonal().min() > 0 and torch.equal(found, torch.diag(found.diagonal()))
    by_input = part_whole_by_input(recorded(layer, torch.randn(5, 64, 1, 1)))
    assert by_input.diagonal().min() > 1e-3
    assert (by_input - torch.diag(by_input.diagonal())).abs().max() < 1e-6
    dense = part_whole_by_weight(ResidualPoseClassifier(4).eval())
    assert dense.min() > 0


def test_shares_of_an_inactive_whole_are_zero():
    assert torch.equal(shares(torch.tensor([[0.0, 0.0], [1.0, 3.0]])), torch.tensor([[0.0, 0.0], [0.25, 0.75]]))
