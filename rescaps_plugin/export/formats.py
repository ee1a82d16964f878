"""Write a network to a file that runs without this project (ONNX, OpenVINO, TorchScript, torch.export), and run it.

An OpenVINO file has its weights in a second one beside it. Every file contains a JSON description of its inputs and
outputs, named ``metadata.json``, which is read by::

    json.loads(onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map['metadata.json'])
    json.loads(openvino.Core().read_model(file).get_rt_info(['framework', 'metadata.json']).value)

    texts = {'metadata.json': ''}
    torch.jit.load(file, _extra_files=texts)  # TorchScript; torch.export.load(file, extra_files=texts) for torch.export
    json.loads(texts['metadata.json'])
"""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import describe_install

METADATA = 'metadata.json'

# Runs a file: takes an input on the device of the export, and returns the outputs on the CPU.
Run = Callable[[Tensor], tuple[Tensor, ...]]


class Export(NamedTuple):
    """A network to export.

    Args:
        network: Network with one input, in eval mode; returns a tensor, or a tuple of tensors.
        example: An input ``[1, ...]``; determines the input shape of the file.
        input_name: Name of the input.
        output_names: Names of the outputs.
        metadata: Metadata of the file; values without a JSON equivalent are converted to strings.
        dynamic_batch: Whether the file takes any batch size, or only 1 (TorchScript files do not declare it).
        opset: Version of the ONNX operators; None for PyTorch's default.
        half: Whether an OpenVINO file stores its weights in float16.
    """

    network: nn.Module
    example: Tensor
    input_name: str
    output_names: tuple[str, ...]
    metadata: dict[str, Any]
    dynamic_batch: bool = False
    opset: int | None = None
    half: bool = False

    @property
    def text(self) -> str:
        """The metadata as JSON."""
        return json.dumps(self.metadata, default=str, ensure_ascii=False)

    @property
    def inputs(self) -> tuple[Tensor]:
        """Inputs for tracing; with a dynamic batch size a batch of 2, as a size of 1 would become a constant."""
        return (torch.cat([self.example, self.example]) if self.dynamic_batch else self.example,)

    @property
    def dynamic_shapes(self) -> tuple[dict[int, torch.export.Dim]] | None:
        """Dynamic dimensions in the format of torch.export."""
        return ({0: torch.export.Dim('batch')},) if self.dynamic_batch else None

    def trace(self) -> torch.export.ExportedProgram:
        """Trace the network by torch.export.

        Raises:
            UserError: PyTorch cannot trace the network, or not for every batch size.
        """
        try:
            return torch.export.export(self.network, self.inputs, dynamic_shapes=self.dynamic_shapes)
        except torch._dynamo.exc.UserError as error:
            batch = ' for batches of any size (--dynamic-batch)' if self.dynamic_batch else ''
            raise UserError(f'PyTorch cannot trace this model{batch}: {str(error).splitlines()[0]}') from error


class Format(NamedTuple):
    """File format.

    Args:
        suffix: Suffix of the file name.
        packages: Required packages besides PyTorch.
        save: Function that writes an export to a path.
        load: Function that reads a file and returns a function that runs it.
        extra: Extra of this project that installs the packages.
        weights: Suffix of the second file, if there is one, with the weights.
        convert: Function that converts an ONNX file, for formats that are made from one.
    """

    suffix: str
    packages: tuple[str, ...]
    save: Callable[[Export, Path], None]
    load: Callable[[Path], Run]
    extra: str = 'export'
    weights: str | None = None
    convert: Callable[[Path, Path], None] | None = None

    def size_of(self, path: Path) -> int:
        """Return the size of a file in bytes, with its weights."""
        files = [path] if self.weights is None else [path, path.with_suffix(self.weights)]
        return sum(file.stat().st_size for file in files)


