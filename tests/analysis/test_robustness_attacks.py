"""Attacks on linear classifiers, whose worst case is known in closed form."""

import numpy as np
import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS

from rescaps_plugin.analysis.robustness.attacks import (
    ATTACKS,
    AttackSettings,
    attack_models,
    count_zero_gradients,
    measure,
    run_attack,
)
from rescaps_plugin.analysis.robustness.checks import check_attacks
from rescaps_plugin.analysis.robustness.targets import LogOdds, make_target, margin
from rescaps_plugin.classification.predictions import CapsulePredictions
from rescaps_plugin.cli.errors import UserError

pytest.importorskip('art', reason="needs pip install '.[robustness]'")
SIDE = 8


@MODELS.register_module()
class LinearBackbone(BaseModule):
    """Logits, or their sigmoids, that are linear in the pixels as they come from the data preprocessor."""

    def __init__(self, classes, scale=1.0, activations=False):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(scale * torch.randn(classes, SIDE * SIDE, generator=generator) / SIDE)
        self.activations = activations

    def forward(self, x):
        z = x.flatten(1) @ self.weight.T
        return (torch.sigmoid(z) if self.activations else z,)


@MODELS.register_module()
class PassingHead(ClsHead):
    """Softmax of the backbone's output as scores."""

    def pre_logits(self, feats):
        return feats[-1]

    def forward(self, feats):
        return feats[-1]


@MODELS.register_module()
class PassingCapsuleHead(CapsulePredictions, PassingHead):
    """The backbone's output as scores."""

    output = 'activation'


def build(activations, scale=1.0, classes=4):
    """A classifier with linear logits of pixels in [0, 1]; the data preprocessor's mean is 127.5."""
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='LinearBackbone', classes=classes, scale=scale, activations=activations),
            head=dict(type='PassingCapsuleHead' if activations else 'PassingHead'),
            data_preprocessor=dict(num_classes=classes, mean=[127.5], std=[51.0]),
        )
    )
    assert isinstance(model, ImageClassifier)
    return model.eval()


