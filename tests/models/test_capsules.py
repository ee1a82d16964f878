"""Poses and activations of every level of a network, as ``forward_capsules`` returns them."""

import copy

import pytest
import timm
import torch

import rescaps_plugin  # noqa: F401
from rescaps_plugin.layers import split_capsules

# Names of the levels, types and pose shape of each; pose shape of the class capsules.
BLOCKS = [f'blocks.{index}' for index in range(4)]
NETWORKS = {
    'rescaps_tiny': (BLOCKS, 4, (4, 4), (4, 4)),
    'rescaps_cifar_2b': (['blocks.0'], 32, (4, 4), (4, 4)),
    'em_caps_tiny': (['primary', 'layers.0', 'layers.1'], 4, (4, 4), (4, 4)),
    'rccaps_em_tiny': (['primary', 'layers.0', 'layers.1', 'layers.2'], 4, (4, 4), (4, 4)),
    'rccaps_dynamic_tiny': (['primary', 'layers.0', 'layers.1', 'layers.2'], 4, (16,), (16,)),
    'srcaps_tiny': (['primary', 'layers.0', 'layers.1'], 4, (4, 4), None),
    'capsnet_tiny': (['primary'], 8, (8,), (16,)),
}


def build(name):
    torch.manual_seed(0)
    network = timm.create_model(name).eval()
    return network, torch.randn(2, *network.default_cfg['input_size'])


@torch.no_grad()
def outputs(network, names, x):
    """Return the output of the network, and the inputs and outputs of its modules by name."""
    seen = {}
    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: seen.update({name: (inputs[0], output)})
        )
        for name in names
    ]
    result = network(x)
    for handle in handles:
        handle.remove()
    return result, seen


@pytest.mark.parametrize('name', NETWORKS)
def test_capsules_equal_those_seen_by_hooks(name):
    levels, types, pose, class_pose = NETWORKS[name]
    network, x = build(name)
    activations, seen = outputs(network, [*levels, 'head.routing'], x)
    with torch.no_grad():
        *found, classes = network.forward_capsules(x)
    assert [level.name for level in found] == levels
    for level in found:
        size = seen[level.name][1].shape[2:]
        assert level.poses.shape == (2, types, *pose, *size) and level.activations.shape == (2, types, *size)
        flat = torch.cat([level.poses.flatten(1, 1 + len(pose)), level.activations], dim=1)
        torch.testing.assert_close(flat, seen[level.name][1])
    assert classes.name == 'head'
    torch.testing.assert_close(classes.activations, activations)
    read, routed = seen['head.routing']
    if class_pose is None:
        assert classes.poses is None
    else:
        assert classes.poses.shape == (2, network.num_classes, *class_pose)
        # The poses of a ResPC layer are its input, those of other class capsules are output.
        source = read if name.startswith('rescaps') else routed[:, : -network.num_classes]
        torch.testing.assert_close(classes.poses.flatten(1), source.flatten(1))


@pytest.mark.parametrize('name', [name for name in NETWORKS if name.startswith('rescaps')])
def test_deploy_form_has_the_same_capsules(name):
    network, x = build(name)
    network, x = network.double(), x.double()
    with torch.no_grad():
        expected = network.forward_capsules(x)
        deployed = copy.deepcopy(network).fuse().forward_capsules(x)
    for before, after in zip(expected, deployed, strict=True):
        torch.testing.assert_close(after[1:], before[1:])


@pytest.mark.parametrize('name', ['rescaps_tiny', 'em_caps_tiny'])
def test_network_without_classes_has_no_class_capsules(name):
    network = timm.create_model(name, num_classes=0).eval()
    x = torch.randn(1, 3, 32, 32)
    assert [level.name for level in network.forward_capsules(x)] == NETWORKS[name][0]
    network.reset_classifier(6)
    assert network.forward_capsules(x)[-1].activations.shape == (1, 6)


def test_gradients_flow_with_checkpointing():
    network, x = build('rescaps_tiny')
    gradients = []
    for enable in (False, True):
        network.zero_grad()
        network.set_grad_checkpointing(enable)
        sum(level.poses.square().mean() for level in network.forward_capsules(x)).backward()
        gradients.append([None if p.grad is None else p.grad.clone() for p in network.parameters()])
    torch.testing.assert_close(*gradients)


def test_images_of_another_size_are_refused():
    network, _ = build('rescaps_tiny')
    with pytest.raises(AssertionError, match="global_pool='flatten' reads feature maps of 2x2 only"):
        network.forward_capsules(torch.randn(1, 3, 48, 48))


def test_pose_size_of_the_network_is_used():
    network = timm.create_model('rescaps_tiny', pose_size=3).eval()
    *blocks, classes = network.forward_capsules(torch.randn(1, 3, 32, 32))
    assert blocks[0].poses.shape == (1, 4, 3, 3, 16, 16) and classes.poses.shape == (1, 10, 3, 3)
    features = network.forward_features(torch.zeros(1, 3, 32, 32))
    assert split_capsules(features, 4, 3)[0].shape == (1, 4, 3, 3, 2, 2)


@pytest.mark.parametrize('name', ['rescaps_tiny', 'em_caps_tiny', 'rccaps_dynamic_tiny', 'srcaps_tiny'])
def test_activations_of_logit_networks_are_not_logits(name):
    network, x = build(name)
    logits = timm.create_model(name, output='logit').eval()
    logits.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(logits.forward_capsules(x)[-1].activations, network(x), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(logits(x), network(x), atol=0.1)
