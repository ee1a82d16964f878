"""Make the affNIST test set from the MNIST test set.

    python tools/prepare_affnist.py data/mnist data/affnist

Each of the 10,000 digits is put on a 40x40 canvas under 32 random affine transforms, in affNIST's ranges: rotation up
to 20 degrees, shear up to 0.2, scale 0.8 to 1.2 of height and width on their own, and any place that keeps the digit
inside. The images depend only on the seed, the number of the digit and the number of the transform; so fewer transforms
(--per-digit) are the first ones of the whole set. The whole set takes a minute and 512 MB.
"""

import argparse
import os

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    import numpy as np
    from mmengine.utils import track_iter_progress

    from rescaps_plugin.classification.datasets import IDXMNIST
    from rescaps_plugin.classification.datasets.affnist import IMAGES_NAME, LABELS_NAME, PER_DIGIT, SIZE
    from rescaps_plugin.classification.datasets.array_files import idx_header
    from rescaps_plugin.classification.transforms import place_affine

ROTATION = 20.0
SHEAR = 0.2
SCALE = (0.8, 1.2)


def parse_args(argv):
    parser = argparse.ArgumentParser(description='Make the affNIST test set from the MNIST test set')
    parser.add_argument('mnist', help='folder of MNIST (downloaded to it where it is missing)')
    parser.add_argument('out', help='folder to write the set to')
    parser.add_argument(
        '--per-digit',
        type=int,
        default=PER_DIGIT,
        choices=range(1, PER_DIGIT + 1),
        metavar='N',
        help=f'transforms of each digit, 1 to {PER_DIGIT}; fewer make a set that a CPU tests on sooner',
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the transforms')
    return parser.parse_args(argv)


def transform_digits(digits, seed, number):
    """Put every digit under its transform of this number.

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


def write_set(args):
    digits, labels = IDXMNIST(args.mnist, split='test', lazy_init=True).load_arrays()
    os.makedirs(args.out, exist_ok=True)
    images_path, labels_path = os.path.join(args.out, IMAGES_NAME), os.path.join(args.out, LABELS_NAME)
    # Renamed when it is whole, so that an interrupted run leaves no set behind.
    with open(f'{images_path}.part', 'wb') as file:
        file.write(idx_header((args.per_digit, len(digits), SIZE, SIZE)))
        for number in track_iter_progress(range(args.per_digit)):
            for canvas in transform_digits(digits, args.seed, number):
                file.write(canvas.tobytes())
    with open(labels_path, 'wb') as file:
        file.write(idx_header(labels.shape) + labels.tobytes())
    os.replace(f'{images_path}.part', images_path)
    print(f'\n{args.per_digit * len(digits)} images and {len(digits)} labels are in {args.out}')


def main(argv=None):
    args = parse_args(argv)
    with user_errors():
        write_set(args)


if __name__ == '__main__':
    main()
