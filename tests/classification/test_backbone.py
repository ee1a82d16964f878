"""The OpenMMLab backbone: the timm trunk with mmengine's interface."""

import pytest
import timm
import torch
from mmengine.registry import MODELS
from mmpretrain.models.backbones import TIMMBackbone

import rescaps_plugin.classification  # noqa: F401

TYPES = dict(capsule_types=(2, 3, 2))


def build(**kwargs):
    return MODELS.build(dict(type='ResCaps', **TYPES, **kwargs))


def test_same_features_as_the_timm_model():
    backbone = build(out_indices=(0, 1, 2)).eval()
    model = timm.create_model('rescaps_tiny', **TYPES).eval()
    assert not backbone.load_state_dict(model.state_dict(), strict=False).missing_keys
    images = torch.randn(2, 3, 32, 32)
    expected = model.forward_intermediates(images, indices=[1, 2, 3], intermediates_only=True)
    outputs = backbone(images)
    assert [output.shape[1] for output in outputs] == backbone.out_channels == [34, 51, 34]
    torch.testing.assert_close(list(outputs), expected)


def test_last_block_is_the_default_and_indices_may_be_negative():
    images = torch.randn(1, 3, 20, 28)
    (last,) = build()(images)
    assert last.shape == (1, 34, 3, 4)
    assert [tuple(output.shape[2:]) for output in build(out_indices=(-3, -1))(images)] == [(10, 14), (3, 4)]


@pytest.mark.parametrize('frozen', [-1, 0, 2])
def test_frozen_stages_keep_weights_and_statistics(frozen):
    torch.manual_seed(0)
    backbone = build(frozen_stages=frozen)
    backbone.train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    backbone(torch.randn(2, 3, 16, 16))[0].square().mean().backward()
    torch.optim.SGD(parameters, lr=1.0).step()
    changed = {
        name.split('.routing')[0].split('.primary')[0].split('.conv')[0].split('.norm')[0]
        for name, value in backbone.state_dict().items()
        if not torch.equal(value, before[name])
    }
    stages = ['stem', 'blocks.0', 'blocks.1', 'blocks.2']
    assert changed == set(stages[frozen + 1 :])


def test_norm_eval_keeps_all_statistics():
    backbone = build(norm_eval=True).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 16, 16))
    assert all(torch.equal(value, before[name]) for name, value in backbone.named_buffers())


def test_checkpointing_gives_the_same_gradients():
    torch.manual_seed(0)
    plain, checkpointed = build(), build(with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 16, 16)
    for backbone in (plain, checkpointed):
        backbone(images)[0].square().sum().backward()
    for expected, parameter in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected.grad)


def test_deploy_form_loads_deploy_checkpoints():
    backbone = build().eval().double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = backbone(images)
    backbone.switch_to_deploy()
    deployed = build(deploy=True).double()
    deployed.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(deployed(images), expected)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(out_indices=(3,)), r'out_indices must be blocks from -3 to 2, got \(3,\)'),
        (dict(out_indices=()), 'out_indices'),
        (dict(frozen_stages=4), 'frozen_stages must be from -1 to 3, got 4'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_timm_backbone_of_mmpretrain():
    images = torch.randn(2, 3, 32, 32)
    backbone = TIMMBackbone('rescaps_cifar', capsule_types=(2, 2, 2, 2))
    assert [tuple(output.shape) for output in backbone(images)] == [(2, 34, 2, 2)]
    pyramid = TIMMBackbone('rescaps_cifar', features_only=True, out_indices=(1, 4), capsule_types=(2, 2, 2, 2))
    assert [tuple(output.shape) for output in pyramid(images)] == [(2, 34, 16, 16), (2, 34, 2, 2)]
