"""Examples of the page, from data that scikit-learn and scikit-image bring, and from simple solids."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.data.digits import load_digits
from rescaps_plugin.demo.drawings import INK_SIZES, place_ink
from rescaps_plugin.pointcloud.datasets import DigitClouds


class Example(NamedTuple):
    """An image of a known class.

    Args:
        title: Name of the class.
        image: uint8 ``[height, width]`` or ``[height, width, 3]``, RGB.
        label: Number of the class.
    """

    title: str
    image: np.ndarray
    label: int


@cache
def list_images(data: str) -> list[Example]:
    """Return images for the classifiers of a data set, one per class; none where no package brings any.

    Args:
        data: Name of the data set in the zoo.
    """
    if data in INK_SIZES:
        images, labels = load_digits('test', 'demo')
        firsts = [int(np.flatnonzero(labels == label)[0]) for label in range(10)]
        inks = [np.rint(images[first] * (255 / 16)).astype(np.uint8) for first in firsts]
        return [Example(str(label), place_ink(ink, data), label) for label, ink in enumerate(inks)]
    if data.startswith('CIFAR-10 '):
        pictures = import_extra('skimage.data', 'demo')
        cat = np.ascontiguousarray(pictures.chelsea()[:, 151:])  # square
        horse = np.where(pictures.horse()[..., None], np.uint8(255), np.uint8([120, 72, 40]))
        return [Example('cat', cat, 3), Example('horse', horse, 7)]
    if data.startswith('CIFAR-100 '):
        rocket = import_extra('skimage.data', 'demo').rocket()
        return [Example('rocket', np.ascontiguousarray(rocket[:, 106:533]), 69)]
    return []


def list_gallery(data: str) -> list[tuple[np.ndarray, str]]:
    """Return the images of :func:`list_images` with their titles, for a gallery."""
    return [(example.image, example.title) for example in list_images(data)]


def list_photographs() -> dict[str, np.ndarray]:
    """Return photographs in the public domain, uint8 ``[height, width, 3]``, by title."""
    pictures = import_extra('skimage.data', 'demo')
    return {
        'coffee': pictures.coffee(),
        'astronaut': pictures.astronaut(),
        'cat': pictures.chelsea(),
        'rocket': pictures.rocket(),
    }


@cache
def list_clouds() -> dict[str, np.ndarray]:
    """Return clouds ``[2048, 3]`` by title: a digit of each class, and simple solids."""
    digits = DigitClouds(split='test', num_points=2048)
    labels = [digits.get_data_info(index)['gt_label'] for index in range(len(digits))]
    clouds = {f'digit {label}': digits[labels.index(label)]['points'] for label in range(10)}
    creation = import_extra('trimesh.creation', 'pointcloud')
    solids: dict[str, Callable] = {
        'box': lambda: creation.box((1.0, 0.6, 0.4)),
        'cone': lambda: creation.cone(0.5, 1.0),
        'cylinder': lambda: creation.cylinder(0.3, 1.2),
        'ring': lambda: creation.torus(0.6, 0.2),
    }
    sample = import_extra('trimesh.sample', 'pointcloud').sample_surface
    return clouds | {title: sample(make(), 2048, seed=0)[0] for title, make in solids.items()}
