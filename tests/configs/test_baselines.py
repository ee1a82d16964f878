"""Every config of the baselines builds, fits its data, and returns activations for its loss."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import rescaps_plugin.classification  # noqa: F401

ROOT = Path(__file__).parents[2] / 'configs'
FAMILIES = ('em_caps', 'capsnet', 'rccaps', 'srcaps', 'resnet_cifar')
NAMES = sorted(f'{family}/{path.stem}' for family in FAMILIES for path in (ROOT / family).glob('*.py'))
CHANNELS_AND_SIZE = {
    'affnist': (1, 40),
    'cifar10': (3, 32),
    'cifar100': (3, 32),
    'digits': (1, 16),
    'mnist': (1, 28),
    'smallnorb': (1, 32),
}


def build(name, **changes):
    cfg = Config.fromfile(ROOT / f'{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model.update(changes)
    return cfg, MODELS.build(cfg.model)


@pytest.mark.parametrize('name', NAMES)
def test_config_fits_its_images_and_classes(name):
    data = next(part for part in reversed(name.replace('/', '_').split('_')) if part in CHANNELS_AND_SIZE)
    channels, size = CHANNELS_AND_SIZE[data]
    with torch.device('meta'):
        cfg, model = build(name)
        scores = model.eval()(torch.zeros(1, channels, size, size), mode='tensor')
    assert scores.shape == (1, cfg.data_preprocessor.num_classes)
    assert len(cfg.data_preprocessor.get('mean', [0] * channels)) == channels
    assert cfg.param_scheduler.type == 'CycleLR' and 'end' not in cfg.param_scheduler  # set by the training


def test_every_family_has_digits_and_a_page():
    for family in FAMILIES:
        assert (ROOT / family / 'README.md').is_file() and (ROOT / family / 'metafile.yml').is_file()
        assert any(name.startswith(f'{family}/') and name.endswith('digits') for name in NAMES)
        page = (ROOT / family / 'README.md').read_text()
        assert all(f'({path.name})' in page for path in (ROOT / family).glob('*.py'))


def samples(labels):
    return [DataSample().set_gt_label(label) for label in labels]


@pytest.mark.parametrize('name', ['em_caps/em_caps_digits', 'rccaps/rccaps_dynamic_digits', 'srcaps/srcaps_digits'])
def test_scores_are_the_networks_activations(name):
    torch.manual_seed(0)
    _, model = build(name)
    images = torch.randn(3, 1, 16, 16)
    model.eval()
    predictions = model.predict(images, samples([1, 2, 3]))
    scores = torch.stack([sample.pred_score for sample in predictions])
    torch.testing.assert_close(scores, model(images))
    assert [sample.pred_label.item() for sample in predictions] == scores.argmax(dim=1).tolist()
    losses = model.loss(images, samples([1, 2, 3]))
    assert set(losses) == {'loss'} and losses['loss'].requires_grad


def test_reconstruction_loss_is_the_weighted_squared_error():
    torch.manual_seed(0)
    _, model = build('capsnet/capsnet_digits')
    model = model.double()
    images = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    losses = model.loss(images, samples([3, 4]))
    _, reconstruction = model.model.forward_reconstruction(images, torch.tensor([3, 4]))
    expected = 0.0005 * 0.355**2 * (reconstruction - images).square().sum() / 2
    torch.testing.assert_close(losses['loss_reconstruction'], expected)
    loss = ROOT_MODELS.build(dict(type='MarginLoss'))
    torch.testing.assert_close(losses['loss_class'], loss(model(images), torch.tensor([3, 4])))
    soft = [DataSample().set_gt_score(torch.eye(10)[label]) for label in (3, 4)]
    torch.testing.assert_close(model.loss(images, soft), losses)


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('capsnet/capsnet_digits', dict(reconstruction_weight=0.0)),
        ('em_caps/em_caps_digits', dict(reconstruction_weight=0.1)),
    ],
)
def test_decoder_and_its_loss_go_together(name, changes):
    with pytest.raises(ValueError, match='reconstruction_weight must be positive with'):
        build(name, **changes)


def test_states_load_into_timm():
    import timm

    _, model = build('em_caps/em_caps_digits')
    network = timm.create_model('em_caps_tiny', in_chans=1, img_size=16)
    assert set(model.state_dict()) == set(network.state_dict())
    network.load_state_dict(model.state_dict())
    images = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(network.eval()(images), model.eval()(images))
