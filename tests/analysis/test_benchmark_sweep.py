"""Sweeps of the benchmark."""

from rescaps_plugin.analysis.benchmark.arguments import parse_args
from rescaps_plugin.analysis.benchmark.sweep import make_conditions


def test_input_size_of_a_point():
    args = parse_args(['ResidualPoseRouting({n})', '--input-size', '17*{n}', '{n}', '3', '--sweep', 'n=4,8'])
    assert make_conditions(args, {'batch': 2, 'n': 4}).input_size == (68, 4, 3)
