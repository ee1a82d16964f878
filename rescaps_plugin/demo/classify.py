"""Classification on the page: class activations, their change with the view of the input, and capsule maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from rescaps_plugin.analysis.capsule_views import activation_maps, record_capsules, warp_images, whole_poses
from rescaps_plugin.classification.image_inputs import reads_bgr
from rescaps_plugin.classification.inference import predict_scores
from rescaps_plugin.classification.predictor import ClassPredictor
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.data.digits import load_digits
from rescaps_plugin.data.memory_images import ImageInput
from rescaps_plugin.data.pictures import to_picture
from rescaps_plugin.demo.drawings import DIGITS
from rescaps_plugin.demo.models import Models, list_by_data

# Title and values of each change of the input.
AXES = {
    'turn': ('turn, degrees', np.linspace(-90, 90, 25)),
    'right': ('shift right, % of the width', np.linspace(-30, 30, 25)),
    'down': ('shift down, % of the height', np.linspace(-30, 30, 25)),
    'scale': ('scale', np.linspace(0.5, 1.5, 21)),
}
LINEAR = 'logistic regression'


@dataclass(frozen=True)
class View:
    """Change of an image about its centre.

    Args:
        turn: Angle in degrees, counter-clockwise.
        right: Shift to the right, in per cent of the width.
        down: Shift down, in per cent of the height.
        scale: Factor of the size.
    """

    turn: float = 0.0
    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0

    def apply(self, images: Tensor) -> Tensor:
        """Transform images ``[b, c, h, w]``; what is outside of them is black."""
        height, width = images.shape[2:]
        shift = (self.down / 100 * height, self.right / 100 * width)
        return warp_images(images, rotation=self.turn, scale=(self.scale, self.scale), translation=shift)


class Curves(NamedTuple):
    """Class capsules by one change of the input.

    Args:
        values: Values of the change ``[t]``.
        activations: Class activations ``[t, classes]``.
        pose: Pose entries ``[t, d]`` of the class that is most active in the present view.
        best: Number of that class.
    """

    values: np.ndarray
    activations: np.ndarray
    pose: np.ndarray
    best: int


def read(predictor: ClassPredictor, image: ImageInput) -> Tensor:
    """Read an image as the network's input ``[1, c, h, w]``."""
    return predictor.read(image, 'the image')['inputs'][None]


@torch.no_grad()
def compute_scores(models: Models, data: str, image: ImageInput, view: View) -> dict[str, np.ndarray]:
    """Compute the scores ``[classes]`` of an image by every published model of a data set, and by a linear one.

    The linear model, a logistic regression of the pixels, is there where its data come with scikit-learn.

    Args:
        models: The published models.
        data: Name of the data set in the zoo.
        image: The image.
        view: Change of the image.
    """
    names = list_by_data('classification')[data]
    inputs = {name: view.apply(read(models[name], image)) for name in names}
    scores = {name: _predict(models[name], images)[0].numpy() for name, images in inputs.items()}
    if data == DIGITS:
        scores[LINEAR] = predict_linear(models[names[0]], inputs[names[0]])[0]
    return scores


def _predict(predictor: ClassPredictor, images: Tensor) -> Tensor:
    return predict_scores(predictor.model, predictor.model.data_preprocessor({'inputs': images})['inputs']).cpu()


def predict_linear(predictor: ClassPredictor, images: Tensor) -> np.ndarray:
    """Return the probabilities ``[b, classes]`` of inputs of a network ``[b, c, h, w]`` by the linear model."""
    return _fit_linear(predictor).predict_proba(images.flatten(1).numpy() / 255)


@cache
def _fit_linear(predictor: ClassPredictor):
    """Fit a logistic regression to the training digits, as a network reads them."""
    digits, labels = load_digits('train', 'demo')
    images = [read(predictor, np.rint(digit * (255 / 16)).astype(np.uint8)) for digit in digits]
    linear = import_extra('sklearn.linear_model', 'demo').LogisticRegression(max_iter=500)
    return linear.fit(torch.cat(images).flatten(1).numpy() / 255, labels)


def follow(predictor: ClassPredictor, image: ImageInput, view: View, axis: str) -> Curves:
    """Follow the class capsules of an image along one change of it, from its present view.

    Args:
        predictor: A capsule network.
        image: The image.
        view: The present view.
        axis: What changes, one of :data:`AXES`.
    """
    values = AXES[axis][1]
    inputs = read(predictor, image)
    views = [view, *(replace(view, **{axis: float(value)}) for value in values)]
    records = record_capsules(predictor.model, torch.cat([each.apply(inputs) for each in views]))
    name, poses = list(whole_poses(records).items())[-1]
    activations = activation_maps(records)[name].mean(dim=(2, 3)).cpu().numpy()
    best = int(activations[0].argmax())
    return Curves(values, activations[1:], poses[1:, best].cpu().numpy(), best)


def show_input(predictor: ClassPredictor, image: ImageInput, view: View, side: int = 224) -> np.ndarray:
    """Return what a network reads, uint8 ``[side, side, 3]``, RGB."""
    picture = to_picture(view.apply(read(predictor, image))[0], reads_bgr(predictor.cfg))
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_NEAREST)


def draw_capsule_maps(predictor: ClassPredictor, image: ImageInput, view: View) -> dict[str, np.ndarray]:
    """Draw the activation maps of the capsule types of every block, side by side, bright where capsules are active.

    Args:
        predictor: A capsule network.
        image: The image.
        view: Change of the image.

    Returns:
        Pictures uint8 ``[height, width, 3]``, RGB, by the block's name, number of types and size of maps.
    """
    records = record_capsules(predictor.model, view.apply(read(predictor, image)))
    pictures = {}
    for name, maps in activation_maps(records).items():
        types, height, width = maps.shape[1:]
        if height * width > 1:
            pictures[f'{name}: {types} types, {height} x {width}'] = _tile(maps[0].cpu().numpy())
    return pictures


def _tile(maps: np.ndarray, columns: int = 4, side: int = 96, gap: int = 4) -> np.ndarray:
    """Colour maps ``[n, h, w]`` on one scale from black at 0, and put them side by side."""
    levels = np.rint(255 * maps / max(float(maps.max()), 1e-12)).clip(0, 255).astype(np.uint8)
    columns = min(columns, len(maps))
    rows = -(-len(maps) // columns)
    picture = np.full((rows * (side + gap) - gap, columns * (side + gap) - gap, 3), 255, np.uint8)
    for index, level in enumerate(levels):
        tile = cv2.resize(level, (side, side), interpolation=cv2.INTER_NEAREST)
        top, left = (side + gap) * (index // columns), (side + gap) * (index % columns)
        picture[top : top + side, left : left + side] = cv2.applyColorMap(tile, cv2.COLORMAP_INFERNO)[..., ::-1]
    return picture


def name_classes(predictor: ClassPredictor, count: int) -> list[str]:
    """Return the names of classes, short enough for an axis: ``'3'`` for MNIST's ``'3 - three'``."""
    return [predictor.name_class(label).partition(' - ')[0] for label in range(count)]
