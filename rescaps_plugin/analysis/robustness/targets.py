"""Classifiers wrapped for the attacks of the Adversarial Robustness Toolbox (ART).

Attacks change pixels in [0, 1], before the model's own data preprocessor.

Capsule networks return activations in (0, 1), not logits. Cross-entropy, the default objective of attacks, is not sound
for them: its softmax of numbers in (0, 1) is nearly flat, and the derivative ``a (1 - a)`` of a saturated activation
scales the gradient towards zero, so an attack fails numerically and the model looks robust. Here the objective is based
on log-odds ``z``, which are ``log(a / (1 - a))`` of activations and the logits of other heads: the margin ``max_{i !=
t} z_i - z_t`` of the true class ``t`` (Carlini, Wagner, *Towards evaluating the robustness of neural networks*, S&P
2017, objective f6 without its bound). It is positive exactly where the model errs, the derivative of the log-odds
cancels that of the activation, and nothing in it saturates.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmpretrain.models import BaseClassifier
from torch import Tensor, nn

from rescaps_plugin.classification.inference import find_score_activation
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra

OBJECTIVES = ('margin', 'cross-entropy')


class LogOdds(nn.Module):
    """A classifier from pixels in [0, 1] to log-odds of the classes, differentiable end to end.

    Args:
        classifier: An mmpretrain classifier, in eval mode.
        images: Images ``[b, c, h, w]`` in bytes, to find out whether its outputs are activations or logits.
        raw: Whether to return the model's outputs as they are. Defaults to False.

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
        """Move the data preprocessor along; MMEngine's updates its device only when it is moved itself."""
        super()._apply(*args, **kwargs)
        self.classifier.data_preprocessor.to(next(self.classifier.parameters()).device)
        return self

    def _preprocess(self, pixels: Tensor) -> Tensor:
        return self.classifier.data_preprocessor({'inputs': 255 * pixels})['inputs'].to(self.dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        out = self.classifier(self._preprocess(pixels))
        if not self.from_activations:
            return out
        # Finite where an activation is exactly 0 or 1; there the gradient vanishes, which check_gradients reports.
        limits = torch.finfo(out.dtype)
        return torch.logit(out.clamp(limits.tiny, 1 - limits.eps / 2))


class MarginObjective(nn.Module):
    """Objective that attacks maximise: ``max_{i != t} z_i - z_t``, positive where the model errs.

    Shape:
        - log-odds ``[b, classes]`` and one-hot targets ``[b, classes]``
        - output: the mean over the batch
    """

    def forward(self, log_odds: Tensor, target: Tensor) -> Tensor:
        return margin(log_odds, target.argmax(dim=1)).mean()


def margin(log_odds: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the strongest wrong class exceeds the true one.

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
class Target:
    """A model to attack.

    Args:
        name: Name in tables.
        estimator: ART's wrapper, whose outputs the attack's objective takes.
        classifier: Network from pixels to log-odds, by which results are measured.
    """

    name: str
    estimator: Any
    classifier: LogOdds

    @torch.no_grad()
    def log_odds(self, pixels: np.ndarray, batch_size: int) -> Tensor:
        """Return the log-odds ``[n, classes]`` of images ``[n, c, h, w]``."""
        device = next(self.classifier.parameters()).device
        batches = torch.from_numpy(pixels).split(batch_size)
        return torch.cat([self.classifier(batch.to(device)).cpu() for batch in batches])


def make_target(name: str, classifier: BaseClassifier, images: Tensor, objective: str = 'margin') -> Target:
    """Wrap a classifier for ART's attacks.

    Args:
        name: Name in tables.
        classifier: An mmpretrain classifier, in eval mode.
        images: Images ``[b, c, h, w]`` as the test pipeline packs them.
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
            f'attacks need images in bytes, and the test pipeline of {name} returns {images.dtype}: arithmetic on '
            'pixels (such as Standardize) belongs in the data preprocessor, or leave the attacks out with --modes.'
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
