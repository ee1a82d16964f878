"""Base class of the exporters: write a trained model to a file, and compare and evaluate the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement
from timm.utils import reparameterize_model
from torch import Tensor, nn

from rescaps_plugin import __version__
from rescaps_plugin.cli.config import find_test_pipeline, inner_datasets, require, set_work_dir, with_pipeline
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import check_writable, replacing
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.export.formats import FORMATS, Export, Run, find_format
from rescaps_plugin.export.quantization import CALIBRATION_SAMPLES, quantize

# Number of test samples compared by --check, and the largest allowed difference.
CHECK_SAMPLES = 64
TOLERANCE = 1e-4
# That of files with weights in float16.
HALF_TOLERANCE = 1e-2
# Batch size for files with a dynamic batch dimension.
BATCH_SIZE = 16


class Exporter(ABC):
    """Writes the deploy form of a config's trained model to a file, and compares the file with PyTorch.

    A sample is an image or a cloud. Subclasses define the inputs, outputs and metrics of their kind of model.

    Args:
        cfg: The config.
        args: Arguments of the tool.
        model: The config's model, trained and in eval mode. Defaults to None: built, with the checkpoint's weights.
        input_shape: Shape of a sample. Defaults to None: that of ``--input-size``, the config or the test set.

    Raises:
        UserError: The config's model is of another kind, the checkpoint belongs to another model, or the model does not
            take inputs of the given size; or data for ``--check`` or ``--int8`` are missing or of another size.
    """

    task: str
    # Name of a sample, names of its dimensions in --input-size, and the function that collates samples.
    sample: str
    size_names: tuple[str, ...]
    collate: Callable[[list[dict]], dict] = staticmethod(default_collate)
    input_name: str
    output_names: tuple[str, ...]

    def __init__(
        self, cfg: Config, args: Namespace, model: nn.Module | None = None, input_shape: tuple[int, ...] | None = None
    ) -> None:
        self.cfg = cfg
        self.args = args
        self.form = find_format(args.format)
        self.path = self._choose_path()
        if args.input_size and len(args.input_size) != len(self.size_names):
            given = ' '.join(map(str, args.input_size))
            raise UserError(f'--input-size of {self.sample}s is {" ".join(self.size_names)}, not {given}')
        self.batch_size = BATCH_SIZE if args.dynamic_batch else 1
        # Missing data are found here, and not after the model has been traced and written.
        data = [self.test_set] if args.check else []
        data += [self.calibration_set] if args.int8 else []
        self.model = model or self.load_model()
        self.input_shape = input_shape or self.find_input_shape()
        for dataset in data:
            next(self.batches(dataset, [0], 1))
        self.example = torch.randn(1, *self.input_shape, device=args.device)
        deployed = reparameterize_model(self.model).requires_grad_(False)
        try:
            self.network = self.build_network(deployed).eval()
            self.network(self.example)
        except (AssertionError, RuntimeError, UserError) as error:
            raise UserError(
                f'the model does not take {self.sample}s of {shape_text(self.input_shape)}: {error}'
            ) from error

    def _choose_path(self) -> Path:
        """Return the path of the file, after a check that it can be written."""
        path = self.args.out
        if path is None:
            set_work_dir(self.cfg, None)
            path = Path(self.cfg.work_dir, Path(self.args.config).stem + self.form.suffix)
        check_writable(path, '--out')
        return path

    @abstractmethod
    def load_model(self) -> nn.Module:
        """Build the config's model and load the checkpoint; in training form and eval mode."""

    @abstractmethod
    def build_network(self, deployed: nn.Module) -> nn.Module:
        """Build the network to export, with outputs :attr:`output_names`, from the model in its deploy form."""

    @abstractmethod
    def reference(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return PyTorch's predictions for a batch, in the training form."""

    def comparable(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Convert a file's outputs to the form of :meth:`reference`, to which the tolerance applies."""
        return outputs

    @abstractmethod
    def agreement(self, outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        """Describe the agreement between outputs and expected outputs."""

    @abstractmethod
    def score(self, inputs: Tensor, outputs: Sequence[Tensor], annotations: Sequence[BaseDataElement]) -> list:
        """Score the outputs of each sample of a batch."""

    @abstractmethod
    def metrics(self, scores: Sequence) -> dict[str, float]:
        """Return the metrics of a test set from its scores, by the names and in the units of ``tools/test.py``."""

    @abstractmethod
    def summarise(self, scores: Sequence) -> str:
        """Format :meth:`metrics`."""

    def describe(self) -> dict[str, Any]:
        """Return the part of :attr:`metadata` that is specific to the kind of model."""
        return {}

    def find_input_shape(self) -> tuple[int, ...]:
        """Return the shape of a sample; by default that of the first test sample."""
        return tuple(self.preprocess(self.test_set[0])[0].shape[1:])

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata stored in the file."""
        return {
            'task': self.task,
            'input_size': self.input_shape,
            'dynamic_batch': self.args.dynamic_batch,
            **self.describe(),
            'test_pipeline': find_test_pipeline(self.cfg),
            'config': Path(self.args.config).name,
            'rescaps': __version__,
        }

    def describe_images(self, rgb: bool) -> dict[str, Any]:
        """Describe the preprocessing of images ``[c, h, w]``; ``rgb``: whether the channels are RGB."""
        channels = self.input_shape[0]
        options = preprocessor_options(self.cfg)
        return {
            'channel_order': ('RGB' if rgb else 'BGR') if channels == 3 else None,
            'mean': options.get('mean') or [0.0] * channels,
            'std': options.get('std') or [1.0] * channels,
        }

    @cached_property
    def test_set(self) -> Sequence[dict]:
        return DATASETS.build(self.cfg.test_dataloader.dataset)

    @cached_property
    def calibration_set(self) -> Sequence[dict]:
        """The training set with the test pipeline."""
        require(self.cfg, 'train_dataloader')
        config = self.cfg.train_dataloader.dataset
        while 'dataset' in config:  # wrappers that repeat or balance a data set
            config = config.dataset
        if not all('pipeline' in each for each in inner_datasets(config)):
            raise UserError(f'--int8 needs a train_dataloader.dataset with a pipeline; {config.type} has none.')
        return DATASETS.build(with_pipeline(config, find_test_pipeline(self.cfg)))

    def preprocess(self, sample: dict) -> tuple[Tensor, BaseDataElement]:
        """Convert a sample of a data set to an input ``[1, ...]`` of the network, and its annotation."""
        data = self.model.data_preprocessor(self.collate([sample]))
        return data['inputs'], data['data_samples'][0].cpu()

    def batches(self, dataset: Sequence[dict], indices: Sequence[int], size: int) -> Iterator[tuple[Tensor, list]]:
        """Iterate over inputs ``[size, ...]`` of a data set and their annotations; the last batch may be smaller."""
        for start in range(0, len(indices), size):
            pairs = [self.preprocess(dataset[index]) for index in indices[start : start + size]]
            for sample, _ in pairs:
                if sample.shape[1:] != self.input_shape:
                    raise UserError(
                        f'the test pipeline outputs {self.sample}s of {shape_text(sample.shape[1:])}, the file takes '
                        f'{shape_text(self.input_shape)}: --check and --int8 need {self.sample}s of the exported size.'
                    )
            yield torch.cat([sample for sample, _ in pairs]), [annotation for _, annotation in pairs]

    def calibration_inputs(self, count: int = CALIBRATION_SAMPLES) -> Iterator[Tensor]:
        """Iterate over batches of training samples, drawn with a fixed seed."""
        indices = torch.randperm(len(self.calibration_set), generator=torch.Generator().manual_seed(0))[:count].tolist()
        return (inputs for inputs, _ in self.batches(self.calibration_set, indices, self.batch_size))

    def run(self) -> None:
        """Write the files that the arguments ask for.

        Raises:
            UserError: PyTorch cannot write the model, or the check fails.
        """
        self.export()
        if self.args.int8:
            self.export_int8()

    def save(self, path: Path, name: str | None = None) -> None:
        """Write the file.

        Args:
            path: The file.
            name: Format, one of ``FORMATS``. Defaults to None: that of the arguments.

        Raises:
            UserError: PyTorch cannot export the model.
        """
        export = Export(
            self.network,
            self.example,
            self.input_name,
            self.output_names,
            self.metadata,
            self.args.dynamic_batch,
            self.args.opset,
            self.args.half,
        )
        (FORMATS[name] if name else self.form).save(export, path)

    def export(self) -> None:
        """Write the file; with ``--check``, keep it only if its outputs equal PyTorch's.

        Raises:
            UserError: PyTorch cannot export the model, or the check fails.
        """
        with replacing(self.path) as draft:
            self.save(draft)
            if self.args.check:
                print(self.check(self.form.load(draft)))
        print(f'wrote {self.path} ({megabytes(self.form.size_of(self.path))})')

    @torch.inference_mode()
    def export_int8(self) -> None:
        """Write the int8 file next to the other; with ``--check``, evaluate both on the whole test set."""
        source, path = self.path, self.path.with_stem(f'{self.path.stem}_int8')
        inputs = self.calibration_inputs(self.args.calibration_images)
        with replacing(path) as draft:
            if self.form.convert is None:
                quantize(source, draft, inputs)
            else:
                with TemporaryDirectory() as folder:
                    onnx, quantized = Path(folder, 'model.onnx'), Path(folder, 'model_int8.onnx')
                    self.save(onnx, 'onnx')
                    quantize(onnx, quantized, inputs)
                    self.form.convert(quantized, draft)
        size, of = self.form.size_of(path), 'fp16' if self.args.half else 'fp32'
        print(f'wrote {path} ({megabytes(size)}, {size / self.form.size_of(source):.2f}x of {of})')
        if self.args.check:
            for line in self.evaluate({of: self.form.load(source), 'int8': self.form.load(path)}):
                print(line)

    @torch.inference_mode()
    def check(self, run: Run) -> str:
        """Compare a file's outputs with PyTorch's for evenly spaced samples of the test set.

        Args:
            run: Function that runs the file. With a dynamic batch size it is run on one sample and on several.

        Returns:
            Description of the result.

        Raises:
            UserError: The outputs differ by more than the tolerance.
        """
        indices = evenly_spaced(len(self.test_set), CHECK_SAMPLES)
        parts = [part for part in (indices[:1], indices[1:]) if part]
        pairs = [
            (run(inputs), [output.cpu() for output in self.reference(inputs)])
            for part in parts
            for inputs, _ in self.batches(self.test_set, part, self.batch_size)
        ]
        outputs, expected = (
            [torch.cat(parts) for parts in zip(*side, strict=True)] for side in zip(*pairs, strict=True)
        )
        difference = max(
            (ours - theirs).abs().max().item() for ours, theirs in zip(self.comparable(outputs), expected, strict=True)
        )
        found = (
            f'largest difference to PyTorch {difference:.1e} on {len(indices)} {self.sample}s of the test set, '
            f'{self.agreement(outputs, expected)}'
        )
        tolerance = HALF_TOLERANCE if self.args.half else TOLERANCE
        if not difference <= tolerance:  # also true for NaN
            raise UserError(f'--check: {found}. The tolerance is {tolerance:.0e}; the file was not kept.')
        return found

    @torch.inference_mode()
    def evaluate(self, runs: dict[str, Run]) -> Iterator[str]:
        """Evaluate and time files on the whole test set, alternating between files for every batch.

        Args:
            runs: Functions that run the files, by name.

        Yields:
            A line of results for each file.
        """
        scores = {name: [] for name in runs}
        seconds = dict.fromkeys(runs, 0.0)
        for run in runs.values():  # warm-up
            run(self.example)
        for inputs, truth in self.batches(self.test_set, range(len(self.test_set)), self.batch_size):
            for name, run in runs.items():
                start = perf_counter()
                outputs = run(inputs)
                seconds[name] += perf_counter() - start
                scores[name] += self.score(inputs.cpu(), outputs, truth)
        total = len(self.test_set)
        for name in runs:
            yield (
                f'{name}: {self.summarise(scores[name])} on {total} {self.sample}s of the test set, '
                f'{1000 * seconds[name] / total:.3f} ms per {self.sample} at batch {self.batch_size}'
            )


def preprocessor_options(cfg: Config) -> ConfigDict:
    """Return the data preprocessor's part of a config."""
    return cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or ConfigDict()


def shape_text(shape: Sequence[int]) -> str:
    """Format a shape as ``3x32x32``."""
    return 'x'.join(map(str, shape))


def megabytes(size: int) -> str:
    """Format a size in bytes in MB."""
    return f'{size / 1e6:.2f} MB'
