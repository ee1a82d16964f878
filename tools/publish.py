"""Add a trained model to the zoo: weights, entry in the index, card, and rows in its family's metafile and README.md.

    python tools/publish.py configs/rescaps/digits.py work_dirs/digits/epoch_40.pth rescaps-tiny_digits \
        --metric accuracy/top1=99.44 --timm rescaps_tiny.digits --data "Digits (scikit-learn)" \
        --data-license "CC BY 4.0" --train "1,437 images" --test "360 images" --seed 0 --time "1 minute" \
        --machine "2 cores, AMD EPYC (AVX-512)" --tag capsule-network --tag residual-pose-routing \
        --limit "Digits on a plain background only." \
        --command "python tools/train.py configs/rescaps/digits.py --seed 0"

The checkpoint is tested on the config's test set, as it is and as it is stored. It is refused if the first does not
give the stated metric, or the second differs by more than the noise of the metric.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import seed
    from rescaps_plugin.zoo.publishing import DTYPES, run


def metric(text: str) -> tuple[str, str]:
    name, separator, value = text.partition('=')
    try:
        float(value)
    except ValueError:
        raise ArgumentTypeError(f'must be NAME=NUMBER, such as accuracy/top1=99.44, not {text!r}') from None
    return name, value


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, in configs/')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument('name', help='name of the published model, <model>_<data>')
    parser.add_argument(
        '--metric', type=metric, required=True, metavar='NAME=VALUE', help='main result, as the test must give it'
    )
    parser.add_argument('--timm', metavar='NETWORK.TAG', help='name in timm, for networks that timm creates')
    parser.add_argument(
        '--dtype', choices=DTYPES, default='float16', help='type that the weights are stored in (default: float16)'
    )
    parser.add_argument('--data', required=True, help='name of the data set')
    parser.add_argument('--data-license', required=True, help='licence of the data set')
    parser.add_argument('--train', required=True, help='what of it the model was trained on')
    parser.add_argument('--test', required=True, help='what of it the model is tested on')
    parser.add_argument('--command', required=True, help='command of the training')
    parser.add_argument('--seed', type=seed, required=True, help='seed of the training')
    parser.add_argument('--commit', help='commit that the training was run at (default: the present one)')
    parser.add_argument('--time', required=True, help='duration of the training')
    parser.add_argument('--machine', required=True, help='hardware of the training')
    parser.add_argument(
        '--tag',
        action='append',
        required=True,
        help='kind of the network, a tag of its card, such as capsule-network; may be repeated',
    )
    parser.add_argument(
        '--limit', action='append', default=[], help='what the model is not good for, a sentence; may be repeated'
    )
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='unpickle the given checkpoint even if it holds Python objects; they can run any code',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        run(parse_args(argv))


if __name__ == '__main__':
    main()
