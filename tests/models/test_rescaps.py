"""ResCaps networks: checkpoints, deploy form, arguments, compilers. For timm's own checks see test_timm_models.py."""

import copy

import pytest
import timm
import torch
from timm.utils import freeze, reparameterize_model
from torch import nn

from rescaps_plugin.losses import SpreadLoss
from rescaps_plugin.models import ResCaps
from rescaps_plugin.models.checkpoints import checkpoint_filter_fn
from tests.layers.literal import LiteralResCaps
from tests.layers.test_residual_pose import randomise, train_a_little

NAMES = timm.list_models('rescaps_*')
TINY = dict(capsule_types=(2, 3, 2, 2), img_size=32)


def release_checkpoint(**kwargs):
    torch.manual_seed(0)
    literal = LiteralResCaps(**kwargs).eval()
    for name, buffer in literal.named_buffers():
        if name.endswith('running_mean'):
            buffer.normal_(std=0.1)
        elif name.endswith('running_var'):
            buffer.uniform_(0.5, 1.5)
    return literal


def test_all_names_are_registered():
    data = ('mnist', 'affnist', 'smallnorb', 'cifar')
    expected = {f'rescaps_{name}{variant}' for name in data for variant in ('', '_2b', '_3l', '_2b_3l')}
    assert set(NAMES) == expected | {'rescaps_tiny', 'rescaps_small', 'rescaps_imagenet'}


def test_release_checkpoint_reproduces_the_releases_activations(tmp_path):
    literal = release_checkpoint()
    path = tmp_path / 'release.pth'
    torch.save({f'module.{name}': value for name, value in literal.state_dict().items()}, path)
    model = timm.create_model(
        'rescaps_cifar',
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(path)),
        capsule_types=(32, 32, 32, 8),
        residual='ones',
    ).eval()
    model, literal = model.double(), literal.double()
    images = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = literal(images)
        assert expected.std() > 0.01
        torch.testing.assert_close(model(images), expected)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda state: state.update({'attention.weight': torch.zeros(1)}), "does not know.*'attention.weight'"),
        (lambda state: state.pop('conv_caps2_1.weights'), "lacks 'conv_caps2_1.weights'"),
        (
            lambda state: state.update({'bn3.weight': torch.zeros(7)}),
            r"'blocks.2.primary.norm.weight' of shape \(7,\)",
        ),
    ],
)
def test_unknown_missing_and_misshapen_release_keys_are_named(change, message):
    state = release_checkpoint(types=(2, 3, 2, 2)).state_dict()
    model = timm.create_model('rescaps_cifar', residual='ones', **TINY)
    checkpoint_filter_fn(dict(state), model)
    change(state)
    with pytest.raises(ValueError, match=message):
        checkpoint_filter_fn(state, model)


