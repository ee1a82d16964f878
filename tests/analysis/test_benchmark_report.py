"""Tables and figures of the benchmark."""

import pytest

from rescaps_plugin.analysis.benchmark.measure import Quantity
from rescaps_plugin.analysis.benchmark.processes import Measurements
from rescaps_plugin.analysis.benchmark.report import Target, compare, make_page, si


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


@pytest.mark.parametrize(
    ('value', 'unit', 'text'),
    [(0, 'B', '0 B'), (1, '', '1.00'), (999.6, '', '1.00 k'), (25.3e6, 'B', '25.3 MB'), (0.01234, 's', '12.3 ms')],
)
def test_figures(value, unit, text):
    assert si(value, unit) == text
