"""Tables and figures of the benchmark."""

import pytest

from rescaps_plugin.analysis.benchmark.measure import Quantity
from rescaps_plugin.analysis.benchmark.processes import Measurements
from rescaps_plugin.analysis.benchmark.report import Target, compare, make_page, make_table, si, with_speeds


def test_targets():
    step, memory = Quantity('time', 'train', 4), Quantity('memory', 'train', 4)
    fast, slow = {step: [1.0, 2.0, 4.0], memory: [5.0]}, {step: [4.0, 8.0, 16.0]}
    targets = [
        Target(step, 'fast', 'slow', speed=3),
        Target(step, 'fast', 'slow', speed=5),
        Target(step, 'fast', 'slow', cost=0.2),
        Target(step, 'slow', 'slow', cost=1),
        Target(memory, 'fast', 'slow', cost=0.2),
        Target(step, 'fast', 'other', cost=0.2),
    ]
    result = compare(['slow', 'fast'], Measurements([slow, fast], ['gone']), 'slow', [{}, {}], targets)
    ratios = [(target['ratio']['median'], target['reached']) for target in result['targets']]
    assert ratios == [(4, True), (4, False), (0.25, False), (1, True)]

    described = {**result, 'machine': {}, 'date': '', 'command': '', 'notes': 'Notes', 'profile batch': None}
    page = make_page(described, [Quantity('parameters'), step, memory])
    assert '| `fast` | `slow` | speed, training step, batch 4 | 4x | ≥ 3x | reached |' in page
    assert '| `fast` | `slow` | training step, batch 4 | 0.25x | ≤ 0.2x | missed |' in page
    assert '\n- gone\n' in page
    # A row for each of more candidates than quantities.
    assert '|  | training step, batch 4 |' in make_page(described, [step])
    assert '| `fast` | 2.00 s, 2.00/s, **0.25x** |' in make_page(described, [Quantity('parameters'), step], short=True)


def test_speeds_and_metrics():
    single, batch = Quantity('time', 'infer', 1), Quantity('time', 'infer', 4)
    constant = {Quantity('MACs'): [100], Quantity('metrics'): [{'accuracy/top1': 99.5}]}
    conv = {**constant, Quantity('peak'): [1000.0, 2000.0], single: [0.5, 0.25], batch: [1.0, 1.0]}
    # Nothing that is counted.
    pool = {Quantity('MACs'): [0], Quantity('peak'): [1000.0, 2000.0], single: [0.5, 0.5]}
    result = compare(['pool', 'conv'], Measurements([pool, conv]), 'pool', [{}, {}])
    assert not any('speed' in name for name in result['candidates'][0]['quantities'])
    found = result['candidates'][1]
    assert found['metrics'] == {'accuracy/top1': 99.5} and 'metrics' not in found['quantities']
    speed = found['quantities']['speed, inference, batch 1']
    # 2 operations for each of 100 multiply-adds, in half and a quarter of a second.
    assert speed['unit'] == 'FLOP/s' and speed['repeats'] == [400, 800] and speed['ratio']['median'] == 0.4
    assert found['quantities']['speed, inference, batch 4']['repeats'] == [800, 800]
    assert found['quantities']['peak']['ratio'] is None

    shown = with_speeds([Quantity('peak'), single, batch, Quantity('metrics')])
    assert [str(each) for each in shown] == [
        *('peak', 'inference, batch 1', 'speed, inference, batch 1'),
        *('inference, batch 4', 'speed, inference, batch 4'),
    ]
    table = make_table({**result, 'profile batch': None}, shown)
    assert '| speed, inference, batch 1 | – | 600 FLOP/s [500 FLOP/s, 700 FLOP/s], **40%** |' in table
    assert '| Top 1 Accuracy | – | 99.50 |' in table


@pytest.mark.parametrize(
    ('value', 'unit', 'text'),
    [
        (0, 'B', '0 B'),
        (1, '', '1.00'),
        (999.6, '', '1.00 k'),
        (25.3e6, 'B', '25.3 MB'),
        (2e12, 'FLOP/s', '2.00 TFLOP/s'),
        (0.01234, 's', '12.3 ms'),
    ],
)
def test_figures(value, unit, text):
    assert si(value, unit) == text
