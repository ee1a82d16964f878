"""Base class of the predictors: typed results for files and data in memory, in PyTorch or in another runtime."""

from __future__ import annotations

import hashlib
import os
import sys
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

import torch
from filelock import FileLock
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from torch import Tensor, nn

from rescaps_plugin import __version__
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import check_folder_writable, replacing
from rescaps_plugin.export.exported import ExportedModel
from rescaps_plugin.export.exporter import Exporter, shape_text
from rescaps_plugin.export.formats import RUNTIMES, Run, choose_runtime, find_runtime
from rescaps_plugin.layers.checks import check_choice, check_positive
from rescaps_plugin.models.prepack import prepack

Input = TypeVar('Input')
Sample = TypeVar('Sample')
Result = TypeVar('Result')


PredictorType = TypeVar('PredictorType', bound='Predictor')


def make_predictor(kind: type[PredictorType], cfg: Config, args: Namespace) -> PredictorType:
    """Return the predictor of a trained model, by the arguments of ``tools/predict.py``.

    Args:
        kind: Its class, which takes a config, a checkpoint, and the options named here.
        cfg: The config.
        args: The arguments.
    """
    predictor = kind(
        cfg,
        args.checkpoint,
        device=args.device,
        batch_size=args.batch_size,
        runtime=args.runtime,
        trust_checkpoint=args.trust_checkpoint,
    )
    if args.prepack:
        predictor.prepack()
    return predictor


def check_device(device: str, in_torch: bool = True) -> None:
    """Check that a device exists; with ``in_torch`` also that PyTorch can use it.

    Raises:
        UserError: It does not, or PyTorch cannot.
    """
    try:
        torch.device(device)
        if in_torch:
            torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise UserError(f'device {device!r} is not available: {str(error).splitlines()[0]}') from error