def test_own_checkpoint_loads_and_fits_another_number_of_classes(tmp_path):
    source = timm.create_model('rescaps_tiny', num_classes=10)
    torch.save(source.state_dict(), tmp_path / 'own.pth')
    overlay = dict(file=str(tmp_path / 'own.pth'))
    same = timm.create_model('rescaps_tiny', pretrained=True, pretrained_cfg_overlay=overlay)
    torch.testing.assert_close(same.state_dict(), source.state_dict())
    other = timm.create_model('rescaps_tiny', pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3)
    torch.testing.assert_close(other.blocks.state_dict(), source.blocks.state_dict())
    assert other(torch.randn(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize('name', NAMES)
def test_deploy_form_equals_training_form_after_training(name):
    size = {'rescaps_imagenet': 64}.get(name)
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5)
    channels, *input_size = model.default_cfg['input_size']
    images = torch.randn(2, channels, *([size, size] if size else input_size))
    train_a_little(model, images, steps=2)
    model.eval().double()
    images = images.double()
    fused = reparameterize_model(model)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(fused(images), expected)
        torch.testing.assert_close(fused.forward_features(images), model.forward_features(images))
    kinds = {type(module) for module in fused.modules()}
    assert not kinds & {nn.BatchNorm1d, nn.BatchNorm2d}
    assert len(list(fused.parameters())) < len(list(model.parameters()))


def test_deploy_checkpoint_loads_back():
    model = timm.create_model('rescaps_tiny').eval().double()
    randomise(model)
    fused = copy.deepcopy(model).fuse()
    loaded = timm.create_model('rescaps_tiny', deploy=True).double()
    loaded.load_state_dict(fused.state_dict())
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(loaded(images), model(images))
    with pytest.raises(RuntimeError, match='cannot be trained'):
        loaded.train()


@pytest.mark.parametrize('layers', ['stem', 'blocks', ''])
def test_deploy_form_of_frozen_layers(layers):
    """``timm.utils.freeze`` replaces normalisations by frozen ones."""
    torch.manual_seed(0)
    model = timm.create_model('rescaps_tiny')
    train_a_little(model, torch.randn(4, 3, 32, 32))
    freeze(model, [layers] if layers else [])
    images = torch.randn(2, 3, 32, 32)
    expected = model.eval()(images)
    deployed = reparameterize_model(model)
    assert not any(hasattr(module, 'running_mean') for module in deployed.modules())
    assert not any(parameter.requires_grad for parameter in deployed.get_submodule(layers).parameters())
    torch.testing.assert_close(deployed(images), expected, rtol=1e-4, atol=1e-5)


def test_gradient_checkpointing_changes_nothing_but_memory():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    model = timm.create_model('rescaps_tiny')
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(images).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_network_of_one_block_gives_its_capsule_layers_as_features():
    model = timm.create_model('rescaps_cifar_2b', features_only=True, capsule_types=(2,))
    shapes = [tuple(feature.shape[1:]) for feature in model(torch.randn(1, 3, 32, 32))]
    assert shapes == [(32, 32, 32), (32, 16, 16), (32, 16, 16), (34, 16, 16)]


@pytest.mark.parametrize(
    'arguments',
    [
        dict(capsule_types=(2, 3)),
        dict(capsule_types=(2,), num_layers=1),
        dict(capsule_types=(2,), num_layers=3),
        *(dict(out_indices=indices) for indices in ((0,), (1,), (0, 1), (4,), (-1,))),
        *(dict(capsule_types=(2,), out_indices=indices) for indices in ((0,), (0, 1), (3,))),
    ],
    ids=str,
)
def test_features_are_those_of_the_whole_network(arguments):
    torch.manual_seed(0)
    model = timm.create_model('rescaps_tiny', features_only=True, **arguments).eval()
    torch.manual_seed(0)
    indices = arguments.pop('out_indices', None)
    whole = timm.create_model('rescaps_tiny', **arguments).eval()
    images = torch.randn(1, 3, 32, 32)
    features = model(images)
    wanted = whole.forward_intermediates(images, indices and list(indices), intermediates_only=True)
    assert [feature.shape[1] for feature in features] == model.feature_info.channels()
    torch.testing.assert_close(features, wanted)
    if indices is None:
        assert features[-1].shape[1] == whole.num_features


@pytest.mark.parametrize(
    ('name', 'names'),
    [
        ('rescaps_tiny', ['blocks.0', 'blocks.1']),
        ('rccaps_em_tiny', ['primary', 'layers.0']),
        ('capsnet_tiny', ['primary']),
    ],
)
def test_pruned_network_has_the_capsules_of_its_levels(name, names):
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    images = torch.randn(1, *model.default_cfg['input_size'])
    expected = model.forward_capsules(images)
    model.prune_intermediate_layers([2])
    capsules = model.forward_capsules(images)
    assert [each.name for each in capsules] == names
    for each, wanted in zip(capsules, expected, strict=False):
        torch.testing.assert_close(each.poses, wanted.poses)


def test_imagenet_network_is_built_for_its_images():
    arguments = dict(capsule_types=(1, 1), global_pool='flatten', num_classes=2)
    model = timm.create_model('rescaps_imagenet', **arguments).eval()
    assert model(torch.zeros(1, *model.pretrained_cfg['input_size'])).shape == (1, 2)


def test_features_only_drops_unused_blocks():
    model = timm.create_model('rescaps_cifar', features_only=True, out_indices=(1, 2), **TINY)
    assert model.feature_info.channels() == [34, 51] and model.feature_info.reduction() == [2, 4]
    assert [tuple(f.shape[1:]) for f in model(torch.randn(1, 3, 30, 22))] == [(34, 15, 11), (51, 8, 6)]
    assert not any(name.startswith(('model.blocks.2', 'model.head')) for name, _ in model.named_parameters())


def test_non_square_images_and_other_classes():
    model = timm.create_model('rescaps_tiny', img_size=(20, 36), num_classes=7, in_chans=2).eval()
    assert model(torch.randn(2, 2, 20, 36)).shape == (2, 7)
    with pytest.raises(AssertionError, match="global_pool='flatten' reads feature maps of 2x3 only.*img_size="):
        model(torch.randn(2, 2, 36, 36))
    anysize = timm.create_model('rescaps_tiny', global_pool='avg').eval()
    assert anysize(torch.randn(2, 3, 50, 24)).shape == (2, 10)


def test_activations_depend_on_every_position_when_flattened():
    model = timm.create_model('rescaps_tiny').eval()
    features = torch.randn(1, 68, 2, 2)
    flipped = features.flip(-1)
    assert not torch.allclose(model.forward_head(features), model.forward_head(flipped))
    assert model.forward_head(features, pre_logits=True).shape == (1, model.head_hidden_size)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(capsule_types=()), 'capsule_types must name'),
        (dict(kernel_size=2), 'kernel_size must be odd, got 2'),
        (dict(routing='em'), "routing must be one of .*'em'"),
        (dict(global_pool='max'), "global_pool must be one of .*'max'"),
        (dict(global_pool=''), "global_pool='' goes with num_classes=0"),
        (dict(stem='conv3'), "stem must be one of .*'conv3'"),
        (dict(num_layers=0), 'num_layers must be a positive integer, got 0'),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResCaps(**arguments)


