"""Measure what networks and layers cost: parameters, multiply-adds, time and memory.

A *candidate* is named the way Python calls it, with the forms it runs in behind it::

    resnet18                                        a model registered in timm
    ResidualPoseRouting(8, routing="pointwise")     a layer of rescaps_plugin.layers
    path/to/file.py:ClassName(types=4)              a module of any Python file
    rescaps_cifar+deploy+channels_last+bf16         a candidate in other forms

Every candidate lives in a process of its own, so that none warms another's caches or keeps its memory. The processes
start, build and compile side by side; then all are measured in turn, round by round: a machine that gets slower slows
all of them.
"""

import ast
import difflib
import importlib.util
import itertools
import math
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import timm
import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent, FunctionEventAvg
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from rescaps_plugin import layers
from rescaps_plugin.analysis.memory import PeakMemory
from rescaps_plugin.cli.errors import UserError

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16}
COMPILED = ('compile', 'cudagraphs')
FORMS = ('deploy', 'channels_last', *COMPILED, 'tf32', *PRECISIONS)
# Kinds of operations, by what PyTorch's own names of them contain.
OPERATIONS = {
    'convolutions': r'^aten::\w*conv',
    'matrix products': r'^aten::(mm|bmm|addmm|baddbmm)$',
    'normalisation': r'^aten::\w*norm',
    'copies': r'^aten::(copy_|cat|clone|im2col|col2im)$',
}


# Steps in one measurement on a GPU.
MIN_STEPS, MAX_STEPS = 2, 1000


def parse_candidate(name: str) -> tuple[Callable[[], nn.Module], list[str]]:
    """Read the name of a candidate.

    Args:
        name: The name, as the module's docstring describes it.

    Returns:
        What builds it, and the forms it runs in.

    Raises:
        UserError: If the name is malformed or names nothing; it lists close matches.
    """
    target, arguments, suffix = re.fullmatch(r'(.+?)(\(.*\)|)((?:\+\w*)*)', name, re.DOTALL).groups()
    forms = suffix.split('+')[1:]
    for form in forms:
        if form not in FORMS:
            raise UserError(f'{name}: unknown form {form!r}; it may be {", ".join(FORMS)}.')
    try:
        call = ast.parse(f'_{arguments or "()"}', mode='eval').body
        values = [ast.literal_eval(value) for value in call.args]
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise UserError(f'{name}: arguments must be Python literals, as in NAME(8, routing="pointwise").') from error

    path, _, attribute = target.rpartition(':')
    if path:
        known, where, create = (found := _load_file(path)), path, found.get(attribute)
    else:
        known, where = [*layers.__all__, *timm.list_models()], 'timm or rescaps_plugin.layers'
        registered = partial(timm.create_model, target) if timm.is_model(target) else None
        create = getattr(layers, target) if target in layers.__all__ else registered
    if not callable(create):
        close = ', '.join(difflib.get_close_matches(attribute, known))
        raise UserError(
            f'{attribute!r} is nothing to build from {where}.' + (f' Close matches: {close}.' if close else '')
        )
    return partial(create, *values, **keywords), forms


