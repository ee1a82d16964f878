"""Candidates in separate processes."""

import time
from itertools import groupby
from pathlib import Path

import pytest

from rescaps_plugin.analysis.benchmark import processes
from rescaps_plugin.analysis.benchmark.measure import Conditions, Quantity
from rescaps_plugin.analysis.benchmark.processes import measure_all
from rescaps_plugin.analysis.memory import RESET_PEAK, PeakMemory
from tests.analysis import measured

CONDITIONS = Conditions((3, 8, 8), min_time=0.001)


@pytest.fixture
def modules():
    return Path(measured.__file__)


@pytest.mark.skipif(not PeakMemory.measurable('cpu'), reason=f'{RESET_PEAK} cannot be written')
def test_added_memory_is_that_of_the_tensors_alive(modules):
    # Maps above 32 MiB, which the C library always allocates from the system and returns to it.
    map_size = 9 * 1024 * 1024 * 4
    # In inference the input and output of a layer; in training all outputs and the gradients of one's input and output.
    maps = {('infer', 1): 2, ('train', 1): 5, ('train', 2): 10}
    quantities = [Quantity('memory', *step) for step in maps]
    conditions = Conditions((9, 1024, 1024))
    (found,) = measure_all([f'{modules}:Saves(layers=3)'], quantities, conditions, repeats=1).values
    for quantity, count in zip(quantities, maps.values(), strict=True):
        assert found[quantity] == [pytest.approx(count * map_size, rel=0.05)]


def test_rounds_alternate(modules, tmp_path):
    log = tmp_path / 'log'
    names = [f'{modules}:Logs("{letter}", "{log}")' for letter in 'ab']
    quantities = [Quantity('parameters'), Quantity('time', 'infer', 2)]
    told = []
    found = measure_all(names, quantities, CONDITIONS, 2, progress=lambda found: told.append(str(found)))
    assert [letter for letter, _ in groupby(log.read_text())] == ['a', 'b', 'a']
    assert found.left_out == []
    for values in found.values:
        assert values[quantities[0]] == [0] and len(values[quantities[1]]) == 2
    # Called for the parameters, and for the times of both rounds.
    assert len(set(told)) == 3 and told[-1] == str(found)


def test_candidates_that_fail_are_left_out(modules, capsys):
    quantities = [Quantity('parameters'), Quantity('time', 'train', 8), Quantity('time', 'infer', 2)]
    names = [*(f'{modules}:Fails(dies={dies})' for dies in (False, True)), f'{modules}:Fails()', f'{modules}:Sleeps']
    found = measure_all(names, quantities, CONDITIONS, 2)
    assert [len(values) for values in found.values] == [2, 1, 0, 2]
    raises, dies, _, sleeps = found.values
    assert raises[quantities[0]] == dies[quantities[0]] == [1]
    assert len(raises[quantities[2]]) == len(sleeps[quantities[2]]) == 2
    unbuilt, *left_out = found.left_out
    assert unbuilt.startswith(f'{names[2]} is left out: {names[2]} cannot be built')
    assert left_out == [
        f'{names[0]} is left out from training step, batch 8: too much',
        f'{names[1]} is left out from training step, batch 8 on: its process died, out of memory?',
        f'{names[3]} is left out from training step, batch 8: '
        'element 0 of tensors does not require grad and does not have a grad_fn',
    ]
    assert capsys.readouterr().err.count('is left out') == 4


def test_no_measurement_starts_after_the_deadline(modules, monkeypatch):
    clock, passed = time.monotonic, []
    monkeypatch.setattr(processes.time, 'monotonic', lambda: clock() + sum(passed))
    quantities = [Quantity('parameters'), Quantity('time', 'infer', 2), Quantity('time', 'infer', 4)]

    def pass_time(found):
        if len(found.values[0]) == 2:
            passed.append(1000)

    found = measure_all([f'{modules}:Sleeps'], quantities, CONDITIONS, 5, clock() + 999, pass_time)
    assert [len(values) for values in found.values[0].values()] == [1, 1]
    assert found.left_out == ['out of time in round 1 of 5, at inference, batch 4']


def test_candidate_that_is_not_built_in_time(modules):
    deadline = time.monotonic() + 0.6
    found = measure_all([f'{modules}:Stays'], [Quantity('time', 'infer', 2)], CONDITIONS, 1, deadline)
    assert found.left_out == [f'{modules}:Stays is left out: not done after 0 s'] and found.values == [{}]
