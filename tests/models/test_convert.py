"""Conversion of networks of timm and torchvision."""

import pytest
import timm
import torch
import torchvision
from torch import nn

import rescaps_plugin  # noqa: F401
from rescaps_plugin.layers import RPRConv2d
from rescaps_plugin.models import convert_to_rpr


def converted_names(network):
    return [name for name, module in network.named_modules() if isinstance(module, RPRConv2d)]


NETWORKS = {
    'timm resnet18': lambda: timm.create_model('resnet18', channels=(16, 32, 32, 48), num_classes=5),
    'timm convnext': lambda: timm.create_model('convnext_atto', num_classes=5, depths=(1, 1, 1, 1)),
    'timm mobilenet': lambda: timm.create_model('mobilenetv3_small_050', num_classes=5),
    'torchvision resnet18': lambda: torchvision.models.resnet18(num_classes=5),
    'torchvision vgg': lambda: torchvision.models.vgg11_bn(num_classes=5).features,
}
SELECT = {'timm convnext': '*downsample*', 'timm mobilenet': lambda name, conv: conv.kernel_size == (1, 1)}


@pytest.mark.parametrize('routing', ['window', 'pointwise'])
@pytest.mark.parametrize('name', NETWORKS)
def test_network_keeps_its_weights_and_predictions(name, routing):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval().double()
    images = torch.randn(2, 3, 48, 48, dtype=torch.float64)
    with torch.no_grad():
        expected = network(images)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    parameters = dict(network.named_parameters())
    assert convert_to_rpr(network, SELECT.get(name), routing=routing) is network
    assert converted_names(network)
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected)
    assert not network.training and not any(module.training for module in network.modules())
    after = network.state_dict()
    assert all(torch.equal(after[key], value) for key, value in state.items())
    assert all(network.get_parameter(key) is value for key, value in parameters.items())
    network.load_state_dict(state)  # a checkpoint of the original still loads, strictly


@pytest.mark.parametrize('routing', ['window', 'pointwise'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last], ids=str)
def test_maps_keep_the_memory_format_of_the_network(memory_format, routing):
    network = convert_to_rpr(NETWORKS['timm resnet18'](), routing=routing)
    formats = []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            module.register_forward_hook(lambda module, inputs, output: formats.append(output))
    network = network.to(memory_format=memory_format)
    network(torch.randn(2, 3, 64, 64).contiguous(memory_format=memory_format)).sum().backward()
    maps = [x for x in formats if x.shape[2] > 1]
    assert len(maps) > 30
    assert all(x.is_contiguous(memory_format=memory_format) for x in maps)


def test_trained_network_deploys():
    torch.manual_seed(0)
    network = convert_to_rpr(NETWORKS['timm resnet18']()).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    images, labels = torch.randn(8, 3, 32, 32), torch.arange(8) % 5
    for _ in range(3):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    conv = network.layer1[1].conv1
    assert conv.transform.any() and conv.mix.any()
    images = images.double()
    expected = network.double().eval()(images)
    deployed = timm.utils.reparameterize_model(network)
    torch.testing.assert_close(deployed(images), expected)
    assert not any('transform' in name for name in deployed.state_dict())


def test_default_selection_is_3x3_of_capsules():
    names = converted_names(convert_to_rpr(torchvision.models.resnet18()))
    assert len(names) == 16 and 'conv1' not in names and not any('downsample' in name for name in names)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3, groups=2), nn.Conv2d(32, 36, 3), nn.Conv2d(36, 16, 3)
    )
    assert converted_names(convert_to_rpr(network)) == ['2']
    network = nn.Sequential(nn.Conv2d(3, 36, 3), nn.Conv2d(36, 16, 3))
    assert converted_names(convert_to_rpr(network, pose_size=6)) == ['1']


def test_selection():
    def build():
        return nn.ModuleDict(dict(a=nn.Conv2d(16, 16, 1), b=nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(16, 4, 3))))

    assert converted_names(convert_to_rpr(build(), 'b.*')) == ['b.0', 'b.1']
    assert converted_names(convert_to_rpr(build(), ['a', '*.1'])) == ['a', 'b.1']
    assert converted_names(convert_to_rpr(build(), lambda _, conv: conv.out_channels == 4)) == ['b.1']
    conv = nn.Conv2d(16, 16, 3)
    replaced = convert_to_rpr(conv)
    assert isinstance(replaced, RPRConv2d) and replaced.weight is conv.weight
    with pytest.raises(ValueError, match=r"select must choose .*, got 'c\*'; there are: a, b\.0, b\.1"):
        convert_to_rpr(build(), 'c*')
    with pytest.raises(ValueError, match='there are: none'):
        convert_to_rpr(nn.Linear(2, 2))


def test_shared_convolutions_and_weights_stay_shared():
    conv = nn.Conv2d(16, 16, 3, padding=1)
    tied = nn.Conv2d(16, 16, 3, padding=1)
    tied.weight = conv.weight
    network = convert_to_rpr(nn.Sequential(conv, nn.Sequential(conv, tied)))
    assert network[0] is network[1][0] and isinstance(network[0], RPRConv2d)
    assert network[1][1].weight is network[0].weight and network[1][1] is not network[0]


def test_other_convolutions_are_left_alone():
    class Twice(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    network = convert_to_rpr(nn.Sequential(Twice(16, 16, 3), nn.Conv2d(16, 16, 3)), '*')
    assert converted_names(network) == ['1']
    with pytest.raises(ValueError, match='there are: none'):
        convert_to_rpr(convert_to_rpr(nn.Sequential(RPRConv2d(16, 16, 3).fuse())), '*')
    with pytest.raises(ValueError, match='there are: none'):
        convert_to_rpr(timm.create_model('rescaps_tiny'), '*')
    assert converted_names(convert_to_rpr(timm.create_model('capsnet_tiny'), '*')) == ['stem.conv']
    assert converted_names(convert_to_rpr(timm.create_model('em_caps_tiny'), '*')) == ['stem.conv']
    with pytest.raises(ValueError, match="with hooks .*, got '0'"):
        convert_to_rpr(nn.Sequential(nn.utils.weight_norm(nn.Conv2d(16, 16, 3))))


def test_frozen_weights_types_and_devices_stay():
    conv = nn.Conv2d(16, 16, 3, dtype=torch.bfloat16).requires_grad_(False)
    new = convert_to_rpr(nn.Sequential(conv))[0]
    assert not new.weight.requires_grad and new.transform.requires_grad
    assert {parameter.dtype for parameter in new.parameters()} == {torch.bfloat16}
    with torch.device('meta'):
        assert convert_to_rpr(nn.Conv2d(16, 16, 3)).mix.is_meta
