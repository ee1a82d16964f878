"""Score simple predictors on the data of a config, to judge a network's results by.

    python tools/baselines.py configs/rescaps/mnist_small.py
    python tools/baselines.py configs/icon/icon-rpr_efficientnet-lite0_ecssd.py
    python tools/baselines.py configs/pointcaps/pointcaps-rpr_digitclouds.py

They are fitted to the training set of the config and scored by its test_evaluator on its test set:

    images    the most frequent class; and linear classifiers (logistic regression) of the pixels, of the training
              images without and with the config's augmentation
    saliency  the mean of the training masks, for every image
    clouds    another draw of points from the same shape; one cloud for all, with the least Chamfer distance to the
              training clouds; and the accuracy of a linear SVM on the counts of points in 8x8x8 cells
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import add_config_options, seed
    from rescaps_plugin.training.trained_model import call_by_scope

BASELINES = {
    'mmpretrain': 'rescaps_plugin.classification.baselines:score_baselines',
    'mmseg': 'rescaps_plugin.saliency.baselines:score_baselines',
    'mmengine': 'rescaps_plugin.pointcloud.baselines:score_baselines',
}


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument('--seed', type=seed, default=0, help='random seed (default: 0)')
    add_config_options(parser)
    parser.set_defaults(checkpoint=None, trust_checkpoint=False)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        args = parse_args(argv)
        for name, metrics in call_by_scope(args, BASELINES):
            print(f'{name}:', ', '.join(f'{metric} {value:.4g}' for metric, value in metrics.items()))


if __name__ == '__main__':
    main()
