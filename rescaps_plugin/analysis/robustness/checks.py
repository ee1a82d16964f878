"""Checks for masked gradients, under which attacks fail and models only look robust.

The signs are those of Athalye, Carlini, Wagner, *Obfuscated gradients give a false sense of security*, ICML 2018,
Sec. 3.1: one-step attacks that do better than iterative ones, black-box attacks that do better than white-box ones,
unbounded attacks that do not always succeed, random search that succeeds where gradients do not, and larger distortions
that do not raise the success.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rescaps_plugin.analysis.robustness.attacks import TITLES


@dataclass
class Check:
    """Result of one check.

    Args:
        model: Name of the model.
        claim: Statement that must hold.
        passed: Whether it does.
        found: Measured figures, as text.
    """

    model: str
    claim: str
    passed: bool
    found: str

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f'{"PASS" if self.passed else "FAIL"}  {self.model}: {self.claim} ({self.found})'


def check_attacks(results: dict[str, Any], images: int) -> list[Check]:
    """Check the results of attacks for signs of masked gradients; orderings must hold at every epsilon.

    Args:
        results: Return value of :func:`~rescaps_plugin.analysis.robustness.attacks.attack_models`.
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
                claim = f'PGD fools as many as the images of PGD against {other} or more'
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
