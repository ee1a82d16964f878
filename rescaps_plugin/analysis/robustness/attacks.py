"""How classifiers bear what they were not trained on: transformed images, new viewpoints, adversarial perturbations.

Attacks are those of the Adversarial Robustness Toolbox (ART). They work on pixels in [0, 1], in front of the model's
own data preprocessor, and bound every pixel's change by epsilon.

Capsule networks give activations in (0, 1), not logits. Cross-entropy, which attacks take by default, is no sound
objective on them: its softmax of numbers in (0, 1) is nearly flat, and the derivative ``a (1 - a)`` of a saturated
activation scales the gradient towards zero, so an attack fails by arithmetic and the model looks robust. Here every
model is attacked in its log-odds ``z``, ``log(a / (1 - a))`` of activations and the logits themselves of other heads,
by the margin ``max_{i != t} z_i - z_t`` of the true class ``t`` (Carlini, Wagner, *Towards evaluating the robustness of
neural networks*, S&P 2017, objective f6 without its bound). It is positive exactly where the model errs, the derivative
of the log-odds cancels that of the activation, and nothing in it saturates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmpretrain.models import BaseClassifier
from torch import Tensor, nn

from rescaps_plugin.classification.datasets.smallnorb import (
    AZIMUTH,
    ELEVATION,
    FAMILIAR_AZIMUTHS,
    FAMILIAR_ELEVATIONS,
)
from rescaps_plugin.classification.inference import find_score_activation
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra

# affNIST's ranges; its translation keeps digits on a canvas larger than theirs, here it is a tenth of the image.
AFFINE = dict(rotation=(-20.0, 20.0), shear=(-0.2, 0.2), scale=(0.8, 1.2), translation=0.1)
OBJECTIVES = ('margin', 'cross-entropy')
# The largest change that pixels in [0, 1] can undergo.
UNBOUNDED = 1.0


class LogOdds(nn.Module):
    """A classifier from pixels in [0, 1] to log-odds of the classes, differentiable end to end.

    Args:
        classifier: An mmpretrain classifier, in evaluation.
        images: Images ``[b, c, h, w]`` in bytes, to find out whether its outputs are activations or logits.
        raw: Whether to give the model's outputs as they are. Defaults to False.

    Shape:
        - input: ``[b, c, h, w]``, channels in the order of the data pipeline
        - output: ``[b, classes]``
    """

    def __init__(self, classifier: BaseClassifier, images: Tensor, raw: bool = False) -> None:
        super().__init__()
        self.classifier = classifier
        self.dtype = next(classifier.parameters()).dtype
        with torch.no_grad():
            activation = find_score_activation(classifier, self._preprocess(images / 255))
        self.from_activations = isinstance(activation, nn.Identity) and not raw

    def _apply(self, *args, **kwargs) -> LogOdds:
        """Move the data preprocessor along; MMEngine's notes its device only where it is moved itself."""
        super()._apply(*args, **kwargs)
        self.classifier.data_preprocessor.to(next(self.classifier.parameters()).device)
        return self

    def _preprocess(self, pixels: Tensor) -> Tensor:
        return self.classifier.data_preprocessor({'inputs': 255 * pixels})['inputs'].to(self.dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        out = self.classifier(self._preprocess(pixels))
        if not self.from_activations:
            return out
        # Finite where an activation is exactly 0 or 1; there the gradient is gone, which check_gradients reports.
        limits = torch.finfo(out.dtype)
        return torch.logit(out.clamp(limits.tiny, 1 - limits.eps / 2))


class MarginObjective(nn.Module):
    """What attacks raise: ``max_{i != t} z_i - z_t``, positive where the model errs; see the module's text.

    Shape:
        - log-odds ``[b, classes]`` and one-hot targets ``[b, classes]``
        - output: the mean over the batch
    """

    def forward(self, log_odds: Tensor, target: Tensor) -> Tensor:
        return margin(log_odds, target.argmax(dim=1)).mean()


def margin(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Give by how much the strongest wrong class exceeds the true one.

    Args:
        log_odds: Log-odds ``[b, classes]``.
        labels: True classes ``[b]``.

    Returns:
        Margins ``[b]``.
    """
    true = log_odds.gather(1, labels[:, None])
    wrong = log_odds.scatter(1, labels[:, None], -torch.inf)
    return wrong.amax(dim=1) - true[:, 0]


@dataclass
class AttackSettings:
    """How attacks run.

    Args:
        steps: Steps of BIM and PGD, each of 2.5 epsilon / steps.
        restarts: Random starts of PGD; an image counts as fooled if any of them fools.
        queries: Iterations of Square.
        batch_size: Images at a time.
        seed: Of every attack anew.
        objective: One of ``OBJECTIVES``: the margin of log-odds, or the cross-entropy of the model's raw outputs, as
            the libraries' defaults have it.
    """

    steps: int = 20
    restarts: int = 1
    queries: int = 200
    batch_size: int = 128
    seed: int = 0
    objective: str = 'margin'


@dataclass
class Target:
    """A model to attack.

    Args:
        name: What tables call it.
        estimator: ART's view of it, which gives what the attack's objective takes.
        classifier: Pixels to log-odds, which results are measured by.
    """

    name: str
    estimator: Any
    classifier: LogOdds

    @torch.no_grad()
    def log_odds(self, pixels: np.ndarray, batch_size: int) -> Tensor:
        """Give the log-odds ``[n, classes]`` of images ``[n, c, h, w]``."""
        device = next(self.classifier.parameters()).device
        batches = torch.from_numpy(pixels).split(batch_size)
        return torch.cat([self.classifier(batch.to(device)).cpu() for batch in batches])


def make_target(name: str, classifier: BaseClassifier, images: Tensor, objective: str = 'margin') -> Target:
    """Wrap a classifier for ART's attacks.

    Args:
        name: What tables call it.
        classifier: An mmpretrain classifier, in evaluation.
        images: Images ``[b, c, h, w]`` as the pipeline leaves them.
        objective: One of ``OBJECTIVES``.

    Returns:
        The target.

    Raises:
        UserError: ART is not installed; images are not bytes, whose perturbation in pixels has no meaning; or the
            predictions' scores are neither the outputs nor their softmax or sigmoid.
    """
    art = import_extra('art.estimators.classification', 'robustness')
    if images.dtype != torch.uint8:
        raise UserError(
            f'attacks need images in bytes, and the test pipeline of {name} leaves {images.dtype}: what it computes of '
            'pixels (such as Standardize) belongs into the data preprocessor, or leave the attacks out with --modes.'
        )
    device = next(classifier.parameters()).device
    small = images[:2].to(device)
    log_odds = LogOdds(classifier, small)
    attacked = log_odds if objective == 'margin' else LogOdds(classifier, small, raw=True)
    with torch.no_grad():
        classes = log_odds(small / 255).shape[1]
    # ART moves the model to the current GPU, whichever GPU the model is on.
    with torch.cuda.device(device) if device.type == 'cuda' else nullcontext():
        estimator = art.PyTorchClassifier(
            attacked,
            loss=MarginObjective() if objective == 'margin' else nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type='cpu' if device.type == 'cpu' else 'gpu',
        )
    return Target(name, estimator, log_odds)


def _noise(target: Target, pixels: np.ndarray, labels: np.ndarray, eps: float, settings: AttackSettings) -> np.ndarray:
    signs = np.random.choice([-1, 1], size=pixels.shape).astype(np.float32)
    return np.clip(pixels + np.float32(eps) * signs, 0, 1)


def _fgsm(target: Target, pixels: np.ndarray, labels: np.ndarray, eps: float, settings: AttackSettings) -> np.ndarray:
    attack = import_extra('art.attacks.evasion', 'robustness').FastGradientMethod(
        target.estimator, eps=eps, batch_size=settings.batch_size
    )
    return attack.generate(pixels, labels)


def _iterative(settings: AttackSettings, eps: float) -> dict:
    return dict(
        eps=eps,
        eps_step=2.5 * eps / settings.steps,
        max_iter=settings.steps,
        batch_size=settings.batch_size,
        verbose=False,
    )


def _bim(target: Target, pixels: np.ndarray, labels: np.ndarray, eps: float, settings: AttackSettings) -> np.ndarray:
    art = import_extra('art.attacks.evasion', 'robustness')
    return art.BasicIterativeMethod(target.estimator, **_iterative(settings, eps)).generate(pixels, labels)


def _pgd(target: Target, pixels: np.ndarray, labels: np.ndarray, eps: float, settings: AttackSettings) -> np.ndarray:
    attack = import_extra('art.attacks.evasion', 'robustness').ProjectedGradientDescent(
        target.estimator, num_random_init=settings.restarts, **_iterative(settings, eps)
    )
    return attack.generate(pixels, labels)


def _square(target: Target, pixels: np.ndarray, labels: np.ndarray, eps: float, settings: AttackSettings) -> np.ndarray:
    height, width = pixels.shape[2:]
    attack = import_extra('art.attacks.evasion', 'robustness').SquareAttack(
        target.estimator,
        eps=eps,
        max_iter=settings.queries,
        # ART draws a square of this part of the image, which has to fit into the shorter side.
        p_init=0.8 * min(height, width) / max(height, width),
        batch_size=settings.batch_size,
        verbose=False,
    )
    return attack.generate(pixels, labels)


Attack = Callable[[Target, np.ndarray, np.ndarray, float, AttackSettings], np.ndarray]
# Random signs are no attack, but what one has to beat. Square asks for outputs alone; the others for gradients.
ATTACKS: dict[str, Attack] = {'noise': _noise, 'fgsm': _fgsm, 'bim': _bim, 'pgd': _pgd, 'square': _square}
TITLES = {'noise': 'random signs', 'fgsm': 'FGSM', 'bim': 'BIM', 'pgd': 'PGD', 'square': 'Square (black box)'}


def run_attack(
    name: str, target: Target, pixels: np.ndarray, labels: np.ndarray, eps: float, settings: AttackSettings
) -> np.ndarray:
    """Perturb images by at most epsilon, so that a model errs.

    Args:
        name: One of ``ATTACKS``.
        target: The model.
        pixels: float32 images ``[n, c, h, w]`` in [0, 1].
        labels: True classes ``[n]``.
        eps: Largest change of a pixel.
        settings: How.

    Returns:
        float32 images ``[n, c, h, w]``.
    """
    # ART draws from NumPy's global generator.
    np.random.seed(settings.seed)
    return ATTACKS[name](target, pixels, one_hot(labels, target), eps, settings)


def one_hot(labels: np.ndarray, target: Target) -> np.ndarray:
    """Give labels ``[n]`` as float32 ``[n, classes]``."""
    return np.eye(target.estimator.nb_classes, dtype=np.float32)[labels]


def measure(target: Target, pixels: np.ndarray, labels: np.ndarray, batch_size: int) -> dict[str, Any]:
    """Measure a model on perturbed images.

    Args:
        target: The model.
        pixels: Images ``[n, c, h, w]`` in [0, 1].
        labels: True classes ``[n]``.
        batch_size: Images at a time.

    Returns:
        ``accuracy`` in per cent and ``loss``, the mean margin of log-odds.
    """
    labels = torch.from_numpy(labels)
    log_odds = target.log_odds(pixels, batch_size)
    return {
        'accuracy': 100 * (log_odds.argmax(dim=1) == labels).double().mean().item(),
        'loss': margin(log_odds, labels).double().mean().item(),
    }


def attack_models(
    targets: Sequence[Target],
    pixels: np.ndarray,
    labels: np.ndarray,
    epsilons: Sequence[float],
    settings: AttackSettings,
) -> dict[str, Any]:
    """Attack every model by every attack at every epsilon, and every other model with what PGD made against it.

    Args:
        targets: The models.
        pixels: float32 images ``[n, c, h, w]`` in [0, 1].
        labels: True classes ``[n]``.
        epsilons: Largest changes of a pixel, rising.
        settings: How.

    Returns:
        ``clean``: measurements by model. ``white_box``: by model, attack and epsilon (the position in ``epsilons``).
        ``transfer``: by model attacked, model tested and epsilon. ``unbounded``: PGD at an epsilon of 1, by model.
        ``zero_gradients``: by model, images on which the gradient is zero. ``largest_excess``: by model, how far a
        pixel came out of its bounds.
    """
    size = settings.batch_size
    results: dict[str, Any] = {'clean': {}, 'white_box': {}, 'transfer': {}, 'unbounded': {}}
    results |= {'zero_gradients': {}, 'largest_excess': {}}
    for target in targets:
        results['clean'][target.name] = measure(target, pixels, labels, size)
        results['zero_gradients'][target.name] = count_zero_gradients(target, pixels, labels, size)
        by_attack: dict[str, list] = {}
        transfer: dict[str, list] = {other.name: [] for other in targets if other is not target}
        excess = 0.0
        for name in ATTACKS:
            by_attack[name] = []
            for eps in epsilons:
                perturbed = run_attack(name, target, pixels, labels, eps, settings)
                outside = max(np.abs(perturbed - pixels).max() - eps, perturbed.max() - 1, -perturbed.min())
                excess = max(excess, float(outside))
                by_attack[name].append(measure(target, perturbed, labels, size))
                if name == 'pgd':
                    for other in targets:
                        if other is not target:
                            transfer[other.name].append(measure(other, perturbed, labels, size))
        results['white_box'][target.name] = by_attack
        results['transfer'][target.name] = transfer
        results['largest_excess'][target.name] = excess
        perturbed = run_attack('pgd', target, pixels, labels, UNBOUNDED, settings)
        results['unbounded'][target.name] = measure(target, perturbed, labels, size)
    return results


def count_zero_gradients(target: Target, pixels: np.ndarray, labels: np.ndarray, batch_size: int) -> int:
    """Count the images on which the gradient of the attack's objective is zero in every pixel."""
    targets = one_hot(labels, target)
    count = 0
    for start in range(0, len(pixels), batch_size):
        part = slice(start, start + batch_size)
        gradient = target.estimator.loss_gradient(pixels[part], targets[part])
        count += int((np.abs(gradient).max(axis=(1, 2, 3)) == 0).sum())
    return count


@dataclass
class Check:
    """One sign that an attack's results can be trusted.

    Args:
        model: Name of the model.
        claim: What has to hold.
        passed: Whether it does.
        found: What was measured.
    """

    model: str
    claim: str
    passed: bool
    found: str

    def __str__(self) -> str:
        """Give the line that is printed."""
        return f'{"PASS" if self.passed else "FAIL"}  {self.model}: {self.claim} ({self.found})'


def check_attacks(results: dict[str, Any], epsilons: Sequence[float], images: int) -> list[Check]:
    """Look for signs of masked gradients, under which attacks fail and models only look robust.

    The signs are those of Athalye, Carlini, Wagner, *Obfuscated gradients give a false sense of security*, ICML 2018,
    Sec. 3.1: one-step attacks that do better than iterative ones, black-box attacks that do better than white-box ones,
    unbounded attacks that do not always succeed, random search that finds what gradients do not, and distortion that
    does not raise the success. Orders hold at every epsilon, or the check fails.

    Args:
        results: Of :func:`attack_models`.
        epsilons: Largest changes of a pixel, rising.
        images: Number of images.

    Returns:
        The checks, model by model.
    """
    checks = []
    for model, attacks in results['white_box'].items():
        accuracy = {name: [entry['accuracy'] for entry in entries] for name, entries in attacks.items()}
        losses = [results['clean'][model]['loss'], *(entry['loss'] for entry in attacks['pgd'])]
        zero = results['zero_gradients'][model]
        excess = results['largest_excess'][model]
        checks.append(Check(model, 'the gradient is not zero on any image', zero == 0, f'zero on {zero} of {images}'))
        checks.append(
            Check(
                model, 'perturbations stay within epsilon and [0, 1]', excess < 1e-6, f'by {max(excess, 0):.1e} beyond'
            )
        )
        rises = all(first < second for first, second in zip(losses, losses[1:], strict=False))
        checks.append(
            Check(model, "PGD's loss rises with epsilon", rises, ' < '.join(f'{loss:.2f}' for loss in losses))
        )
        for strong, weak in (('fgsm', 'noise'), ('bim', 'fgsm'), ('pgd', 'fgsm'), ('pgd', 'square')):
            checks.append(
                _compare(
                    model, f'{TITLES[strong]} fools as many as {TITLES[weak]} or more', accuracy[strong], accuracy[weak]
                )
            )
        for other, entries in results['transfer'].items():
            if other != model:
                transferred = [entry['accuracy'] for entry in entries[model]]
                claim = f'PGD fools as many as what PGD made against {other} or more'
                checks.append(_compare(model, claim, accuracy['pgd'], transferred))
        left = results['unbounded'][model]['accuracy']
        checks.append(
            Check(model, 'PGD without a bound fools on every image', left == 0, f'{left:.2f} % withstand epsilon 1')
        )
    return checks


def _compare(model: str, claim: str, strong: Sequence[float], weak: Sequence[float]) -> Check:
    pairs = list(zip(strong, weak, strict=True))
    found = ', '.join(f'{left:.1f} : {right:.1f} %' for left, right in pairs)
    return Check(model, claim, all(left <= right for left, right in pairs), f'accuracy {found}')


def viewpoint_accuracy(info: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Sum up predictions on smallNORB, or data of its form, by viewpoint.

    Args:
        info: int ``[n, 4]``, the info file's row of every image.
        correct: bool ``[n]``, whether it was recognised.

    Returns:
        By ``azimuth`` and ``elevation``: ``familiar`` and ``novel``, accuracies in per cent at the viewpoints of the
        experiments of Hinton et al. 2018, and ``curve``, from the angle in degrees to the accuracy.
    """
    results = {}
    for name, column, familiar, degrees in (
        ('azimuth', AZIMUTH, FAMILIAR_AZIMUTHS, lambda value: 10 * value),
        ('elevation', ELEVATION, FAMILIAR_ELEVATIONS, lambda value: 30 + 5 * value),
    ):
        values = info[:, column]
        known = np.isin(values, familiar)
        results[name] = {
            'familiar': percentage(correct[known]),
            'novel': percentage(correct[~known]),
            'curve': {degrees(value): percentage(correct[values == value]) for value in np.unique(values).tolist()},
        }
    return results


def percentage(correct: np.ndarray) -> float | None:
    """Give the part that is true, in per cent; None of nothing."""
    return 100 * float(np.mean(correct)) if len(correct) else None
