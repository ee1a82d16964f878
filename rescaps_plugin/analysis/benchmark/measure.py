"""Measure the cost of one candidate in this process: parameters, multiply-adds, time and memory."""

import itertools
import math
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent, FunctionEventAvg
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from rescaps_plugin.analysis.benchmark.candidates import EXPORTED, PRECISIONS, is_compiled, is_deployed, parse_candidate
from rescaps_plugin.analysis.benchmark.trained import open_exporter
from rescaps_plugin.analysis.memory import PeakMemory
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.export.formats import FORMATS, RUNTIMES, Export, Run, find_runtime
from rescaps_plugin.export.quantization import quantize
from rescaps_plugin.models.prepack import prepack

# Kinds of operations, by the names of PyTorch's operators.
OPERATIONS = {
    'convolutions': r'^aten::\w*conv',
    'matrix products': r'^aten::(mm|bmm|addmm|baddbmm)$',
    'normalisation': r'^aten::\w*norm',
    'copies': r'^aten::(copy_|cat|clone|im2col|col2im)$',
}

# Kinds of quantities that do not vary from round to round.
CONSTANT = ('parameters', 'MACs', 'metrics')

# Side of the matrices whose product measures the peak of the machine.
PEAK_SIDES = {'cpu': 1024, 'cuda': 8192}

# Steps in one measurement on a GPU.
MIN_STEPS, MAX_STEPS = 2, 1000


class Conditions(NamedTuple):
    """Conditions of measurement, the same for all candidates.

    Args:
        input_size: Shape of one input, without the batch.
        device: ``'cpu'`` or ``'cuda'``.
        threads: Threads of PyTorch on the CPU.
        min_time: Seconds to spend, at least, on one measurement of time.
        input_grad: Whether a training step computes the input's gradient too, as a layer inside a network does.
    """

    input_size: tuple[int, ...]
    device: str = 'cpu'
    threads: int = 1
    min_time: float = 0.2
    input_grad: bool = False

    @property
    def measures_memory(self) -> bool:
        """Whether peak memory can be read: on a GPU, and where the kernel lets a process reset its peak."""
        return PeakMemory.measurable(self.device)


class Quantity(NamedTuple):
    """Something to measure.

    Args:
        kind: ``'parameters'``, ``'MACs'`` (multiply-adds), ``'peak'`` and ``'speed'`` in operations per second, two for
            a multiply-add, ``'time'`` in seconds, ``'memory'`` in bytes, ``'metrics'``, see :meth:`Bench.evaluate`, or
            ``'share'`` of time, see :meth:`Bench.profile`.
        mode: ``'infer'`` or ``'train'``, for speed, time and memory.
        batch: Batch size, for speed, time and memory; the most test samples, for metrics, 0 for all.
    """

    kind: str
    mode: str = ''
    batch: int = 0

    @property
    def label(self) -> str:
        """Name without the batch size."""
        if not self.mode:
            return self.kind
        step = {'infer': 'inference', 'train': 'training step'}[self.mode]
        return {'memory': 'added memory, ', 'speed': 'speed, '}.get(self.kind, '') + step

    def __str__(self) -> str:
        return f'{self.label}, batch {self.batch}' if self.mode else self.label


