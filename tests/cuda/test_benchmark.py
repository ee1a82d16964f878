"""Time, memory and profiles of ``tools/benchmark.py`` on the device."""

import time

import pytest
import torch

from rescaps_plugin.analysis.benchmark.measure import Bench, Conditions, Quantity, time_step
from rescaps_plugin.analysis.benchmark.processes import measure_all
from rescaps_plugin.analysis.cost import StepClock

pytestmark = pytest.mark.cuda


@pytest.fixture
def stack(repository, device):
    """Convolutions alone."""
    return Bench(f'{repository}/tests/layers/plain.py:ConvStack', Conditions((3, 32, 32), device.type))


def test_events_agree_with_a_clock(device):
    synchronise = torch.cuda.synchronize if device.type == 'cuda' else torch.cpu.synchronize
    side = 2048 if device.type == 'cuda' else 256
    a = torch.randn(side, side, device=device)

    def step():
        for _ in range(10):
            a @ a

    measured = time_step(step, device.type, min_time=0.2)
    synchronise()
    begin = time.perf_counter()
    for _ in range(10):
        step()
    synchronise()
    # Loose bounds for a shared machine; without synchronisation a step would be measured as a tenth or less.
    assert 0.5 < measured / ((time.perf_counter() - begin) / 10) < 2


def test_clock_of_steps_does_not_wait_for_the_device(device):
    clock = StepClock(device.type)
    side = 4096 if device.type == 'cuda' else 256
    a = torch.randn(side, side, device=device)
    a @ a
    begin = time.perf_counter()
    for _ in range(5):
        clock.start()
        for _ in range(10):
            a @ a
        clock.stop()
        # Not in a step.
        time.sleep(0.002)
    launched = time.perf_counter() - begin
    seconds = clock.take()
    total = time.perf_counter() - begin
    assert 0 < seconds < total and clock.take() == 0
    if device.type == 'cuda':
        assert launched < total / 2


def test_memory_is_that_of_the_tensors_alive(device, repository):
    bench = Bench(f'{repository}/tests/analysis/measured.py:Saves(layers=3)', Conditions((9, 1024, 1024), device.type))
    assert bench.measure(Quantity('memory', 'train', 2)) == pytest.approx(10 * 9 * 4 * 1024**2, rel=0.05)


def test_profile_is_of_operators(stack):
    shares = stack.profile('train', 16)
    # With kernels, which are not operators, it would be more than half.
    assert shares['rest'] < 0.5 < shares['convolutions'] and sum(shares.values()) == pytest.approx(1)


def test_tf32_is_off_unless_asked_for(device, repository):
    outputs = {}
    for form in ('', '+tf32'):
        bench = Bench(f'{repository}/tests/layers/plain.py:ConvStack{form}', Conditions((3, 32, 32), device.type))
        x = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(device)
        with bench.settings(), torch.no_grad():
            outputs[form] = bench.module(x).double()
    with torch.no_grad():
        exact = bench.module.double()(x.double())
    errors = {form: ((output - exact).norm() / exact.norm()).item() for form, output in outputs.items()}
    assert errors[''] < 1e-5
    if device.type == 'cuda' and torch.cuda.get_device_capability()[0] >= 8:
        assert errors['+tf32'] > 1e-4


def test_forms_side_by_side(device):
    # Compiling for a CPU takes minutes.
    forms = ['', '+tf32', '+deploy', '+channels_last+bf16' + ('+compile' if device.type == 'cuda' else '')]
    quantities = [Quantity('MACs'), Quantity('time', 'infer', 1), Quantity('memory', 'infer', 8)]
    quantities += [Quantity('time', 'train', 8), Quantity('memory', 'train', 8)]
    conditions = Conditions((3, 32, 32), device.type, min_time=0.01)
    measured = measure_all([f'rescaps_tiny{form}' for form in forms], quantities, conditions, 2)
    assert measured.left_out == []
    for form, values in zip(forms, measured.values, strict=True):
        assert set(values) == {quantity for quantity in quantities if quantity.mode != 'train' or form != '+deploy'}
        assert all(min(repeats) > 0 for repeats in values.values())
