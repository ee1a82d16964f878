"""Measuring what networks and layers cost: parameters, multiply-adds, time and memory.

A *contestant* is named the way Python calls it, with the forms it runs in behind it::

    resnet18                                        a model registered in timm
    ResidualPoseRouting(8, routing="pointwise")     a layer of rescaps_plugin.layers
    path/to/file.py:ClassName(types=4)              a module of any Python file
    rescaps_cifar+deploy+channels_last+bf16         a contestant in other forms

Every contestant lives in a process of its own, so that none warms another's caches or keeps its memory, and all are
measured in turn, round by round: a machine that gets slower slows all of them.
"""

import ast
import difflib
import importlib.util
import math
import os
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import cache, partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import timm
import torch
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from rescaps_plugin import layers
from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.machine import PeakMemory

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16}
FORMS = ('deploy', 'channels_last', *PRECISIONS)
# Kinds of operations, by what PyTorch's own names of them contain.
OPERATIONS = {
    'convolutions': r'^aten::\w*conv',
    'matrix products': r'^aten::(mm|bmm|addmm|baddbmm)$',
    'normalisation': r'^aten::\w*norm',
    'copies': r'^aten::(copy_|cat|clone|im2col|col2im)$',
}


def parse_contestant(name: str) -> tuple[Callable[[], nn.Module], list[str]]:
    """Read the name of a contestant.

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


class Conditions(NamedTuple):
    """What is the same for all contestants.

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
    """A contestant on its device, to be measured in this process.

    An inference is a forward pass in eval mode. A training step is the forward pass, the backward pass of half the
    output's squared norm (nothing to compute: the output is its gradient) and the release of the gradients.

    Args:
        name: Name of the contestant.
        conditions: What it is measured under.

    Raises:
        UserError: If it does not take its arguments or the input.
    """

    def __init__(self, name: str, conditions: Conditions) -> None:
        torch.set_num_threads(conditions.threads)
        torch.manual_seed(0)
        build, forms = parse_contestant(name)
        self.conditions = conditions
        self.layout = torch.channels_last if 'channels_last' in forms else torch.contiguous_format
        self.dtype = next((PRECISIONS[form] for form in forms if form in PRECISIONS), None)
        try:
            self.module = build().eval()
            if 'deploy' in forms:
                # It fuses the children of what it is given.
                (self.module,) = reparameterize_model(nn.Sequential(self.module))
            self.module.to(conditions.device, memory_format=self.layout)
            self.step('infer', 1)()
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            size = 'x'.join(map(str, conditions.input_size))
            raise UserError(f'{name} cannot be built or run on inputs of {size}: {error}') from error

    def measure(self, quantity: Quantity) -> float:
        """Measure once."""
        if quantity.kind == 'parameters':
            return sum(parameter.numel() for parameter in self.module.parameters())
        if quantity.kind == 'MACs':
            return self.count_macs()
        step = self.step(quantity.mode, quantity.batch)
        if quantity.kind == 'memory':
            return self.peak_memory(step)
        timer = Timer('step()', globals={'step': step}, num_threads=self.conditions.threads)
        return timer.blocked_autorange(min_run_time=self.conditions.min_time).median

    def step(self, mode: str, batch: int) -> Callable[[], None]:
        """Make what one inference or training step runs."""
        self.module.train(mode == 'train')
        x = torch.randn(batch, *self.conditions.input_size, generator=torch.Generator().manual_seed(0))
        x = x.to(self.conditions.device, memory_format=self.layout)

        def forward() -> list[Tensor]:
            with torch.autocast(self.conditions.device, self.dtype, enabled=self.dtype is not None):
                return list(_tensors(self.module(x)))

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
        step = self.step('infer', 1)
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops() // 2

    def profile(self, mode: str, batch: int) -> dict[str, float]:
        """Measure the share of a step's time, not the first's, that each of :data:`OPERATIONS` takes, and the rest."""
        step = self.step(mode, batch)
        step()
        with torch.profiler.profile() as profiler:
            step()
        seconds = dict.fromkeys([*OPERATIONS, 'rest'], 0.0)
        for event in profiler.key_averages():
            group = next((group for group, names in OPERATIONS.items() if re.search(names, event.key)), 'rest')
            on_gpu = self.conditions.device == 'cuda'
            seconds[group] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
        return {group: time / sum(seconds.values()) for group, time in seconds.items()}

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


