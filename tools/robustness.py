"""Compare the robustness of classifiers to distribution shift and adversarial attacks.

    python tools/robustness.py CONFIG CHECKPOINT
    python tools/robustness.py rescaps-tiny_digits             # a published model, by name
    python tools/robustness.py CONFIG CHECKPOINT OTHER_CONFIG CHECKPOINT --modes rotation attack

The models must test on the same images. The modes:

    affine     accuracy under random affine transforms in affNIST's ranges; for a config that tests on affNIST, on
               affNIST and on MNIST's own test digits placed as in training
    viewpoint  accuracy by azimuth and elevation on smallNORB, or data in its format; familiar and novel viewpoints of
               Hinton et al. 2018
    rotation   accuracy by rotation angle of the images
    attack     accuracy by epsilon under FGSM, BIM, PGD and Square, which sees only outputs; transfer of the images that
               PGD made against each model to the others; checks that gradients are not masked. Needs
               pip install '.[robustness]'

Without --modes, all modes that the data support are run. Writes to work_dirs/<first config>/robustness:
robustness.json, robustness.md, and curves as PNG; of several checkpoints of a config also affine.png, accuracy under
transforms over accuracy without.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.analysis.robustness.command import MODES, run
    from rescaps_plugin.analysis.robustness.targets import OBJECTIVES
    from rescaps_plugin.cli.arguments import (
        add_config_arguments,
        add_device_argument,
        add_out_dir_argument,
        finite,
        fraction,
        positive_int,
        seed,
    )
    from rescaps_plugin.training.model_arguments import add_models_argument


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_models_argument(parser)
    parser.add_argument('--modes', nargs='+', choices=MODES, help='default: all that the data support')
    parser.add_argument('--max-images', type=positive_int, help='number of test images, evenly spaced (default: all)')
    parser.add_argument(
        '--draws',
        type=positive_int,
        default=3,
        help='affine transforms per image, of which affNIST has its own (default: 3)',
    )
    parser.add_argument(
        '--angles',
        nargs='+',
        type=finite,
        default=tuple(range(-90, 91, 15)),
        help='rotation angles in degrees, counter-clockwise (default: -90 to 90, 15 apart)',
    )
    parser.add_argument('--fill', type=finite, default=0.0, help='value outside a transformed image (default: 0)')
    parser.add_argument(
        '--epsilons',
        nargs='+',
        type=fraction,
        default=(0.02, 0.05, 0.1, 0.2),
        help='largest changes of a pixel in [0, 1], in ascending order, such as 0.1 or 8/255 '
        '(default: 0.02 0.05 0.1 0.2)',
    )
    parser.add_argument(
        '--attack-images', type=positive_int, default=200, help='number of images to attack (default: 200)'
    )
    parser.add_argument('--steps', type=positive_int, default=20, help='steps of BIM and PGD (default: 20)')
    parser.add_argument('--restarts', type=positive_int, default=1, help='random starts of PGD (default: 1)')
    parser.add_argument('--queries', type=positive_int, default=200, help='iterations of Square (default: 200)')
    parser.add_argument(
        '--objective',
        choices=OBJECTIVES,
        default='margin',
        help="objective of the attacks: margin of log-odds, or the libraries' default, cross-entropy of raw outputs, "
        'which saturated activations can weaken (default: margin)',
    )
    parser.add_argument(
        '--double', action='store_true', help='attack in float64, for models on which the check finds zero gradients'
    )
    parser.add_argument('--batch-size', type=positive_int, default=128, help='images per batch (default: 128)')
    parser.add_argument('--seed', type=seed, default=0, help='random seed of transforms and attacks (default: 0)')
    add_device_argument(parser)
    add_out_dir_argument(parser, 'work_dirs/<first config>/robustness')
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    if list(args.epsilons) != sorted(set(args.epsilons)):
        parser.error(f'--epsilons must be ascending, not {args.epsilons}')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
