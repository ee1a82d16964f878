"""``tools/export.py`` for any kind of model: a trained model's file, and how it does on the config's own data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
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
from rescaps_plugin.cli.config import find_test_pipeline, inner_datasets, require, with_pipeline
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import replacing
from rescaps_plugin.export.formats import Export, Format, Run
from rescaps_plugin.export.quantization import quantize

# Samples of the test set that --check compares, and the difference that it allows.
CHECK_SAMPLES = 64
TOLERANCE = 1e-4
# Samples at a time, in a file that takes any number.
BATCH_SIZE = 16


class Exporter(ABC):
    """Writes the trained model of a config, in its deploy form, into a file, and compares the file with PyTorch.

    A sample is what a data set consists of, an image or a cloud. Subclasses say what their kind of model takes, gives
    and is measured by.

    Args:
        cfg: The config.
        args: Arguments of the tool.

    Raises:
        UserError: The config's model is of another kind, the checkpoint is not of the model, or the model does not
            take inputs of the size asked for; data that ``--check`` and ``--int8`` need are missing or of another size.
    """

    task: str
    # What a sample is, its size as --input-size takes it, and how samples become a batch.
    sample: str
    size_names: tuple[str, ...]
    collate: Callable[[list[dict]], dict] = staticmethod(default_collate)
    input_name: str
    output_names: tuple[str, ...]

    def __init__(self, cfg: Config, args: Namespace) -> None:
        self.cfg = cfg
        self.args = args
        if args.input_size and len(args.input_size) != len(self.size_names):
            given = ' '.join(map(str, args.input_size))
            raise UserError(f'--input-size of {self.sample}s is {" ".join(self.size_names)}, not {given}')
        self.batch_size = BATCH_SIZE if args.dynamic_batch else 1
        # What is missing shows here, and not when the model has been traced and written.
        data = [self.test_set] if args.check else []
        data += [self.calibration_set] if args.int8 else []
        self.model = self.load_model()
        self.input_shape = self.find_input_shape()
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

    @abstractmethod
    def load_model(self) -> nn.Module:
        """Build the config's model and load the checkpoint: in its training form, in eval mode."""

    @abstractmethod
    def build_network(self, deployed: nn.Module) -> nn.Module:
        """Make the network that is written, which gives :attr:`output_names`, of the model in its deploy form."""

    @abstractmethod
    def reference(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what PyTorch predicts for a batch, in the training form."""

    def comparable(self, outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return a file's outputs in the form of :meth:`reference`, in which the tolerance is meant."""
        return outputs

    @abstractmethod
    def agreement(self, outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        """Say how far outputs mean the same as those that are expected."""

    @abstractmethod
    def score(self, inputs: Tensor, outputs: Sequence[Tensor], annotations: Sequence[BaseDataElement]) -> list:
        """Score the outputs of each sample of a batch."""

    @abstractmethod
    def summarise(self, scores: Sequence) -> str:
        """Say what the scores of a test set amount to."""

    def describe(self) -> dict[str, Any]:
        """Say of what goes in and comes out what :attr:`metadata` does not say of every kind of model."""
        return {}

    def find_input_shape(self) -> tuple[int, ...]:
        """Return the shape of a sample, that of the test set's first by default."""
        return tuple(self.preprocess(self.test_set[0])[0].shape[1:])

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says of itself."""
        return {
            'task': self.task,
            'input_size': self.input_shape,
            **self.describe(),
            'test_pipeline': find_test_pipeline(self.cfg),
            'config': Path(self.args.config).name,
            'rescaps': __version__,
        }

    def describe_images(self, rgb: bool) -> dict[str, Any]:
        """Say of images ``[c, h, w]`` what the data preprocessor makes of them; ``rgb``: whether red comes first."""
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
        """The training set's samples, prepared as in a test."""
        require(self.cfg, 'train_dataloader')
        config = self.cfg.train_dataloader.dataset
        while 'dataset' in config:  # wrappers that repeat or balance a data set
            config = config.dataset
        if not all('pipeline' in each for each in inner_datasets(config)):
            raise UserError(f'--int8 needs a train_dataloader.dataset with a pipeline; {config.type} has none.')
        return DATASETS.build(with_pipeline(config, find_test_pipeline(self.cfg)))

    def preprocess(self, sample: dict) -> tuple[Tensor, BaseDataElement]:
        """Make a sample of a data set into an input ``[1, ...]`` as the network takes it, and its annotation."""
        data = self.model.data_preprocessor(self.collate([sample]))
        return data['inputs'], data['data_samples'][0].cpu()

    def batches(self, dataset: Sequence[dict], indices: Sequence[int], size: int) -> Iterator[tuple[Tensor, list]]:
        """Return inputs ``[size, ...]`` of a data set, the last batch perhaps fewer, and their annotations."""
        for start in range(0, len(indices), size):
            pairs = [self.preprocess(dataset[index]) for index in indices[start : start + size]]
            for sample, _ in pairs:
                if sample.shape[1:] != self.input_shape:
                    raise UserError(
                        f'the test pipeline gives {self.sample}s of {shape_text(sample.shape[1:])}, and the file takes '
                        f'{shape_text(self.input_shape)}: --check and --int8 need {self.sample}s of the size exported.'
                    )
            yield torch.cat([sample for sample, _ in pairs]), [annotation for _, annotation in pairs]

    def calibration_inputs(self, count: int) -> Iterator[Tensor]:
        """Return samples of the training set, drawn with a fixed seed, in batches of a size that the file takes."""
        indices = torch.randperm(len(self.calibration_set), generator=torch.Generator().manual_seed(0))[:count].tolist()
        return (inputs for inputs, _ in self.batches(self.calibration_set, indices, self.batch_size))

    def export(self, form: Format, path: Path) -> None:
        """Write the file; with ``--check``, keep it only if it gives what PyTorch gives.

        Raises:
            UserError: PyTorch cannot write the model, or the check fails.
        """
        export = Export(
            self.network,
            self.example,
            self.input_name,
            self.output_names,
            self.metadata,
            self.args.dynamic_batch,
            self.args.opset,
        )
        with replacing(path) as draft:
            form.save(export, draft)
            if self.args.check:
                print(self.check(form.load(draft)))
        print(f'wrote {path} ({megabytes(path)})')

    @torch.inference_mode()
    def export_int8(self, form: Format, source: Path) -> None:
        """Write the int8 file beside the one in fp32; with ``--check``, measure both on the whole test set."""
        path = source.with_stem(f'{source.stem}_int8')
        with replacing(path) as draft:
            quantize(source, draft, self.calibration_inputs(self.args.calibration_images))
        print(f'wrote {path} ({megabytes(path)}, {path.stat().st_size / source.stat().st_size:.2f}x of fp32)')
        if self.args.check:
            for line in self.evaluate({'fp32': form.load(source), 'int8': form.load(path)}):
                print(line)

    @torch.inference_mode()
    def check(self, run: Run) -> str:
        """Compare a file's outputs for samples of the test set, at even distances, with PyTorch's.

        Args:
            run: Runs the file; where it takes any batch size, on one sample and on several.

        Returns:
            What the comparison found.

        Raises:
            UserError: They differ by more than the tolerance.
        """
        count = min(CHECK_SAMPLES, len(self.test_set))
        indices = [index * len(self.test_set) // count for index in range(count)]
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
            f'largest difference to PyTorch {difference:.1e} on {count} {self.sample}s of the test set, '
            f'{self.agreement(outputs, expected)}'
        )
        if not difference <= TOLERANCE:  # nor NaN
            raise UserError(f'--check: {found}. The difference may be {TOLERANCE:.0e}; the file was not kept.')
        return found

    @torch.inference_mode()
    def evaluate(self, runs: dict[str, Run]) -> Iterator[str]:
        """Score files on the whole test set, batch by batch in turn, and take their time.

        Args:
            runs: What runs each file, by name.

        Yields:
            A line about each.
        """
        scores = {name: [] for name in runs}
        seconds = dict.fromkeys(runs, 0.0)
        for run in runs.values():  # the first time costs what no other does
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
    """Return what a config says of the data preprocessor."""
    return cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or ConfigDict()


def shape_text(shape: Sequence[int]) -> str:
    """Write a shape as ``3x32x32``."""
    return 'x'.join(map(str, shape))


def megabytes(path: Path) -> str:
    """Return the size of a file."""
    return f'{path.stat().st_size / 1e6:.2f} MB'