@pytest.fixture(scope='module')
def images():
    """Grey images, which perturbations below 0.2 keep in [0, 1]."""
    return torch.randint(80, 176, (24, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.fixture(scope='module')
def pixels(images):
    return images.numpy() / np.float32(255)


def log_odds_of(model, pixels):
    """The same log-odds, computed directly."""
    return (torch.from_numpy(5 * pixels - 2.5).flatten(1) @ model.backbone.weight.T).detach()


@pytest.mark.parametrize('activations', [False, True])
def test_log_odds_are_the_same_of_logits_and_of_activations(activations, images, pixels):
    model = build(activations)
    wrapped = LogOdds(model, images[:2])
    assert wrapped.from_activations == activations
    log_odds = wrapped(torch.from_numpy(pixels)).detach()
    torch.testing.assert_close(log_odds, log_odds_of(model, pixels), atol=1e-4, rtol=1e-4)
    data = model.data_preprocessor({'inputs': images})['inputs']
    predicted = [sample.pred_label.item() for sample in model(data, mode='predict')]
    assert log_odds.argmax(dim=1).tolist() == predicted


def test_colours_are_swapped_inside():
    """Inputs and their perturbations keep the channel order of the pipeline."""

    class Reds(torch.nn.Module):
        def forward(self, inputs, mode='tensor'):
            from mmpretrain.structures import DataSample

            scores = torch.sigmoid(inputs.mean((2, 3)) - 1)
            return [DataSample().set_pred_score(score) for score in scores] if mode == 'predict' else scores

    model = Reds()
    model.weight = torch.nn.Parameter(torch.zeros(1))
    model.data_preprocessor = MODELS.build(
        dict(type='ClsDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0] * 3, to_rgb=True)
    )
    pixels = torch.zeros(1, 3, 2, 2)
    pixels[:, 0] = 1  # blue, which comes first
    assert LogOdds(model, (255 * pixels).byte())(pixels)[0].tolist() == pytest.approx([-1, -1, 0], abs=1e-5)


def test_data_preprocessor_moves_along(images):
    """ART moves the model that it attacks, and the images must be on the device of the network."""
    wrapped = LogOdds(build(True), images[:2])
    assert wrapped.to('meta').classifier.data_preprocessor.device.type == 'meta'
    assert wrapped.to_empty(device='cpu').classifier.data_preprocessor.device.type == 'cpu'


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='needs two GPUs')
def test_attack_runs_on_the_gpu_of_the_model(images, pixels):
    model = build(True).to('cuda:1')
    target = make_target('linear', model, images)
    perturbed = run_attack('fgsm', target, pixels.numpy(), np.zeros(len(pixels), int), 0.1, AttackSettings())
    assert np.isfinite(perturbed).all()
    assert {parameter.device for parameter in model.parameters()} == {torch.device('cuda:1')}


@pytest.mark.parametrize('activations', [False, True])
def test_attacks_reach_the_worst_case_of_a_linear_model(activations, images, pixels):
    model = build(activations, classes=2)
    target = make_target('linear', model, images)
    clean = log_odds_of(model, pixels)
    labels = clean.argmax(dim=1).numpy()  # right on every image
    # The margin is linear in the pixels, so that it is highest in a corner of the box.
    rise = 5 * (model.backbone.weight[0] - model.backbone.weight[1]).abs().sum().item()
    settings = AttackSettings(steps=10, queries=60)
    for eps in (0.02, 0.1):
        worst = margin(clean, torch.from_numpy(labels)).mean().item() + eps * rise
        loss = {}
        for name in ATTACKS:
            perturbed = run_attack(name, target, pixels, labels, eps, settings)
            assert perturbed.dtype == np.float32
            assert np.abs(perturbed - pixels).max() <= eps + 1e-6 and 0 <= perturbed.min() <= perturbed.max() <= 1
            loss[name] = margin(log_odds_of(model, perturbed), torch.from_numpy(labels)).mean().item()
            assert loss[name] == pytest.approx(measure(target, perturbed, labels, 10)['loss'], abs=1e-2)
        assert [loss[name] for name in ('fgsm', 'bim', 'pgd')] == pytest.approx([worst] * 3, abs=1e-3)
        assert loss['noise'] < loss['square'] < worst


def test_whole_run_of_two_models_passes_its_checks(images, pixels):
    models = {'activations': build(True), 'logits': build(False, scale=2.0)}
    targets = [make_target(name, model, images) for name, model in models.items()]
    labels = log_odds_of(models['logits'], pixels).argmax(dim=1).numpy()
    epsilons = (0.02, 0.1)
    results = attack_models(targets, pixels, labels, epsilons, AttackSettings(steps=5, queries=20))
    checks = check_attacks(results, len(labels))
    assert len(checks) == 2 * 9 and all(check.passed for check in checks), '\n'.join(map(str, checks))
    # The second model is a sharper first one: images that fool one also fool the other.
    assert results['transfer']['activations']['logits'] == [
        dict(accuracy=entry['accuracy'], loss=pytest.approx(2 * entry['loss'], rel=1e-3))
        for entry in results['white_box']['activations']['pgd']
    ]
    again = attack_models(targets, pixels, labels, epsilons, AttackSettings(steps=5, queries=20))
    assert again == results


def test_saturated_activations_have_no_gradient_in_float32_and_one_in_float64(images, pixels):
    model = build(True, scale=1.0)
    labels = log_odds_of(model, pixels).argmax(dim=1).numpy()
    with torch.no_grad():  # activations of every class: 1 in float32, 1 - 1e-11 in float64
        model.backbone.forward = lambda x: (torch.sigmoid(25 + 0.1 * (x.flatten(1) @ model.backbone.weight.T)),)
    target = make_target('saturated', model, images)
    assert count_zero_gradients(target, pixels, labels, 10) == len(pixels)
    target = make_target('saturated', model.double(), images)
    assert count_zero_gradients(target, pixels, labels, 10) == 0
    perturbed = run_attack('fgsm', target, pixels, labels, 0.1, AttackSettings())
    assert measure(target, perturbed, labels, 10)['accuracy'] < 20


def test_images_other_than_bytes_are_refused(images):
    with pytest.raises(UserError, match='images in bytes, and the test pipeline of linear returns torch.float32'):
        make_target('linear', build(True), images.float())
