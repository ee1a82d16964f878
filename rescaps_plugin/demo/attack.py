"""Adversarial attacks on the page."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from rescaps_plugin.analysis.robustness.attacks import AttackSettings, run_attack
from rescaps_plugin.analysis.robustness.targets import Target, make_target
from rescaps_plugin.classification.image_inputs import reads_bgr
from rescaps_plugin.data.memory_images import ImageInput
from rescaps_plugin.data.pictures import to_picture
from rescaps_plugin.demo.classify import LINEAR, predict_linear, read
from rescaps_plugin.demo.drawings import DIGITS
from rescaps_plugin.demo.models import Models, list_by_data

STEPS = 10


class Attack(NamedTuple):
    """An image before and after an attack.

    Args:
        before: Scores ``[classes]`` of the image by model.
        after: Scores ``[classes]`` of the attacked image by model.
        pictures: The image, the attacked image, and the change, uint8 ``[side, side, 3]``, RGB. Grey is no change, and
            the largest one that epsilon allows is black or white.
    """

    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    pictures: tuple[np.ndarray, np.ndarray, np.ndarray]


def attack(models: Models, name: str, image: ImageInput, label: int, method: str, epsilon: float) -> Attack:
    """Attack a classifier with an image, and show the result to all models of its data set.

    Args:
        models: The published models.
        name: Model to attack.
        image: The image.
        label: Its class.
        method: One of ``rescaps_plugin.analysis.robustness.attacks.ATTACKS``.
        epsilon: Largest change of a pixel in [0, 1].

    Raises:
        UserError: The Adversarial Robustness Toolbox is not installed, or the model cannot be attacked.
    """
    data, names = next((data, names) for data, names in list_by_data('classification').items() if name in names)
    predictor = models[name]
    inputs = read(predictor, image)
    # Other models read the same pixels, if they read images of the same kind.
    readers = [each for each in names if torch.equal(read(models[each], image), inputs)]
    targets = {each: make_target(each, models[each].model, inputs) for each in readers}
    pixels = inputs.numpy() / np.float32(255)
    settings = AttackSettings(steps=STEPS, batch_size=1)
    attacked = run_attack(method, targets[name], pixels, np.array([label]), epsilon, settings) if epsilon else pixels
    scores = []
    for each in (pixels, attacked):
        by_model = {reader: _scores(target, each) for reader, target in targets.items()}
        if data == DIGITS:
            by_model[LINEAR] = predict_linear(predictor, torch.from_numpy(255 * each))[0]
        scores.append(by_model)
    change = 0.5 + (attacked - pixels) / (2 * epsilon or 1)
    bgr = reads_bgr(predictor.cfg)
    first, second, third = (_draw(torch.from_numpy(each[0]), bgr) for each in (pixels, attacked, change))
    return Attack(scores[0], scores[1], (first, second, third))


def _scores(target: Target, pixels: np.ndarray) -> np.ndarray:
    """Return the scores ``[classes]`` of an image: class activations, or probabilities of a model with logits."""
    log_odds = target.log_odds(pixels, 1)[0]
    return (log_odds.sigmoid() if target.classifier.from_activations else log_odds.softmax(0)).numpy()


def _draw(pixels: Tensor, bgr: bool, side: int = 224) -> np.ndarray:
    picture = to_picture((255 * pixels.clamp(0, 1)).round().to(torch.uint8), bgr)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_NEAREST)
