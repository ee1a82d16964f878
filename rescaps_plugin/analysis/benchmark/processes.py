"""Measure candidates in parallel processes, one per candidate.

Candidates thus share neither caches nor memory. The processes start, build and compile in parallel; then all are
measured in turn, round by round, so that a slowdown of the machine affects all of them.
"""

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from threading import Thread
from typing import Any

import torch

from rescaps_plugin.analysis.benchmark.candidates import is_compiled, is_deployed, parse_candidate
from rescaps_plugin.analysis.benchmark.measure import CONSTANT, Bench, Conditions, Quantity


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
        except Exception as error:  # a candidate may run any code, and not every exception can be pickled
            text = str(error).strip() or type(error).__name__
            answer = None, text.splitlines()[0]
        if conditions.device == 'cuda':
            # The other candidates' processes need the memory.
            torch.cuda.empty_cache()
        connection.send(answer)


class _Processes:
    """A process for each candidate, started at its first call; all end when the block is left."""

    def __init__(self, names: Sequence[str], conditions: Conditions) -> None:
        self.compiled = [is_compiled(parse_candidate(name).forms) for name in names]
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
        """Return whether the process of a candidate is running."""
        return self.started[index][0].is_alive()

    def call(self, index: int, method: str, *arguments: Any, deadline: float = math.inf) -> tuple[Any, str | None]:
        """Call a method of a candidate's :class:`Bench`.

        Args:
            index: Index of the candidate.
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
        """Build candidates in parallel, as many as keep the CPU busy, and those that are compiled last.

        Args:
            quantities: The quantities to measure of each.
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
    """Measurements so far.

    Args:
        values: For each candidate the values measured, one a round.
        left_out: Messages on what could not be measured, with the reasons.
    """

    values: list[dict[Quantity, list[Any]]]
    left_out: list[str] = field(default_factory=list)

    def leave_out(self, message: str) -> None:
        """Record and print a message on what is left out."""
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
    """Measure candidates in turn, each in its own process; every other round is in reverse order.

    A measurement that fails, for example for lack of memory, is left out of the following rounds.

    Args:
        names: The candidates.
        quantities: Quantities to measure; a deploy form is not trained, and only trained models have metrics.
        conditions: Conditions of all measurements.
        repeats: Rounds; what does not vary, :data:`CONSTANT` and a GPU's memory, is measured in the first alone.
        deadline: When to start no further measurement, in seconds of :func:`time.monotonic`. Building and compiling
            may take two thirds of the time until then. Defaults to infinity.
        progress: Called with the measurements after each quantity of a round. Does nothing by default.

    Returns:
        The measurements when all is done or the deadline has passed.

    Raises:
        UserError: If a candidate is unknown.
    """
    candidates = [parse_candidate(name) for name in names]
    measured = Measurements([{} for _ in names])
    failed: set[tuple[int, Quantity]] = set()
    wanted = [
        [
            quantity
            for quantity in quantities
            if (quantity.mode != 'train' or not is_deployed(candidate.forms))
            and (quantity.kind != 'metrics' or candidate.trained)
        ]
        for candidate in candidates
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
                if turn and (quantity.kind in CONSTANT or quantity.kind == 'memory' and conditions.device == 'cuda'):
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
        conditions: Conditions of all runs.

    Returns:
        For each candidate and mode the shares of time, as of :meth:`Bench.profile`.
    """
    shares: list[dict[str, dict[str, float]]] = [{} for _ in names]
    with _Processes(names, conditions) as processes:
        for index, name in enumerate(names):
            for mode in modes:
                if mode == 'train' and is_deployed(parse_candidate(name).forms):
                    continue
                share, error = processes.call(index, 'profile', mode, batch)
                if error is None:
                    shares[index][mode] = share
                else:
                    print(f'{name} is left out from the profile of {mode}: {error}', file=sys.stderr)
    return shares
