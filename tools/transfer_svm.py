"""Classify point clouds by a linear support vector machine on the latent capsules of a trained autoencoder.

    python tools/transfer_svm.py CONFIG CHECKPOINT
    python tools/transfer_svm.py pointcaps-rpr_digitclouds   # a published model, by name
    python tools/transfer_svm.py CONFIG CHECKPOINT --data configs/pointcaps/pointcaps-rpr_modelnet40.py
    python tools/transfer_svm.py CONFIG CHECKPOINT --fractions 0.01 0.05 0.2 1
    python tools/transfer_svm.py --latents work_dirs/CONFIG/transfer/latents.h5 --fractions 0.1

The autoencoder is not trained any further. Training and test clouds are those of the config, or of another one
(--data), prepared by its test pipeline. Features are scaled to zero mean and unit variance over the training clouds;
the C of the SVM is chosen from 0.001, 0.01, 0.1, 1, 10 by 3-fold cross-validation on the training clouds. Writes to
work_dirs/<config>/transfer: latents.h5 (latent capsules and labels of both splits), transfer.json (accuracy and C at
every fraction of the labels), classes.csv and confusion.png (at the largest fraction).
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import (
        add_config_arguments,
        add_device_argument,
        add_out_dir_argument,
        fraction,
        positive_int,
        seed,
    )
    from rescaps_plugin.training.model_arguments import add_model_arguments, parse_model_arguments


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_model_arguments(parser, required=False)
    parser.add_argument(
        '--latents',
        type=Path,
        metavar='FILE',
        help='latents.h5 of an earlier run, used instead of encoding with a model',
    )
    parser.add_argument('--data', metavar='CONFIG', help='config whose clouds are classified (default: CONFIG)')
    parser.add_argument(
        '--fractions',
        type=fraction,
        nargs='+',
        default=[1.0],
        metavar='F',
        help='fractions of the training labels to use, at least one cloud per class (default: 1)',
    )
    parser.add_argument('--seed', type=seed, default=0, help='random seed of label subsets and folds (default: 0)')
    parser.add_argument('--batch-size', type=positive_int, default=32, help='clouds per batch (default: 32)')
    add_device_argument(parser)
    add_out_dir_argument(parser, 'work_dirs/<config>/transfer')
    add_config_arguments(parser)
    args = parse_model_arguments(parser, argv)
    if (args.config is None) == (args.latents is None):
        parser.error('give CONFIG and CHECKPOINT, the name of a published model, or --latents FILE')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        args = parse_args(argv)
        # Imported here, so that --help and argument errors do not need scikit-learn and trimesh.
        from rescaps_plugin.pointcloud.transfer_svm_command import run

        run(args)


if __name__ == '__main__':
    main()
