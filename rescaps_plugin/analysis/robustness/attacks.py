"""Adversarial attacks on classifiers, by the Adversarial Robustness Toolbox (ART): FGSM, BIM, PGD, Square.

Attacks bound the change of every pixel, which is in [0, 1], by epsilon.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rescaps_plugin.analysis.robustness.targets import Target, margin
from rescaps_plugin.cli.extras import import_extra

# The largest change that pixels in [0, 1] can undergo.
UNBOUNDED = 1.0


@dataclass
class AttackSettings:
    """Settings of the attacks.

    Args:
        steps: Steps of BIM and PGD, each of 2.5 epsilon / steps.
        restarts: Random starts of PGD; the attack succeeds if any of them does.
        queries: Iterations of Square.
        batch_size: Images per batch.
        seed: Seed that each attack starts from.
        objective: One of ``OBJECTIVES``: the margin of log-odds, or the cross-entropy of the model's raw outputs, the
            default of the libraries.
    """

    steps: int = 20
    restarts: int = 1
    queries: int = 200
    batch_size: int = 128
    seed: int = 0
    objective: str = 'margin'


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
        # The fraction of the image that ART's square covers, which must fit into the shorter side.
        p_init=0.8 * min(height, width) / max(height, width),
        batch_size=settings.batch_size,
        verbose=False,
    )
    return attack.generate(pixels, labels)


Attack = Callable[[Target, np.ndarray, np.ndarray, float, AttackSettings], np.ndarray]
# Random signs are the baseline of attacks. Square only needs outputs, the others need gradients.
ATTACKS: dict[str, Attack] = {'noise': _noise, 'fgsm': _fgsm, 'bim': _bim, 'pgd': _pgd, 'square': _square}
TITLES = {'noise': 'random signs', 'fgsm': 'FGSM', 'bim': 'BIM', 'pgd': 'PGD', 'square': 'Square (black box)'}


def run_attack(
    name: str, target: Target, pixels: np.ndarray, labels: np.ndarray, eps: float, settings: AttackSettings
) -> np.ndarray:
    """Perturb images by at most epsilon so that a model misclassifies them.

    Args:
        name: One of ``ATTACKS``.
        target: The model.
        pixels: float32 images ``[n, c, h, w]`` in [0, 1].
        labels: True classes ``[n]``.
        eps: Largest change of a pixel.
        settings: Settings of the attacks.

    Returns:
        float32 images ``[n, c, h, w]``.
    """
    # ART draws from NumPy's global generator.
    np.random.seed(settings.seed)
    return ATTACKS[name](target, pixels, one_hot(labels, target), eps, settings)


def one_hot(labels: np.ndarray, target: Target) -> np.ndarray:
    """Return labels ``[n]`` as float32 ``[n, classes]``."""
    return np.eye(target.estimator.nb_classes, dtype=np.float32)[labels]


def measure(target: Target, pixels: np.ndarray, labels: np.ndarray, batch_size: int) -> dict[str, Any]:
    """Measure a model on perturbed images.

    Args:
        target: The model.
        pixels: Images ``[n, c, h, w]`` in [0, 1].
        labels: True classes ``[n]``.
        batch_size: Images per batch.

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
    """Run every attack on every model at every epsilon, and test PGD's images on every other model.

    Args:
        targets: The models.
        pixels: float32 images ``[n, c, h, w]`` in [0, 1].
        labels: True classes ``[n]``.
        epsilons: Largest changes of a pixel, in ascending order.
        settings: Settings of the attacks.

    Returns:
        ``clean``: measurements by model. ``white_box``: by model, attack and position in ``epsilons``.
        ``transfer``: by model attacked, model tested and epsilon. ``unbounded``: PGD at an epsilon of 1, by model.
        ``zero_gradients``: by model, images on which the gradient is zero. ``largest_excess``: by model, the largest
        violation of the pixels' bounds.
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
