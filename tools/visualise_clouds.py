"""Draw point clouds and their reconstructions by autoencoders.

    python tools/visualise_clouds.py CONFIG CHECKPOINT
    python tools/visualise_clouds.py pointcaps-rpr_digitclouds         # a published model, by name
    python tools/visualise_clouds.py DYNAMIC_CONFIG CHECKPOINT RPR_CONFIG CHECKPOINT --clouds 8

Clouds are taken from the first config's test set, evenly spaced. Writes to work_dirs/<first config>/clouds: clouds.png,
the inputs above the reconstruction of every model, with its Chamfer distance times 1000; capsules.png, the
reconstructions coloured by the latent capsule of each point; and clouds.html, an interactive view for a browser.
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import (
        add_config_arguments,
        add_device_argument,
        add_out_dir_argument,
        positive_int,
    )
    from rescaps_plugin.training.model_arguments import add_models_argument


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_models_argument(parser)
    parser.add_argument('--clouds', type=positive_int, default=6, help='number of clouds (default: 6)')
    parser.add_argument('--up', choices=('y', 'z'), default='y', help='axis that points up (default: y)')
    add_device_argument(parser)
    add_out_dir_argument(parser, 'work_dirs/<first config>/clouds')
    add_config_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        args = parse_args(argv)
        # Imported here, so that --help and argument errors do not need trimesh.
        from rescaps_plugin.pointcloud.visualise_clouds_command import run

        run(args)


if __name__ == '__main__':
    main()