class Bench:
    """A candidate on its device, to be measured in this process.

    An inference is a forward pass in eval mode. A training step is the forward pass, the backward pass of half the
    output's squared norm (nothing to compute: the output is its gradient) and the release of the gradients.

    float32 is exact on a GPU, in convolutions too, unless the form ``tf32`` allows TensorFloat-32. The form ``compile``
    is :func:`torch.compile` of the whole module as one graph, compiled for each batch size; ``cudagraphs`` is the same
    in its mode ``reduce-overhead``, which replays CUDA graphs. The form ``prepack`` is that of
    :func:`~rescaps_plugin.models.prepack.prepack`. The forms ``onnx`` and ``openvino`` export the module to
    ONNX, for batches of any size, and run the file; ``int8`` quantises it, calibrated on training samples of a trained
    model, and on noise for others.

    Args:
        name: Name of the candidate.
        conditions: Conditions of measurement.

    Raises:
        UserError: If the candidate rejects its arguments or the input, or if packages are missing.
    """

    def __init__(self, name: str, conditions: Conditions) -> None:
        torch.set_num_threads(conditions.threads)
        torch.manual_seed(0)
        build, forms, trained = parse_candidate(name)
        self.conditions = conditions
        self.input_size = conditions.input_size
        self.layout = torch.channels_last if 'channels_last' in forms else torch.contiguous_format
        self.dtype = next((PRECISIONS[form] for form in forms if form in PRECISIONS), None)
        self.tf32 = 'tf32' in forms
        self.int8 = 'int8' in forms
        self.compiled = is_compiled(forms)
        self.runtime = next((form for form in forms if form in EXPORTED), None)
        if self.runtime:
            find_runtime(self.runtime, conditions.device)
        self.exporter = open_exporter(*trained, conditions.device) if trained else None
        try:
            if self.exporter:
                self.input_size = self.exporter.input_shape
                self.module = self.exporter.build_network(self.exporter.model).eval()
            else:
                self.module = build().eval()
            if is_deployed(forms):
                # It fuses the children of what it is given.
                (self.module,) = reparameterize_model(nn.Sequential(self.module))
            self.module.to(conditions.device, memory_format=self.layout)
            self.network = prepack(self.module) if 'prepack' in forms else self.module
            with self.settings():
                self.step('infer', 1)()
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            size = 'x'.join(map(str, self.input_size))
            raise UserError(f'{name} cannot be built or run on inputs of {size}: {error}') from error
        if self.compiled:
            mode = 'reduce-overhead' if 'cudagraphs' in forms else 'default'
            self.network = torch.compile(self.module, fullgraph=True, dynamic=False, mode=mode)
        if self.runtime:
            self.network = self._run_exported()

    def prepare(self, quantities: Iterable[Quantity]) -> None:
        """Compile for the steps that are to be measured, if the candidate is a compiled one."""
        if not self.compiled:
            return
        for mode, batch in dict.fromkeys((quantity.mode, quantity.batch) for quantity in quantities if quantity.mode):
            with self.settings():
                self.step(mode, batch)()

    def _run_exported(self) -> Run:
        example = torch.randn(1, *self.input_size, device=self.conditions.device)
        with torch.no_grad():
            outputs = tuple(f'output{number}' for number, _ in enumerate(_tensors(self.module(example))))
        with TemporaryDirectory() as folder:
            path, quantized = Path(folder, 'model.onnx'), Path(folder, 'model_int8.onnx')
            FORMATS['onnx'].save(Export(self.module, example, 'input', outputs, {}, dynamic_batch=True), path)
            if self.int8:
                noise = [torch.randn(16, *self.input_size)]
                quantize(path, quantized, self.exporter.calibration_inputs() if self.exporter else noise)
            precision = [] if self.dtype is None else ['bf16']
            return RUNTIMES[self.runtime].load(quantized if self.int8 else path, self.conditions.device, *precision)

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Set PyTorch's flags of the process: TensorFloat-32, and cuDNN's choice of algorithms by its heuristics.

        Choosing them by their times takes ten seconds or more per candidate, and is off in our configs too.
        """
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, self.tf32, self.tf32
        try:
            yield
        finally:
            cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before

    def measure(self, quantity: Quantity) -> float | dict[str, float]:
        """Measure once."""
        if quantity.kind == 'parameters':
            return sum(parameter.numel() for parameter in self.module.parameters())
        if quantity.kind == 'MACs':
            return self.count_macs()
        if quantity.kind == 'metrics':
            return self.evaluate(quantity.batch or None)
        with self.settings():
            if quantity.kind == 'peak':
                return self.measure_peak()
            step = self.step(quantity.mode, quantity.batch)
            if quantity.kind == 'memory':
                return self.peak_memory(step)
            return time_step(step, self.conditions.device, self.conditions.min_time, self.conditions.threads)

    def step(self, mode: str, batch: int, network: Callable[[Tensor], Any] | None = None) -> Callable[[], None]:
        """Make the function of one inference or training step.

        Args:
            mode: ``'infer'`` or ``'train'``.
            batch: Batch size.
            network: Network to run; by default the candidate, compiled where its form says so.

        Returns:
            The function.
        """
        if mode == 'train' and self.runtime:
            raise UserError('an exported file cannot be trained')
        network = network or self.network
        self.module.train(mode == 'train')
        x = torch.randn(batch, *self.input_size, generator=torch.Generator().manual_seed(0))
        x = x.to(self.conditions.device, memory_format=self.layout)

        def infer() -> None:
            with torch.no_grad():
                self._forward(network, x)

        def train() -> None:
            outputs = self._forward(network, x)
            torch.autograd.backward(outputs, [output.detach() for output in outputs])
            self.module.zero_grad()
            x.grad = None

        x.requires_grad_(mode == 'train' and self.conditions.input_grad)
        return train if mode == 'train' else infer

    def _forward(self, network: Callable[[Tensor], Any], x: Tensor) -> list[Tensor]:
        with torch.autocast(self.conditions.device, self.dtype, enabled=self.dtype is not None):
            return list(_tensors(network(x)))

    def count_macs(self) -> int:
        """Count the multiply-adds of convolutions and matrix products in the inference of one input.

        They are those of the deploy form, in which nothing is composed: a training form composes its kernels once for
        all inputs.
        """
        # Operators inside a compiled graph are not seen.
        step = self.step('infer', 1, reparameterize_model(nn.Sequential(self.module.eval())))
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops() // 2

    @torch.no_grad()
    def measure_peak(self) -> float:
        """Measure a large product of square matrices in the candidate's precision, in operations per second.

        On a CPU it is the faster one of ``torch.mm`` and the same product as a convolution, which oneDNN computes: MKL,
        which computes the other in float32, takes twice the time or more on processors of other makers.
        """
        device = self.conditions.device
        side = PEAK_SIDES[device]
        matrix = torch.randn(side, side, device=device)
        if self.int8:
            matrix = matrix.mul(32).clamp(-127, 127).to(torch.int8)
            products = [lambda: torch._int_mm(matrix, matrix)]
        else:
            matrix = matrix.to(self.dtype)
            products = [lambda: torch.mm(matrix, matrix)]
            if device == 'cpu':
                kernel, maps = matrix[:, :, None, None], matrix.view(16, side, 8, -1)
                products.append(lambda: F.conv2d(maps, kernel))
        times = [time_step(product, device, self.conditions.min_time, self.conditions.threads) for product in products]
        return 2 * side**3 / min(times)

    @torch.no_grad()
    def evaluate(self, limit: int | None) -> dict[str, float]:
        """Evaluate a trained model, in the candidate's form, on its test set.

        Args:
            limit: The most test samples, evenly spaced; None for all.

        Returns:
            The metrics, by the names of ``tools/test.py``.
        """
        exporter = self.exporter
        self.module.eval()
        scores = []
        with self.settings():
            indices = evenly_spaced(len(exporter.test_set), limit)
            for inputs, annotations in exporter.batches(exporter.test_set, indices, exporter.batch_size):
                outputs = self._forward(self.network, inputs.to(self.conditions.device, memory_format=self.layout))
                scores += exporter.score(inputs.cpu(), [output.float().cpu() for output in outputs], annotations)
        return exporter.metrics(scores)

    def profile(self, mode: str, batch: int) -> dict[str, float]:
        """Measure the shares of time of :data:`OPERATIONS`, and of the rest, in a step after the first."""
        with self.settings():
            step = self.step(mode, batch)
            step()
            with torch.profiler.profile() as profiler:
                step()
        return shares_of_time(profiler.key_averages(), self.conditions.device)

    def peak_memory(self, step: Callable[[], None]) -> int:
        """Measure by how much one step after the first raises the peak of the memory in use."""
        step()
        memory = PeakMemory(self.conditions.device)
        step()
        return memory.added()


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    else:
        for part in output.values() if isinstance(output, dict) else output:
            yield from _tensors(part)


def time_step(step: Callable[[], Any], device: str, min_time: float, threads: int | None = None) -> float:
    """Measure the median time of the steps after the first.

    On a GPU it is the time between events that are recorded between steps, without waiting for any but the last.

    Args:
        step: Function to run.
        device: Where it runs, ``'cpu'`` or ``'cuda'``.
        min_time: Seconds to spend on the steps that are counted.
        threads: Threads of PyTorch on the CPU. Defaults to the current number.

    Returns:
        Seconds.
    """
    if device != 'cuda':
        timer = Timer('step()', globals={'step': step}, num_threads=threads or torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=min_time).median
    # cuDNN chooses its algorithms in the first.
    step()
    (estimate,) = _times_on_gpu(step, 1)
    return statistics.median(_times_on_gpu(step, min(max(math.ceil(min_time / estimate), MIN_STEPS), MAX_STEPS)))


def _times_on_gpu(step: Callable[[], Any], steps: int) -> list[float]:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    torch.cuda.synchronize()
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1000 for begin, end in itertools.pairwise(events)]


def shares_of_time(events: Iterable[FunctionEvent | FunctionEventAvg], device: str) -> dict[str, float]:
    """Sum the time of a profile's operators by :data:`OPERATIONS`.

    Args:
        events: Return value of the profiler's ``key_averages()``. On a GPU each kernel is in it twice: in the time of
            the operator that launched it, which counts, and in a row of its own.
        device: ``'cpu'`` or ``'cuda'``: whose time to sum.

    Returns:
        The share of each kind of operation, and of the rest.
    """
    seconds = dict.fromkeys([*OPERATIONS, 'rest'], 0.0)
    for event in events:
        if event.device_type == DeviceType.CPU:
            group = next((group for group, names in OPERATIONS.items() if re.search(names, event.key)), 'rest')
            seconds[group] += event.self_device_time_total if device == 'cuda' else event.self_cpu_time_total
    return {group: each / sum(seconds.values()) for group, each in seconds.items()}