def _save_onnx(export: Export, path: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    program = torch.onnx.export(
        export.trace(),
        input_names=[export.input_name],
        output_names=export.output_names,
        dynamic_shapes=export.dynamic_shapes,  # names of the dimensions
        opset_version=export.opset,
        dynamo=True,
        verbose=False,
    )
    written = program.model.opset_imports['']
    if export.opset not in (None, written):
        raise UserError(f'--opset {export.opset} cannot be written by PyTorch {torch.__version__}; {written} can.')
    # Every node has a stack trace with paths of this machine.
    ClearMetadataAndDocStringPass()(program.model)
    program.model.metadata_props[METADATA] = export.text
    program.save(path, external_data=False)


def _load_onnx(path: Path, device: str = 'cpu') -> Run:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    place = torch.device(device)
    providers = [('CUDAExecutionProvider', {'device_id': place.index or 0})] if place.type == 'cuda' else []
    session = InferenceSession(path, options, providers=[*providers, 'CPUExecutionProvider'])
    name = session.get_inputs()[0].name
    return lambda inputs: tuple(map(torch.from_numpy, session.run(None, {name: inputs.cpu().numpy()})))


def _read_onnx_metadata(path: Path) -> str | None:
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4  # errors are raised, too
    session = InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return session.get_modelmeta().custom_metadata_map.get(METADATA)


def _onnx_devices() -> tuple[str, ...]:
    from onnxruntime import get_available_providers

    return ('cpu', 'cuda') if 'CUDAExecutionProvider' in get_available_providers() else ('cpu',)


def _convert_to_openvino(source: Path, path: Path, half: bool = False) -> None:
    from openvino import convert_model, save_model

    save_model(convert_model(source), path, compress_to_fp16=half)


def _save_openvino(export: Export, path: Path) -> None:
    with TemporaryDirectory() as folder:
        source = Path(folder, 'model.onnx')
        _save_onnx(export, source)
        _convert_to_openvino(source, path, export.half)


@cache
def _openvino_core() -> Any:
    """Return OpenVINO's core, one for the process.

    OpenVINO unloads its libraries with the core, under models still alive. The core also brings the stack of signal
    handlers, and of two that go in the order in which they came, the stack of the first stays set and is unmapped:
    Ctrl-C, or the end of a worker process, then crashes Python.
    """
    from openvino import Core

    return Core()


def _load_openvino(path: Path, device: str = 'cpu', precision: str = 'f32') -> Run:
    # By default OpenVINO computes in bfloat16 on processors that do.
    options = {'INFERENCE_NUM_THREADS': torch.get_num_threads(), 'INFERENCE_PRECISION_HINT': precision}
    model = _openvino_core().compile_model(path, device.upper(), options)

    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        # Of its own, as several threads may run the model at once.
        request = model.create_infer_request()
        return tuple(map(torch.from_numpy, request.infer(inputs.cpu().numpy(), share_outputs=False).to_tuple()))

    return run


def _read_openvino_metadata(path: Path) -> str | None:
    model = _openvino_core().read_model(path)
    place = ['framework', METADATA]
    return model.get_rt_info(place).value if model.has_rt_info(place) else None


def _run_module(module: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> Run:
    def run(inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = module(inputs)
        return tuple(output.cpu() for output in ([outputs] if torch.is_tensor(outputs) else outputs))

    return run


@contextmanager
def _torchscript() -> Iterator[None]:
    """Ignore warnings of TorchScript's deprecation and of values that tracing makes constants."""
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


_ONNX = ('onnx', 'onnxruntime', 'onnxscript')
_OPENVINO = (*_ONNX, 'openvino')

FORMATS = {
    'onnx': Format('.onnx', _ONNX, _save_onnx, _load_onnx),
    'openvino': Format('.xml', _OPENVINO, _save_openvino, _load_openvino, 'openvino', '.bin', _convert_to_openvino),
    'torchscript': Format('.pt', (), _save_torchscript, _load_torchscript),
    'exported': Format('.pt2', (), _save_exported, _load_exported),
}


def find_format(name: str) -> Format:
    """Return a format whose packages are installed.

    Args:
        name: One of ``FORMATS``.

    Raises:
        UserError: Required packages are missing.
    """
    form = FORMATS[name]
    _require_packages(f'--format {name}', form.packages, form.extra)
    return form


class Runtime(NamedTuple):
    """Program that runs exported files.

    Args:
        package: Its package.
        suffixes: Suffixes of the files that it runs.
        extra: Extra of this project that installs it, and the packages that write ONNX files.
        devices: Function that returns the kinds of devices that it runs on.
        load: Function that reads a file, for a device, and returns a function that runs it. OpenVINO's also takes the
            precision, ``'f32'`` or ``'bf16'``.
        read_metadata: Function that returns the metadata of a file as JSON; None if it has none of this project.
    """

    package: str
    suffixes: tuple[str, ...]
    extra: str
    devices: Callable[[], tuple[str, ...]]
    load: Callable[..., Run]
    read_metadata: Callable[[Path], str | None]


RUNTIMES = {
    'onnx': Runtime('onnxruntime', ('.onnx',), 'export', _onnx_devices, _load_onnx, _read_onnx_metadata),
    'openvino': Runtime(
        'openvino', ('.xml', '.onnx'), 'openvino', lambda: ('cpu',), _load_openvino, _read_openvino_metadata
    ),
}


# Suffixes of the files that runtimes run.
SUFFIXES = tuple(dict.fromkeys(suffix for runtime in RUNTIMES.values() for suffix in runtime.suffixes))


def is_exported(path: str | Path) -> bool:
    """Return whether a path is that of a file for a runtime, by its suffix."""
    return Path(path).suffix.lower() in SUFFIXES


def choose_runtime(path: Path, name: str | None = None) -> str:
    """Return the runtime for a file: the given one, or else the first that is installed.

    Args:
        path: The file.
        name: One of ``RUNTIMES``, or ``'torch'``. Defaults to None.

    Raises:
        UserError: The runtime does not run files of this format.
    """
    fitting = [each for each, runtime in RUNTIMES.items() if path.suffix.lower() in runtime.suffixes]
    if name is None:
        return next((each for each in fitting if find_spec(RUNTIMES[each].package)), fitting[0])
    if name not in fitting:
        raise UserError(f'runtime {name!r} does not run {path}; {" and ".join(map(repr, fitting))} can.')
    return name


def find_runtime(name: str, device: str, exports: bool = True) -> Runtime:
    """Return a runtime whose packages are installed and which runs on a device.

    Args:
        name: One of ``RUNTIMES``.
        device: Device of PyTorch, such as ``'cpu'`` or ``'cuda:1'``.
        exports: Whether ONNX files are to be written for it. Defaults to True.

    Raises:
        UserError: Required packages are missing, or the runtime, as it is installed, does not run on the device.
    """
    runtime = RUNTIMES[name]
    packages = dict.fromkeys([*(_ONNX if exports else ()), runtime.package])
    _require_packages(f'runtime {name!r}', [*packages], runtime.extra)
    devices = runtime.devices()
    if torch.device(device).type not in devices:
        hint = '; onnxruntime-gpu has CUDA' if name == 'onnx' else ''
        raise UserError(f'runtime {name!r} as installed here runs on {" and ".join(devices)}, not on {device!r}{hint}.')
    return runtime


def _require_packages(what: str, packages: Sequence[str], extra: str) -> None:
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise UserError(f'{what} needs {", ".join(missing)}: {describe_install(extra)} brings them.')
