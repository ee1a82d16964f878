"""Draw activation maps, equivariance and part-whole relations of the capsules of a trained classifier.

    python tools/visualise_capsules.py CONFIG CHECKPOINT                # images of the config's own test set
    python tools/visualise_capsules.py CONFIG CHECKPOINT photo.jpg photos/    # only these
    python tools/visualise_capsules.py rescaps-tiny_digits                     # a published model, by name

Writes to work_dirs/<config>/capsules:

    activations.png   activation maps of the types of every capsule layer
    equivariance.png  pose entries of the class capsule of a rotated and shifted input; by layer, the relative change of
                      activations and poses, and the change of poses that a linear map per type does not explain
    part_whole.png    contribution of every part type to every whole type of the routing layers, in per cent: by
                      the norms of composed kernels (residual pose routing), and on the images, by the change of a whole
                      without a part
    capsules.json     the numbers behind the last two
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.analysis.visualise_capsules_command import run
    from rescaps_plugin.cli.arguments import (
        add_config_arguments,
        add_device_argument,
        add_out_dir_argument,
        finite,
        positive_int,
    )
    from rescaps_plugin.training.model_arguments import add_model_arguments, parse_model_arguments


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument(
        'inputs',
        nargs='*',
        metavar='INPUT',
        help='image files, or folders searched recursively; - is an image on standard input; '
        "default: the config's test set",
    )
    parser.add_argument('--images', type=positive_int, default=3, help='images in activations.png (default: 3)')
    parser.add_argument(
        '--curve-images', type=positive_int, default=128, help='number of images to measure on (default: 128)'
    )
    parser.add_argument('--fill', type=finite, default=0.0, help='value outside a transformed image (default: 0)')
    add_device_argument(parser)
    add_out_dir_argument(parser, 'work_dirs/<config>/capsules')
    add_config_arguments(parser)
    return parse_model_arguments(parser, argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
