"""Export a trained model, in its deploy form, into a file that runs without this project.

    python tools/export.py CONFIG CHECKPOINT                                   # ONNX
    python tools/export.py rescaps-tiny_digits                                 # a published model, by name
    python tools/export.py CONFIG CHECKPOINT --format torchscript --dynamic-batch --check
    python tools/export.py CONFIG CHECKPOINT --int8 --check                    # ONNX, and an int8 file beside it
    python tools/export.py CONFIG CHECKPOINT --format openvino --half          # .xml and .bin, weights in float16

Inputs and outputs, in float32, of classifiers, salient object detectors and autoencoders of clouds:

    images [batch, channels, height, width]   scores [batch, classes]
    images [batch, 3, height, width]          saliency [batch, 1, height, width]
    points [batch, points, 3]                 reconstruction [batch, points, 3], latent [batch, capsules, entries]

A CHECKPOINT in deploy form needs deploy=True in CONFIG. Outputs equal those of tools/predict.py. Input images are those
that the config's test pipeline returns (for detectors, at the test_size of the data preprocessor), normalised per
channel by mean and std; input clouds are scaled to the unit sphere. Reconstructions are decoded from the same sampled
points every time, as in a test. Mean, std, input size, colour order and classes are stored in the file as the JSON text
`metadata.json`:

    onnxruntime.InferenceSession(FILE).get_modelmeta().custom_metadata_map['metadata.json']
    openvino.Core().read_model(FILE).get_rt_info(['framework', 'metadata.json']).value
    texts = {'metadata.json': ''}; torch.jit.load(FILE, _extra_files=texts)
    texts = {'metadata.json': ''}; torch.export.load(FILE, extra_files=texts)
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    from rescaps_plugin.cli.arguments import add_config_arguments, positive_int
    from rescaps_plugin.export.formats import FORMATS
    from rescaps_plugin.export.quantization import CALIBRATION_SAMPLES
    from rescaps_plugin.training.model_arguments import add_model_arguments, parse_model_arguments
    from rescaps_plugin.training.trained_model import call_by_scope
    from rescaps_plugin.zoo.tasks import EXPORTERS

# Options that not every format has.
OPTIONS = {'int8': ('onnx', 'openvino'), 'opset': ('onnx',), 'half': ('openvino',)}


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add_model_arguments(parser)
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='default: onnx')
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='default: work_dirs/<config>/<config>.onnx, .xml, .pt, .pt2'
    )
    parser.add_argument(
        '--dynamic-batch', action='store_true', help='accept batches of any size; default: one image or cloud'
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='run the file on test samples in its own runtime, and keep it only if its outputs match those of PyTorch; '
        'with --int8, also measure accuracy (MAE and maxF of maps, Chamfer distance of clouds) and time of both '
        'files on the whole test set',
    )
    parser.add_argument('--half', action='store_true', help='store the weights of an OpenVINO file in float16')
    parser.add_argument(
        '--int8',
        action='store_true',
        help='also write <FILE>_int8.onnx, quantised by ONNX Runtime, or the OpenVINO file converted from it',
    )
    parser.add_argument(
        '--calibration-images',
        type=positive_int,
        default=CALIBRATION_SAMPLES,
        metavar='N',
        help='number of training images or clouds that --int8 calibrates activation ranges on; default: %(default)s',
    )
    parser.add_argument('--opset', type=positive_int, metavar='N', help="ONNX opset version; default: PyTorch's")
    parser.add_argument(
        '--input-size',
        nargs='+',
        type=positive_int,
        metavar='N',
        help="height and width of images, or number of points; default: the config's, or else that of the test set, "
        'which must then be present',
    )
    parser.add_argument('--device', default='cpu', help='device for torch files: cpu, cuda, ...; default: cpu')
    add_config_arguments(parser)
    args = parse_model_arguments(parser, argv)
    for option, formats in OPTIONS.items():
        if args.format not in formats and getattr(args, option):
            parser.error(f'--{option} goes with --format {" or ".join(formats)}, not {args.format}')
    suffix = FORMATS[args.format].suffix
    if args.out is not None and (args.out.suffix != suffix or args.out.is_dir()):
        parser.error(f'--out {args.out}: give the name of a file that ends in {suffix}')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    with user_errors():
        call_by_scope(parse_args(argv), EXPORTERS).run()


if __name__ == '__main__':
    main()