def _load_file(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise UserError(f'{path} does not exist.')
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def is_compiled(forms: Sequence[str]) -> bool:
    """Return whether a candidate of these forms is compiled."""
    return any(form in forms for form in COMPILED)


class Conditions(NamedTuple):
    """What is the same for all candidates.

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
        kind: ``'parameters'``, ``'MACs'`` (multiply-adds), ``'time'`` in seconds, ``'memory'`` in bytes, or ``'share'``
            of time, see :func:`profile_all`.
        mode: ``'infer'`` or ``'train'``, for time and memory.
        batch: Batch size, for time and memory.
    """

    kind: str
    mode: str = ''
    batch: int = 0

    @property
    def label(self) -> str:
        """What is measured, whatever the batch."""
        if not self.mode:
            return self.kind
        step = {'infer': 'inference', 'train': 'training step'}[self.mode]
        return f'added memory, {step}' if self.kind == 'memory' else step

    def __str__(self) -> str:
        return f'{self.label}, batch {self.batch}' if self.mode else self.label


class Bench:
    """A candidate on its device, to be measured in this process.

    An inference is a forward pass in eval mode. A training step is the forward pass, the backward pass of half the
    output's squared norm (nothing to compute: the output is its gradient) and the release of the gradients.

    float32 is exact on a GPU, in convolutions too, unless the form ``tf32`` allows TensorFloat-32. The form ``compile``
    is :func:`torch.compile` of the whole module as one graph, for each batch size anew; ``cudagraphs`` is the same in
    its mode ``reduce-overhead``, which replays CUDA graphs.

    Args:
        name: Name of the candidate.
        conditions: What it is measured under.

    Raises:
        UserError: If it does not take its arguments or the input.
    """

    def __init__(self, name: str, conditions: Conditions) -> None:
        torch.set_num_threads(conditions.threads)
        torch.manual_seed(0)
        build, forms = parse_candidate(name)
        self.conditions = conditions
        self.layout = torch.channels_last if 'channels_last' in forms else torch.contiguous_format
        self.dtype = next((PRECISIONS[form] for form in forms if form in PRECISIONS), None)
        self.tf32 = 'tf32' in forms
        self.compiled = is_compiled(forms)
        try:
            self.module = build().eval()
            if 'deploy' in forms:
                # It fuses the children of what it is given.
                (self.module,) = reparameterize_model(nn.Sequential(self.module))
            self.module.to(conditions.device, memory_format=self.layout)
            self.network = self.module
            with self.settings():
                self.step('infer', 1)()
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            size = 'x'.join(map(str, conditions.input_size))
            raise UserError(f'{name} cannot be built or run on inputs of {size}: {error}') from error
        if self.compiled:
            mode = 'reduce-overhead' if 'cudagraphs' in forms else 'default'
            self.network = torch.compile(self.module, fullgraph=True, dynamic=False, mode=mode)

    def prepare(self, quantities: Iterable[Quantity]) -> None:
        """Compile for the steps that are to be measured, if the candidate is a compiled one."""
        if not self.compiled:
            return
        for mode, batch in dict.fromkeys((quantity.mode, quantity.batch) for quantity in quantities if quantity.mode):
            with self.settings():
                self.step(mode, batch)()

    @contextmanager
    def settings(self) -> Iterator[None]:
        """Set what PyTorch keeps for the process: TensorFloat-32, and cuDNN's algorithms by its heuristics.

        To choose them by their times takes ten seconds a candidate and more, and is off in our configs too.
        """
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, self.tf32, self.tf32
        try:
            yield
        finally:
            cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before

    def measure(self, quantity: Quantity) -> float:
        """Measure once."""
        if quantity.kind == 'parameters':
            return sum(parameter.numel() for parameter in self.module.parameters())
        if quantity.kind == 'MACs':
            return self.count_macs()
        with self.settings():
            step = self.step(quantity.mode, quantity.batch)
            if quantity.kind == 'memory':
                return self.peak_memory(step)
            return time_step(step, self.conditions.device, self.conditions.min_time, self.conditions.threads)

    def step(self, mode: str, batch: int, network: Callable[[Tensor], Any] | None = None) -> Callable[[], None]:
        """Make what one inference or training step runs, of the candidate as it is or as compiled."""
        network = network or self.network
        self.module.train(mode == 'train')
        x = torch.randn(batch, *self.conditions.input_size, generator=torch.Generator().manual_seed(0))
        x = x.to(self.conditions.device, memory_format=self.layout)

        def forward() -> list[Tensor]:
            with torch.autocast(self.conditions.device, self.dtype, enabled=self.dtype is not None):
                return list(_tensors(network(x)))

        def infer() -> None:
            with torch.no_grad():
                forward()

        def train() -> None:
            outputs = forward()
            torch.autograd.backward(outputs, [output.detach() for output in outputs])
            self.module.zero_grad()
            x.grad = None

        x.requires_grad_(mode == 'train' and self.conditions.input_grad)
        return train if mode == 'train' else infer

    def count_macs(self) -> int:
        """Count the multiply-adds of convolutions and matrix products in the inference of one input."""
        # Operators inside a compiled graph are not seen.
        step = self.step('infer', 1, self.module)
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops() // 2

    def profile(self, mode: str, batch: int) -> dict[str, float]:
        """Measure the share of a step's time, not the first's, that each of :data:`OPERATIONS` takes, and the rest."""
        with self.settings():
            step = self.step(mode, batch)
            step()
            with torch.profiler.profile() as profiler:
                step()
        return shares_of_time(profiler.key_averages(), self.conditions.device)

    def peak_memory(self, step: Callable[[], None]) -> int:
        """Measure how far one step, not the first, raises the memory in use at its peak."""
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
    """Measure the median time of a step, not the first.

    On a GPU it is the time between events that are recorded between steps, without waiting for any but the last.

    Args:
        step: What to run.
        device: Where it runs, ``'cpu'`` or ``'cuda'``.
        min_time: Seconds to spend on the steps that are counted.
        threads: Threads of PyTorch on the CPU. Defaults to those that it has.

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
        events: The profile, as ``key_averages()`` gives it. On a GPU each kernel is in it twice: in the time of the
            operator that launched it, which counts, and in a row of its own.
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


def _serve(connection: Connection, name: str, conditions: Conditions, compile_threads: int) -> None:
    """Build a candidate and answer calls of its methods, in a process of its own, until the parent ends."""
    # A computation would go on without its parent.
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()
    # Read when the compiler is first imported.
    os.environ.setdefault('TORCHINDUCTOR_COMPILE_THREADS', str(compile_threads))
    bench = None
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            bench = bench or Bench(name, conditions)
            answer = getattr(bench, method)(*arguments), None
        except Exception as error:  # a candidate is any code, and exceptions do not all survive a pipe
            text = str(error).strip() or type(error).__name__
            answer = None, text.splitlines()[0]
        if conditions.device == 'cuda':
            # The other candidates' processes need the memory.
            torch.cuda.empty_cache()
        connection.send(answer)


class _Processes:
    """A process for each candidate, started when it is first called; on leaving the block all end."""

    def __init__(self, names: Sequence[str], conditions: Conditions) -> None:
        self.compiled = [is_compiled(parse_candidate(name)[1]) for name in names]
        self.cores = os.cpu_count() or 1
        compile_threads = max(1, self.cores // max(1, sum(self.compiled)))
        self.arguments = [(name, conditions, compile_threads) for name in names]
        self.started: dict[int, tuple[SpawnProcess, Connection]] = {}

    def _start(self, index: int) -> tuple[SpawnProcess, Connection]:
        spawn = get_context('spawn')
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, *self.arguments[index]))
        process.start()
        theirs.close()
        self.started[index] = process, ours
        return process, ours

    def __enter__(self) -> '_Processes':
        return self

    def __exit__(self, *_: Any) -> None:
        # A process that waits for a call ends; one that is busy, or not yet there, is killed.
        for _, connection in self.started.values():
            connection.close()
        for process, _ in self.started.values():
            process.join(2)
            process.kill()
            process.join()

    def alive(self, index: int) -> bool:
        """Tell whether the process of a candidate runs."""
        return self.started[index][0].is_alive()

    def call(self, index: int, method: str, *arguments: Any, deadline: float = math.inf) -> tuple[Any, str | None]:
        """Call a method of a candidate's :class:`Bench`.

        Args:
            index: Which candidate.
            method: Name of the method.
            *arguments: Its arguments.
            deadline: When to give up and kill the process, in seconds of :func:`time.monotonic`.

        Returns:
            The result and None, or None and the error.
        """
        begin = time.monotonic()
        if begin > deadline:
            return None, 'no time to build it'
        process, connection = self.started[index] if index in self.started else self._start(index)
        try:
            connection.send((method, arguments))
            if connection.poll(None if deadline == math.inf else deadline - begin):
                return connection.recv()
            process.kill()
            process.join()
            return None, f'not done after {deadline - begin:.0f} s'
        except (EOFError, OSError):
            process.join()
            return None, 'its process died, out of memory?'

    def prepare(self, quantities: Sequence[Sequence[Quantity]], deadline: float) -> list[str | None]:
        """Build candidates side by side, as many as keep the CPU busy, those that are compiled last.

        Args:
            quantities: What is to be measured of each.
            deadline: As of :meth:`call`.

        Returns:
            For each candidate the error, if any.
        """
        order = sorted(range(len(quantities)), key=self.compiled.__getitem__)
        with ThreadPoolExecutor(2 * self.cores) as threads:
            calls = {
                index: threads.submit(self.call, index, 'prepare', quantities[index], deadline=deadline)
                for index in order
            }
        return [calls[index].result()[1] for index in range(len(quantities))]


@dataclass
class Measurements:
    """What is measured so far.

    Args:
        values: For each candidate the values measured, one a round.
        left_out: Messages on what could not be measured, with the reasons.
    """

    values: list[dict[Quantity, list[float]]]
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, message: str) -> None:
        """Note and print what is left out."""
        print(message, file=sys.stderr)
        self.left_out.append(message)


def measure_all(
    names: Sequence[str],
    quantities: Sequence[Quantity],
    conditions: Conditions,
    repeats: int,
    deadline: float = math.inf,
    progress: Callable[[Measurements], None] = lambda measured: None,
) -> Measurements:
    """Measure candidates in turn, each in its own process; every other round goes through them backwards.

    What fails, as for lack of memory, is left out from then on.

    Args:
        names: The candidates.
        quantities: What to measure; a deploy form is not trained.
        conditions: What all are measured under.
        repeats: Rounds; what does not vary is measured in the first alone: parameters, MACs and a GPU's memory.
        deadline: When to start no further measurement, in seconds of :func:`time.monotonic`. Building and compiling
            may take two thirds of the time until then. Defaults to infinity.
        progress: Is called with what is measured whenever that is more of one quantity. Defaults to doing nothing.

    Returns:
        What is measured when all is done or the deadline has passed.

    Raises:
        UserError: If a candidate is unknown.
    """
    forms = [parse_candidate(name)[1] for name in names]
    measured = Measurements([{} for _ in names])
    failed: set[tuple[int, Quantity]] = set()
    wanted = [
        [quantity for quantity in quantities if quantity.mode != 'train' or 'deploy' not in form] for form in forms
    ]
    with _Processes(names, conditions) as processes:
        print(f'building {len(names)} candidates', file=sys.stderr)
        prepared = processes.prepare(wanted, (time.monotonic() + 2 * deadline) / 3)
        for index, error in enumerate(prepared):
            if error:
                measured.leave_out(f'{names[index]} is left out: {error}')
                failed.update((index, quantity) for quantity in quantities)
        for turn in range(repeats):
            for quantity in quantities:
                if turn and (not quantity.mode or quantity.kind == 'memory' and conditions.device == 'cuda'):
                    continue
                print(f'round {turn + 1} of {repeats}: {quantity}', file=sys.stderr)
                for index in range(len(names))[:: -1 if turn % 2 else 1]:
                    if quantity not in wanted[index] or (index, quantity) in failed:
                        continue
                    if time.monotonic() > deadline:
                        measured.leave_out(f'out of time in round {turn + 1} of {repeats}, at {quantity}')
                        return measured
                    value, error = processes.call(index, 'measure', quantity)
                    if error is None:
                        measured.values[index].setdefault(quantity, []).append(value)
                        continue
                    alive = processes.alive(index)
                    measured.leave_out(f'{names[index]} is left out from {quantity}{"" if alive else " on"}: {error}')
                    failed.update((index, other) for other in ([quantity] if alive else quantities))
                progress(measured)
    return measured


def profile_all(
    names: Sequence[str], modes: Sequence[str], batch: int, conditions: Conditions
) -> list[dict[str, dict[str, float]]]:
    """Profile candidates, each in its own process.

    Args:
        names: The candidates.
        modes: ``'infer'``, ``'train'``; a deploy form is not trained.
        batch: Batch size.
        conditions: What all run under.

    Returns:
        For each candidate and mode the shares of time that :meth:`Bench.profile` gives.
    """
    shares: list[dict[str, dict[str, float]]] = [{} for _ in names]
    with _Processes(names, conditions) as processes:
        for index, name in enumerate(names):
            for mode in modes:
                if mode == 'train' and 'deploy' in parse_candidate(name)[1]:
                    continue
                share, error = processes.call(index, 'profile', mode, batch)
                if error is None:
                    shares[index][mode] = share
                else:
                    print(f'{name} is left out from the profile of {mode}: {error}', file=sys.stderr)
    return shares


def growth(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit the exponent ``e`` of ``cost ~ size^e``: the slope of a line through the logarithms by least squares."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def summarise(values: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Summarise the repeats of one quantity.

    Args:
        values: What was measured, one a round.
        reference: The same of the reference; empty if it has none.

    Returns:
        ``median`` and quartiles ``low`` and ``high``, and as ``ratio`` those of the values over the reference's of the
        same round (None where the reference has none, or 0).
    """
    ratios = [value / base for value, base in zip(values, reference, strict=False) if base]
    return {**_quartiles(values), 'ratio': _quartiles(ratios) if ratios else None, 'repeats': list(values)}


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    quantiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, median, high = torch.tensor(values, dtype=torch.float64).quantile(quantiles).tolist()
    return {'median': median, 'low': low, 'high': high}
