"""Implementation of ``tools/prepare_affnist.py``."""

import os
from argparse import Namespace
from collections.abc import Iterator

import numpy as np
from mmengine.utils import track_iter_progress

from rescaps_plugin.classification.datasets import IDXMNIST
from rescaps_plugin.classification.datasets.affnist import IMAGES_NAME, LABELS_NAME, SIZE
from rescaps_plugin.classification.datasets.array_files import idx_header
from rescaps_plugin.classification.transforms import place_affine
from rescaps_plugin.cli.outputs import check_folder_writable

# affNIST's ranges: degrees, shear, and scale of height and of width.
ROTATION = 20.0
SHEAR = 0.2
SCALE = (0.8, 1.2)


def run(args: Namespace) -> None:
    """Make the affNIST test set from the MNIST test set.

    Args:
        args: Arguments of ``tools/prepare_affnist.py``.

    Raises:
        UserError: The folder cannot be written.
        FileNotFoundError: MNIST is missing and cannot be downloaded.
    """
    check_folder_writable(args.out, 'OUT')
    digits, labels = IDXMNIST(args.mnist, split='test', lazy_init=True).load_arrays()
    os.makedirs(args.out, exist_ok=True)
    images_path, labels_path = os.path.join(args.out, IMAGES_NAME), os.path.join(args.out, LABELS_NAME)
    # Renamed when complete, so that an interrupted run leaves no partial set.
    with open(f'{images_path}.part', 'wb') as file:
        file.write(idx_header((args.per_digit, len(digits), SIZE, SIZE)))
        for number in track_iter_progress(range(args.per_digit)):
            for canvas in transform_digits(digits, args.seed, number):
                file.write(canvas.tobytes())
    with open(labels_path, 'wb') as file:
        file.write(idx_header(labels.shape) + labels.tobytes())
    os.replace(f'{images_path}.part', images_path)
    print(f'\n{args.per_digit * len(digits)} images and {len(digits)} labels are in {args.out}')


def transform_digits(digits: np.ndarray, seed: int, number: int) -> Iterator[np.ndarray]:
    """Apply to every digit its transform of the given number.

    Args:
        digits: uint8 images [n, 28, 28].
        seed: Seed of the set.
        number: Number of the transform, from 0.

    Yields:
        uint8 canvases [40, 40].
    """
    # RandomState's streams never change between releases of numpy. Digit i takes row i of the draw, so its transform
    # does not depend on how many digits or transforms are made.
    draws = np.random.RandomState([seed, number]).uniform(size=(len(digits), 6))
    for digit, (rotation, shear, height, width, down, across) in zip(digits, draws, strict=True):
        yield place_affine(
            digit,
            SIZE,
            rotation=ROTATION * (2 * rotation - 1),
            shear=SHEAR * (2 * shear - 1),
            scale=(np.interp(height, (0, 1), SCALE), np.interp(width, (0, 1), SCALE)),
            position=(down, across),
        )