def test_compiled_model_equals_eager():
    model = timm.create_model('rescaps_tiny', img_size=16, in_chans=1).eval()
    images = torch.randn(2, 1, 16, 16)
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(images), model(images))


@pytest.mark.parametrize('deploy', [False, True])
def test_exported_program_equals_eager_at_other_batch_sizes(deploy):
    model = timm.create_model('rescaps_tiny', img_size=16, in_chans=1, deploy=deploy).eval()
    batch = torch.export.Dim('batch', min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 1, 16, 16),), dynamic_shapes=({0: batch},))
    images = torch.randn(5, 1, 16, 16)
    torch.testing.assert_close(program.module()(images), model(images))


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.bfloat16, 0.02), (torch.float16, 0.004)])
def test_half_precision_trains_as_float32(dtype, tolerance):
    # Rounding can flip ReLUs and hinges, so gradients differ in direction by more than the losses do.
    torch.manual_seed(0)
    model = timm.create_model('rescaps_tiny', **TINY)
    x, target = torch.randn(16, 3, 32, 32), torch.arange(16) % 10

    def step(half):
        model.zero_grad()
        with torch.autocast('cpu', dtype, enabled=half):
            loss = SpreadLoss()(model(x), target, progress=0.5)
        loss.backward()
        return loss.detach(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    (loss, gradient), (half_loss, half_gradient) = step(False), step(True)
    assert half_loss.dtype == torch.float32
    torch.testing.assert_close(half_loss, loss, rtol=tolerance, atol=0)
    assert torch.cosine_similarity(half_gradient, gradient, dim=0) > 1 - 5 * tolerance


def test_strides_of_blocks():
    network = ResCaps(in_chans=1, img_size=15, capsule_types=(2, 2, 2), strides=(2, 1, 2), num_layers=1)
    assert [level['reduction'] for level in network.feature_info] == [1, 2, 2, 4]
    assert network.feature_size == (4, 4)
    sizes = [level.shape[-1] for level in network.forward_intermediates(torch.randn(2, 1, 15, 15))[1]]
    assert sizes == [15, 8, 8, 4]
    assert network(torch.randn(2, 1, 15, 15)).shape == (2, 10)
    with pytest.raises(ValueError, match=r'strides must be one for each of 3 blocks, got \(2, 1\)'):
        ResCaps(capsule_types=(2, 2, 2), strides=(2, 1))
