"""Writing a network into one file that runs without this project: ONNX, TorchScript or torch.export.

Every file carries a JSON text that says what goes in and what comes out, under the name ``metadata.json``, which each
runtime reads in its own way::

    json.loads(onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map['metadata.json'])

    texts = {'metadata.json': ''}
    torch.jit.load(file, _extra_files=texts)  # TorchScript; torch.export.load(file, extra_files=texts) for torch.export
    json.loads(texts['metadata.json'])
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rescaps_plugin.engine.errors import UserError

METADATA = 'metadata.json'

# Runs a file: from an input, on the device of the export, to the outputs on the CPU.
Run = Callable[[Tensor], tuple[Tensor, ...]]


class Export(NamedTuple):
    """What is written.

    Args:
        network: A network of one input, in evaluation; it gives a tensor, or a tuple of them.
        example: One input ``[1, ...]``; its shape is the file's.
        input_name: Name of the input.
        output_names: Names of the outputs.
        metadata: What the file says of itself; anything that JSON has no form for is written as its string.
        dynamic_batch: Whether the file takes any batch size, or 1 alone (a TorchScript file says nothing of it).
        opset: Version of the ONNX operators; None for PyTorch's default.
    """

    network: nn.Module
    example: Tensor
    input_name: str
    output_names: tuple[str, ...]
    metadata: dict[str, Any]
    dynamic_batch: bool = False
    opset: int | None = None

    @property
    def text(self) -> str:
        """The metadata as JSON."""
        return json.dumps(self.metadata, default=str, ensure_ascii=False)

    @property
    def inputs(self) -> tuple[Tensor]:
        """What the network is traced with: a batch of 1 would be taken for a constant."""
        return (torch.cat([self.example, self.example]) if self.dynamic_batch else self.example,)

    @property
    def dynamic_shapes(self) -> tuple[dict[int, torch.export.Dim]] | None:
        """The sizes that stay open, as torch.export wants to be told."""
        return ({0: torch.export.Dim('batch')},) if self.dynamic_batch else None

    def trace(self) -> torch.export.ExportedProgram:
        """Trace the network by torch.export.

        Raises:
            UserError: PyTorch cannot, or not for every batch size.
        """
        try:
            return torch.export.export(self.network, self.inputs, dynamic_shapes=self.dynamic_shapes)
        except torch._dynamo.exc.UserError as error:
            batch = ' for batches of any size; leave out --dynamic-batch' if self.dynamic_batch else ''
            raise UserError(f'PyTorch cannot trace this model{batch}: {str(error).splitlines()[0]}') from error


class Format(NamedTuple):
    """A kind of file.

    Args:
        suffix: How its name ends.
        packages: What it needs beside PyTorch.
        save: Writes an export to a path.
        load: Reads a file; gives what runs it.
    """

    suffix: str
    packages: tuple[str, ...]
    save: Callable[[Export, Path], None]
    load: Callable[[Path], Run]


def _save_onnx(export: Export, path: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    program = torch.onnx.export(
        export.trace(),
        input_names=[export.input_name],
        output_names=export.output_names,
        dynamic_shapes=export.dynamic_shapes,  # the sizes' names
        opset_version=export.opset,
        dynamo=True,
        verbose=False,
    )
    written = program.model.opset_imports['']
    if export.opset not in (None, written):
        raise UserError(f'--opset {export.opset} cannot be written by PyTorch {torch.__version__}; {written} can.')
    # Every node carries the stack trace, with the paths of this machine, of the line that it comes from.
    ClearMetadataAndDocStringPass()(program.model)
    program.model.metadata_props[METADATA] = export.text
    program.save(path, external_data=False)


def _load_onnx(path: Path) -> Run:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = InferenceSession(path, options, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    return lambda inputs: tuple(map(torch.from_numpy, session.run(None, {name: inputs.cpu().numpy()})))


def _run_module(module: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> Run:
    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = module(inputs)
        return tuple(output.cpu() for output in ([outputs] if torch.is_tensor(outputs) else outputs))

    return run


@contextmanager
def _torchscript() -> Iterator[None]:
    """Leave out the warnings that TorchScript is deprecated, and those of what tracing takes for a constant."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        yield


def _save_torchscript(export: Export, path: Path) -> None:
    with _torchscript():
        traced = torch.jit.trace(export.network, export.inputs, check_trace=False)
        torch.jit.save(traced, path, _extra_files={METADATA: export.text})


def _load_torchscript(path: Path) -> Run:
    with _torchscript():
        return _run_module(torch.jit.load(path))


def _save_exported(export: Export, path: Path) -> None:
    torch.export.save(export.trace(), path, extra_files={METADATA: export.text})


def _load_exported(path: Path) -> Run:
    return _run_module(torch.export.load(path).module())


FORMATS = {
    'onnx': Format('.onnx', ('onnx', 'onnxruntime', 'onnxscript'), _save_onnx, _load_onnx),
    'torchscript': Format('.pt', (), _save_torchscript, _load_torchscript),
    'exported': Format('.pt2', (), _save_exported, _load_exported),
}


def find_format(name: str) -> Format:
    """Look up a format that can be used here.

    Args:
        name: One of ``FORMATS``.

    Raises:
        UserError: Packages that it needs are missing.
    """
    form = FORMATS[name]
    missing = [package for package in form.packages if find_spec(package) is None]
    if missing:
        raise UserError(f"--format {name} needs {', '.join(missing)}: pip install 'rescaps[export]'")
    return form


class _CalibrationBatches:
    """Batches as ONNX Runtime's calibration asks for them."""

    def __init__(self, name: str, batches: Iterable[Tensor]) -> None:
        self.feeds = ({name: batch.cpu().numpy()} for batch in batches)

    def get_next(self) -> dict | None:
        return next(self.feeds, None)


def quantize(source: Path, target: Path, batches: Iterable[Tensor]) -> None:
    """Quantise an ONNX file to int8 with ONNX Runtime: static, in QDQ form, with a scale for each output channel.

    Activations are uint8, in the range that calibration sees. Weights use 7 of their 8 bits: processors without VNNI
    add products in 16 bits, which 8-bit weights overflow, and the file is to be right on any.

    Args:
        source: The file in fp32.
        target: The file to write, with the same metadata.
        batches: Inputs to calibrate with, of a size that ``source`` takes.
    """
    import onnx_ir
    from onnx_ir.passes.common import RemoveUnusedOpsetsPass
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    original = onnx_ir.load(source)
    with TemporaryDirectory() as folder:
        prepared = Path(folder, 'prepared.onnx')
        # PyTorch has noted all shapes; ONNX Runtime's symbolic inference fails on some of them.
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            _CalibrationBatches(original.graph.inputs[0].name, batches),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
        )
    quantized = onnx_ir.load(target)
    # ONNX Runtime declares all operator sets that it knows, its own among them, and drops the metadata.
    RemoveUnusedOpsetsPass()(quantized)
    quantized.metadata_props.update(original.metadata_props)
    onnx_ir.save(quantized, target)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: The file; folders above it are created.

    Yields:
        Where to write it: beside ``path``, whose place it takes at the end of the block, unless that raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent, prefix='.export-') as folder:
        draft = Path(folder, path.name)
        yield draft
        draft.replace(path)