# The contestant of this process.
_bench = cache(Bench)


def _measure(name: str, conditions: Conditions, quantity: Quantity) -> float:
    return _bench(name, conditions).measure(quantity)


def _profile(name: str, conditions: Conditions, mode: str, batch: int) -> dict[str, float]:
    return _bench(name, conditions).profile(mode, batch)


def _end_with_parent() -> None:
    """Watch for the end of the parent, which a pool's process whose parent is killed would outlive."""
    Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


class _Processes(ExitStack):
    """A process for each contestant; one that fails is left out from then on, and what it gave before is kept."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names
        spawn = get_context('spawn')
        self.pools = [self.enter_context(ProcessPoolExecutor(1, spawn, _end_with_parent)) for _ in names]
        self.failed: set[int] = set()

    def call(self, index: int, function: Callable[..., Any], *arguments: Any, what: str) -> Any:
        """Give what ``function(name, *arguments)`` gives in the process of a contestant; None if that failed."""
        if index in self.failed:
            return None
        try:
            return self.pools[index].submit(function, self.names[index], *arguments).result()
        except RuntimeError as error:
            reason = 'its process died, out of memory?' if isinstance(error, BrokenProcessPool) else error
            print(f'{self.names[index]} is left out from {what} on: {reason}', file=sys.stderr)
            self.failed.add(index)
            return None


def measure_all(
    names: Sequence[str], quantities: Sequence[Quantity], conditions: Conditions, repeats: int
) -> list[dict[Quantity, list[float]]]:
    """Measure contestants in turn, each in its own process; every other round goes through them backwards.

    Args:
        names: The contestants.
        quantities: What to measure; a deploy form is not trained.
        conditions: What all are measured under.
        repeats: Rounds; parameters and MACs, which do not vary, are measured in the first alone.

    Returns:
        For each contestant the values measured, one a round; none from where it ran out of memory on.

    Raises:
        UserError: If a contestant is unknown or does not take its arguments or the input.
    """
    forms = [parse_contestant(name)[1] for name in names]
    values: list[dict[Quantity, list[float]]] = [{} for _ in names]
    with _Processes(names) as processes:
        for turn in range(repeats):
            print(f'round {turn + 1} of {repeats}', file=sys.stderr)
            for quantity in quantities if turn == 0 else [quantity for quantity in quantities if quantity.mode]:
                for index in range(len(names))[:: -1 if turn % 2 else 1]:
                    if quantity.mode == 'train' and 'deploy' in forms[index]:
                        continue
                    value = processes.call(index, _measure, conditions, quantity, what=str(quantity))
                    if value is not None:
                        values[index].setdefault(quantity, []).append(value)
    return values


def profile_all(
    names: Sequence[str], modes: Sequence[str], batch: int, conditions: Conditions
) -> list[dict[str, dict[str, float]]]:
    """Profile contestants, each in its own process.

    Args:
        names: The contestants.
        modes: ``'infer'``, ``'train'``; a deploy form is not trained.
        batch: Batch size.
        conditions: What all run under.

    Returns:
        For each contestant and mode the shares of time that :meth:`Bench.profile` gives.
    """
    shares: list[dict[str, dict[str, float]]] = [{} for _ in names]
    with _Processes(names) as processes:
        for index, name in enumerate(names):
            for mode in modes:
                if mode == 'train' and 'deploy' in parse_contestant(name)[1]:
                    continue
                share = processes.call(index, _profile, conditions, mode, batch, what=f'the profile of {mode}')
                if share is not None:
                    shares[index][mode] = share
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
