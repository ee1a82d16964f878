"""Export a trained model, in its deploy form, into one file that runs without this project.

    python tools/export.py CONFIG CHECKPOINT                                   # ONNX
    python tools/export.py CONFIG CHECKPOINT --format torchscript --dynamic-batch --check
    python tools/export.py CONFIG CHECKPOINT --int8 --check                    # ONNX, and an int8 file beside it

Of a classifier the input is `images` [batch, channels, height, width], float32, and the output `scores` [batch,
classes], those of tools/predict.py. Images are given as the config's test pipeline leaves them, each channel less its
mean, over its std. These and the classes, the size and the order of colours are in the file, as the JSON text
`metadata.json`:

    onnxruntime.InferenceSession(FILE).get_modelmeta().custom_metadata_map['metadata.json']
    texts = {'metadata.json': ''}; torch.jit.load(FILE, _extra_files=texts)
    texts = {'metadata.json': ''}; torch.export.load(FILE, extra_files=texts)
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from time import perf_counter

from rescaps_plugin.engine.errors import UserError, user_errors

with user_errors():
    import torch
    from mmengine.config import Config, ConfigDict
    from mmengine.dataset import default_collate
    from mmengine.registry import init_default_scope
    from mmengine.structures import BaseDataElement
    from timm.utils import reparameterize_model
    from torch import Tensor, nn

    from rescaps_plugin import __version__
    from rescaps_plugin.engine.checkpoint import check_exists, load_weights, trust_checkpoint
    from rescaps_plugin.engine.cli import add_config_arguments, positive_int
    from rescaps_plugin.engine.config import load_config, require, set_work_dir
    from rescaps_plugin.engine.export import FORMATS, Export, find_format, quantize, replacing

# Images of the test set that --check compares, and the difference that it allows.
CHECK_IMAGES = 64
TOLERANCE = 1e-4
# Images at a time, in a file that takes any number.
BATCH_SIZE = 16

Run = Callable[[Tensor], Tensor]


class Scores(nn.Module):
    """A classifier that gives the scores its predictions have.

    Args:
        classifier: The classifier, in evaluation.
        images: Images to try ``[b, c, h, w]``.

    Raises:
        UserError: None of the usual functions gives the predictions' scores.
    """

    def __init__(self, classifier: nn.Module, images: Tensor) -> None:
        from rescaps_plugin.classification.inference import find_score_activation

        super().__init__()
        self.classifier = classifier
        self.activation = find_score_activation(classifier, images)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.classifier(images))


class ClassifierExporter:
    """Export of mmpretrain classifiers.

    Args:
        cfg: The config.
        args: The tool's arguments.
    """

    input_name, output_name = 'images', 'scores'

    def __init__(self, cfg: Config, args: Namespace) -> None:
        from mmpretrain import get_model
        from mmpretrain.models import BaseClassifier

        self.cfg = cfg
        self.model = get_model(cfg, device=args.device)
        if not isinstance(self.model, BaseClassifier):
            raise UserError(f'config {args.config} has model.type {cfg.model.type}, which is not an image classifier.')
        checkpoint = load_weights(self.model, args.checkpoint)
        self.classes = checkpoint.get('meta', {}).get('dataset_meta', self.model._dataset_meta).get('classes')
        self.image_shape = self.find_image_shape(args.input_size)
        self.example = torch.randn(1, *self.image_shape, device=args.device)
        deployed = reparameterize_model(self.model).requires_grad_(False)
        try:
            self.network = Scores(deployed, self.example).eval()
        except (AssertionError, RuntimeError) as error:
            raise UserError(f'the model does not take images of {describe(self.image_shape)}: {error}') from error

    def find_image_shape(self, input_size: Sequence[int] | None) -> tuple[int, int, int]:
        """Give ``(channels, height, width)``: of the size asked for, or else of the test set's first image."""
        if input_size:
            stem = next((module for module in self.model.modules() if isinstance(module, nn.Conv2d)), None)
            if stem is None:
                raise UserError('--input-size: the model has no convolution that tells its channels; leave it out.')
            return (stem.in_channels, *input_size)
        return tuple(self.preprocess(self.test_set[0])[0].shape[1:])

    def preprocess(self, sample: dict) -> tuple[Tensor, BaseDataElement]:
        """Make a sample of a data set into an image ``[1, c, h, w]`` as the network takes it, and its annotation."""
        data = self.model.data_preprocessor(default_collate([sample]))
        return data['inputs'], data['data_samples'][0]

    @cached_property
    def test_set(self) -> Sequence[dict]:
        from mmpretrain.datasets import build_dataset

        return build_dataset(self.cfg.test_dataloader.dataset)

    @cached_property
    def calibration_set(self) -> Sequence[dict]:
        """The training set's images, prepared as in a test."""
        from mmpretrain.datasets import build_dataset

        require(self.cfg, 'train_dataloader')
        config = deepcopy(self.cfg.train_dataloader.dataset)
        while 'dataset' in config:  # wrappers that repeat or balance a data set
            config = config.dataset
        if 'pipeline' not in config:
            raise UserError(f'--int8 needs a train_dataloader.dataset with a pipeline; {config.type} has none.')
        config.pipeline = self.cfg.test_dataloader.dataset.pipeline
        return build_dataset(config)

    def batches(self, dataset: Sequence[dict], indices: Sequence[int], size: int) -> Iterator[tuple[Tensor, list]]:
        """Give images ``[size, c, h, w]`` of a data set, the last batch perhaps fewer, and their annotations."""
        for start in range(0, len(indices), size):
            pairs = [self.preprocess(dataset[index]) for index in indices[start : start + size]]
            for image, _ in pairs:
                if image.shape[1:] != self.image_shape:
                    raise UserError(
                        f'the test pipeline gives an image of {describe(image.shape[1:])}, and the file takes '
                        f'{describe(self.image_shape)}: --check and --int8 need images of the size exported.'
                    )
            yield torch.cat([image for image, _ in pairs]), [annotation for _, annotation in pairs]

    def check_images(self) -> Tensor:
        """Give images of the test set, at even distances, ``[n, c, h, w]``."""
        count = min(CHECK_IMAGES, len(self.test_set))
        indices = [index * len(self.test_set) // count for index in range(count)]
        return next(self.batches(self.test_set, indices, count))[0]

    def calibration_images(self, count: int, size: int) -> Iterator[Tensor]:
        """Give images of the training set, drawn with a fixed seed, in batches ``[size, c, h, w]``."""
        indices = torch.randperm(len(self.calibration_set), generator=torch.Generator().manual_seed(0))[:count].tolist()
        return (images for images, _ in self.batches(self.calibration_set, indices, size))

    def reference(self, images: Tensor) -> Tensor:
        """Give what PyTorch predicts, in the training form, ``[b, classes]``."""
        from rescaps_plugin.classification.inference import predict_scores

        return predict_scores(self.model, images).cpu()

    @staticmethod
    def agreement(outputs: Tensor, expected: Tensor) -> str:
        """Say how far two outputs mean the same."""
        agree = (outputs.argmax(1) == expected.argmax(1)).sum()
        return f'top class agrees on {agree} of {len(expected)}'

    def evaluate(self, runs: dict[str, Run], size: int) -> Iterator[str]:
        """Measure on the whole test set, batch by batch in turn: accuracy and time per image.

        Args:
            runs: What is evaluated, by name.
            size: Images at a time.

        Yields:
            A line about each.
        """
        correct = dict.fromkeys(runs, 0)
        seconds = dict.fromkeys(runs, 0.0)
        for run in runs.values():  # the first time costs what no other does
            run(self.example)
        for images, annotations in self.batches(self.test_set, range(len(self.test_set)), size):
            for name, run in runs.items():
                start = perf_counter()
                labels = run(images).argmax(1)
                seconds[name] += perf_counter() - start
                correct[name] += sum(
                    label in annotation.gt_label for label, annotation in zip(labels, annotations, strict=True)
                )
        total = len(self.test_set)
        for name in runs:
            yield (
                f'{name}: accuracy {100 * correct[name] / total:.2f} % on {total} images of the test set, '
                f'{1000 * seconds[name] / total:.3f} ms per image at batch {size}'
            )

    def metadata(self) -> dict:
        """Say what goes in and comes out."""
        from mmpretrain.datasets.transforms.utils import get_transform_idx

        channels = self.image_shape[0]
        pipeline = self.cfg.test_dataloader.dataset.pipeline
        options = self.cfg.model.get('data_preprocessor') or self.cfg.get('data_preprocessor') or ConfigDict()
        # Files are read blue first, and images in a data set's own arrays are red first.
        rgb = options.get('to_rgb', False) or get_transform_idx(pipeline, 'LoadImageFromFile') < 0
        return {
            'task': 'classification',
            'classes': self.classes,
            'input_size': self.image_shape,
            'channel_order': ('RGB' if rgb else 'BGR') if channels == 3 else None,
            'mean': options.get('mean') or [0.0] * channels,
            'std': options.get('std') or [1.0] * channels,
            'test_pipeline': pipeline,
        }


# What exports the models of each default_scope.
EXPORTERS = {'mmpretrain': ClassifierExporter}


def describe(shape: Sequence[int]) -> str:
    return 'x'.join(map(str, shape))


def megabytes(path: Path) -> str:
    return f'{path.stat().st_size / 1e6:.2f} MB'


def check(exporter: ClassifierExporter, run: Run, dynamic_batch: bool) -> str:
    """Compare a file's outputs on real images with PyTorch's.

    Args:
        exporter: Gives images and what PyTorch makes of them.
        run: Runs the file.
        dynamic_batch: Whether to take the images in batches of two sizes, and not one by one.

    Returns:
        What the comparison found.

    Raises:
        UserError: They differ by more than the tolerance.
    """
    images = exporter.check_images()
    sizes = [1, len(images) - 1] if dynamic_batch and len(images) > 1 else [1] * len(images)
    outputs = torch.cat([run(batch) for batch in images.split(sizes)])
    expected = exporter.reference(images)
    difference = (outputs - expected).abs().max().item()
    found = (
        f'largest difference to PyTorch {difference:.1e} on {len(images)} images of the test set, '
        f'{exporter.agreement(outputs, expected)}'
    )
    if not difference <= TOLERANCE:  # nor NaN
        raise UserError(f'--check: {found}. The difference may be {TOLERANCE:.0e}; the file was not kept.')
    return found


@torch.inference_mode()
def export_int8(exporter: ClassifierExporter, args: Namespace) -> None:
    """Write the int8 file beside the one in fp32."""
    path = args.out.with_stem(f'{args.out.stem}_int8')
    size = BATCH_SIZE if args.dynamic_batch else 1
    with replacing(path) as draft:
        quantize(args.out, draft, exporter.calibration_images(args.calibration_images, size))
    ratio = path.stat().st_size / args.out.stat().st_size
    print(f'wrote {path} ({megabytes(path)}, {ratio:.2f}x of fp32)')
    if args.check:
        load = FORMATS[args.format].load
        for line in exporter.evaluate({'fp32': load(args.out), 'int8': load(path)}, size):
            print(line)


def export_model(args: Namespace) -> None:
    form = find_format(args.format)
    cfg = load_config(args.config, args.cfg_options)
    require(cfg, 'model', 'test_dataloader')
    scope = cfg.get('default_scope')
    if scope not in EXPORTERS:
        raise UserError(f'config {args.config} has default_scope {scope!r}; it may be {", ".join(EXPORTERS)}.')
    init_default_scope(scope)
    check_exists(args.checkpoint)
    if args.out is None:
        set_work_dir(cfg, None)
        args.out = Path(cfg.work_dir, Path(args.config).stem + form.suffix)
    with trust_checkpoint(args.checkpoint) if args.trust_checkpoint else nullcontext():
        exporter = EXPORTERS[scope](cfg, args)
    origin = {'config': Path(args.config).name, 'rescaps': __version__}
    export = Export(
        exporter.network,
        exporter.example,
        exporter.input_name,
        exporter.output_name,
        {**exporter.metadata(), **origin},
        args.dynamic_batch,
        args.opset,
    )
    with replacing(args.out) as draft:
        form.save(export, draft)
        if args.check:
            with torch.inference_mode():
                print(check(exporter, form.load(draft), args.dynamic_batch))
    print(f'wrote {args.out} ({megabytes(args.out)})')
    if args.int8:
        export_int8(exporter, args)


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument(
        'checkpoint', help='path or URL of the checkpoint; one of the deploy form needs deploy=True in config'
    )
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='default: onnx')
    parser.add_argument('--out', type=Path, metavar='FILE', help='default: work_dirs/<config>/<config>.onnx, .pt, .pt2')
    parser.add_argument('--dynamic-batch', action='store_true', help='take batches of any size; default: one image')
    parser.add_argument(
        '--check',
        action='store_true',
        help='run the file on images of the test set, in its own runtime, and keep it only if it gives what PyTorch '
        'gives; with --int8, measure accuracy and time of both files on the whole test set',
    )
    parser.add_argument('--int8', action='store_true', help='also write <FILE>_int8.onnx, quantised by ONNX Runtime')
    parser.add_argument(
        '--calibration-images',
        type=positive_int,
        default=512,
        metavar='N',
        help='images of the training set that --int8 measures the ranges of activations on; default: 512',
    )
    parser.add_argument('--opset', type=positive_int, metavar='N', help="of ONNX; default: PyTorch's")
    parser.add_argument(
        '--input-size',
        nargs=2,
        type=positive_int,
        metavar=('H', 'W'),
        help="of images; default: the test set's, which then has to be there",
    )
    parser.add_argument('--device', default='cpu', help='where torch files are to run: cpu, cuda, ...; default: cpu')
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    for option in ('int8', 'opset'):
        if args.format != 'onnx' and getattr(args, option):
            parser.error(f'--{option} goes with --format onnx, not {args.format}')
    suffix = FORMATS[args.format].suffix
    if args.out is not None and (args.out.suffix != suffix or args.out.is_dir()):
        parser.error(f'--out {args.out}: give the name of a file that ends in {suffix}')
    return args


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors():
        export_model(args)


if __name__ == '__main__':
    main()