class Predictor(ABC, Generic[Input, Sample, Result]):
    """Predictions of a trained model for files and data in memory.

    With a runtime other than PyTorch the model is exported to ONNX at the first prediction, once for each size of its
    input, into ``rescaps`` in the cache of ``torch.hub`` (``~/.cache/torch/hub``, or below ``TORCH_HOME``). Later
    predictors of the same model use the file again. The number of threads is ``torch.get_num_threads()``.

    The model may also be a file of ``tools/export.py``, ONNX or OpenVINO. Then ``cfg`` is
    ``rescaps_plugin.export.exported.read_config(FILE)``, and the path of the file takes the place of the checkpoint.

    Args:
        cfg: The config.
        model: Its model, trained and in eval mode; or what an exported file says of it.
        device: Where the model runs: ``'cpu'``, ``'cuda'``, ``'cuda:1'``, ...
        batch_size: Maximum batch size. None: ``default_batch_size``.
        runtime: ``'torch'``, ``'onnx'`` (ONNX Runtime) or ``'openvino'``. None: ``'torch'``, and for an exported file
            the first of the others that is installed and runs it.

    Raises:
        ValueError: ``batch_size`` is not positive, or the runtime is unknown.
        UserError: The device is not available to the runtime, or packages are missing.
    """

    exporter: type[Exporter]
    default_batch_size: int

    def __init__(
        self, cfg: Config, model: nn.Module, device: str, batch_size: int | None, runtime: str | None = None
    ) -> None:
        self.cfg = cfg
        self.name = Path(cfg.filename or 'a config').name
        self.batch_size = self.default_batch_size if batch_size is None else batch_size
        check_positive(batch_size=self.batch_size)
        if runtime is not None:
            check_choice('runtime', runtime, ('torch', *RUNTIMES))
        exported = isinstance(model, ExportedModel)
        self.runtime = choose_runtime(model.file, runtime) if exported else runtime or 'torch'
        self.device = str(device)
        check_device(self.device, in_torch=self.runtime == 'torch')
        if self.runtime != 'torch':
            find_runtime(self.runtime, self.device, exports=not exported)
        self.model = model.to(self.device if self.runtime == 'torch' else 'cpu')
        self._runs: dict[tuple[int, ...], Run] = {}

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({self.name}, device={self.device!r}, batch_size={self.batch_size}, '
            f'runtime={self.runtime!r})'
        )

    @overload
    def predict(self, inputs: list[Input] | tuple[Input, ...], batch_size: int | None = None) -> list[Result]: ...

    @overload
    def predict(self, inputs: Input, batch_size: int | None = None) -> Result: ...

    def predict(self, inputs, batch_size=None):
        """Predict one or several inputs.

        Args:
            inputs: One input, or a list or tuple of inputs, of the kinds that the class names.
            batch_size: Maximum batch size. Defaults to None: the predictor's.

        Returns:
            The result of the input; a list of results for a list or tuple.

        Raises:
            UserError: An input cannot be used; names the file, or the input by its index.
            FileNotFoundError: A file does not exist.
            ValueError: ``batch_size`` is not positive.
        """
        return self._predict(inputs, batch_size)

    def _predict(self, inputs: Any, batch_size: int | None, **options: Any) -> Result | list[Result]:
        """Predict one or several inputs; ``options`` are those of :meth:`predict_batch`."""
        size = self.batch_size if batch_size is None else batch_size
        check_positive(batch_size=size)
        if not isinstance(inputs, (list, tuple)):
            return self.predict_batch([self._read(inputs, 'inputs')], **options)[0]
        samples = (self._read(each, f'inputs[{index}]') for index, each in enumerate(inputs))
        return [result for batch in self._batches(samples, size) for result in self.predict_batch(batch, **options)]

    def prepack(self) -> None:
        """Predict with packed weights from now on: faster in PyTorch on a CPU, see ``rescaps_plugin.models.prepack``.

        Raises:
            UserError: The model does not run in PyTorch on a CPU, or PyTorch was built without oneDNN.
        """
        if self.runtime != 'torch':
            raise UserError(f'packed weights are for the runtime torch, not {self.runtime}.')
        try:
            self.model = prepack(self.model)
        except RuntimeError as error:
            raise UserError(f'{error}.') from error

    def own_scope(self) -> AbstractContextManager:
        """Build objects in the scope of the config, which need not be the current one."""
        return DefaultScope.overwrite_default_scope(self.cfg.get('default_scope'))

    def _read(self, each: Any, source: str) -> Sample:
        if isinstance(each, (str, os.PathLike)) and '://' not in str(each) and not Path(each).is_file():
            fault = 'is a folder, not a file' if Path(each).is_dir() else 'does not exist'
            raise FileNotFoundError(f'{source}: {each} {fault}')
        return self.read(each, source)

    def _batches(self, samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
        for _, group in groupby(samples, self.batch_key):
            while batch := list(islice(group, size)):
                yield batch

    @abstractmethod
    def read(self, each: Input, source: str) -> Sample:
        """Read one input and prepare it by the config's test pipeline.

        Args:
            each: Path of an existing file, or data in memory.
            source: Name of the input, for error messages.
        """

    @abstractmethod
    def batch_key(self, sample: Sample) -> Hashable:
        """Return a value that is equal for samples which fit into one batch."""

    @abstractmethod
    def predict_batch(self, samples: Sequence[Sample]) -> list[Result]:
        """Predict samples that fit into one batch."""

    def run_file(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the exported model.

        Args:
            inputs: Preprocessed inputs ``[batch, ...]``, on the CPU.

        Returns:
            The outputs that ``exporter`` names, on the CPU.

        Raises:
            UserError: The model cannot be exported, or the cache cannot be written; or the file of an exported model
                takes inputs of another size.
        """
        shape = tuple(inputs.shape[1:])
        if shape not in self._runs:
            self._runs[shape] = RUNTIMES[self.runtime].load(self._find_file(shape), self.device)
        run = self._runs[shape]
        if isinstance(self.model, ExportedModel) and not self.model.dynamic_batch:
            return tuple(map(torch.cat, zip(*map(run, inputs.split(1)), strict=True)))
        return run(inputs)

    def find_size_fault(self, shape: tuple[int, ...]) -> str | None:
        """Return why an exported file does not take inputs of a shape, without the batch; None where it does."""
        if not isinstance(self.model, ExportedModel) or shape == self.model.input_size:
            return None
        return (
            f'{self.model.file} takes {self.exporter.sample}s of {shape_text(self.model.input_size)}, not '
            f'{shape_text(shape)}; rescaps export --input-size writes it for another size.'
        )

    def _find_file(self, shape: tuple[int, ...]) -> Path:
        """Return the exported model for inputs of a shape: the given file, or one of the cache, written if need be."""
        if isinstance(self.model, ExportedModel):
            if fault := self.find_size_fault(shape):
                raise UserError(fault)
            return self.model.file
        path = Path(torch.hub.get_dir(), 'rescaps', f'{self._digest(shape)}.onnx')
        if path.is_file():
            return path
        check_folder_writable(path.parent, 'the cache of exported models (see TORCH_HOME)')
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may be writing the same file.
        with FileLock(path.with_suffix('.lock')):
            if not path.is_file():
                print_log(f'Exporting the model of {self.name} to ONNX, once for inputs of {shape}: {path}', 'current')
                options = dict(format='onnx', dynamic_batch=True, opset=None, half=False, input_size=None)
                options |= dict(check=False, int8=False)
                args = Namespace(config=self.name, out=path, device='cpu', **options)
                with replacing(path) as draft:
                    self.exporter(self.cfg, args, self.model, shape).save(draft)
        return path

    def _digest(self, shape: tuple[int, ...]) -> str:
        """Return a hash of all that determines an exported file: versions, settings, code and weights."""
        digest = hashlib.sha256(repr((__version__, torch.__version__, shape, self.cfg.model)).encode())
        names = sorted({type(module).__module__ for module in self.model.modules()})
        for path in (getattr(sys.modules.get(name), '__file__', None) for name in names):
            if path and os.path.isfile(path):  # not so in a notebook
                digest.update(Path(path).read_bytes())
        for name, value in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(value.flatten().view(torch.uint8).numpy())
        return digest.hexdigest()
