"""Comparison of the cost of candidates."""

from argparse import Namespace
from collections.abc import Sequence

from rescaps_plugin.analysis.benchmark.candidates import parse_candidate
from rescaps_plugin.analysis.benchmark.measure import Quantity
from rescaps_plugin.analysis.benchmark.processes import Measurements, measure_all, profile_all
from rescaps_plugin.analysis.benchmark.report import (
    NO_MEMORY,
    NOTES,
    compare,
    draw,
    make_page,
    save,
    save_plot,
    with_speeds,
)
from rescaps_plugin.analysis.benchmark.sweep import make_conditions
from rescaps_plugin.analysis.machine import describe_run
from rescaps_plugin.cli.errors import UserError


def run_comparison(args: Namespace, names: Sequence[str], reference: str, command: str, deadline: float) -> None:
    """Measure candidates, and write the comparison after every quantity of every round.

    Args:
        args: Arguments of ``tools/benchmark.py``.
        names: Names of the candidates.
        reference: The candidate that ratios are relative to.
        command: The command line, for the record.
        deadline: As of :func:`~rescaps_plugin.analysis.benchmark.processes.measure_all`.

    Raises:
        UserError: A candidate is unknown, or nothing could be measured.
    """
    conditions = make_conditions(args, {})
    if args.accuracy is not None and not any(parse_candidate(name).trained for name in names):
        raise UserError('--accuracy: no NAME is a trained model, such as rescaps-small_mnist or CONFIG:CHECKPOINT.')
    quantities = choose_quantities(args, conditions.measures_memory)
    shown = with_speeds(quantities)
    drawn = [quantity for quantity in quantities if quantity.kind not in ('peak', 'metrics')]
    notes = NOTES.format(
        repeats=args.repeats, reference=reference, input_size='x'.join(map(str, conditions.input_size))
    )
    described = {
        **describe_run(args.device, args.threads, command),
        'conditions': conditions._asdict(),
        'notes': notes + ('' if conditions.measures_memory else NO_MEMORY),
        'profile batch': args.profile,
    }

    def report(measured: Measurements, profiles: Sequence[dict]) -> dict:
        result = {**described, **compare(names, measured, reference, profiles, args.targets)}
        save(args.out_dir, result, make_page(result, shown))
        return result

    none = [{} for _ in names]
    measured = measure_all(
        names, quantities, conditions, args.repeats, deadline, lambda measured: report(measured, none)
    )
    if not any(measured.values):
        raise UserError('nothing could be measured: ' + '; '.join(measured.left_out))
    result = report(measured, profile_all(names, args.modes, args.profile, conditions) if args.profile else none)
    save_plot(args.out_dir, lambda path: draw(result, drawn, path))
    print(make_page(result, shown, short=len(names) > len(shown)))


def choose_quantities(args: Namespace, memory: bool) -> list[Quantity]:
    """List the quantities to measure.

    Training leaves out a batch of 1, which batch normalisation cannot train on.

    Args:
        args: Arguments of ``tools/benchmark.py``.
        memory: Whether memory can be measured.

    Returns:
        The quantities.
    """
    batches = {
        ('time', 'infer'): args.batch_sizes,
        ('time', 'train'): args.train_batch_sizes,
        ('memory', 'infer'): [args.memory_batch],
        ('memory', 'train'): [args.memory_batch] if args.memory_batch > 1 else [],
    }
    modes = {'time': args.modes, 'memory': args.memory_modes if memory else []}
    steps = [(kind, mode) for kind in modes for mode in modes[kind]]
    quantities = [Quantity(*step, batch) for step in steps for batch in batches[step]]
    peak = [Quantity('peak')] if 'infer' in args.modes else []
    metrics = [] if args.accuracy is None else [Quantity('metrics', batch=args.accuracy)]
    return [Quantity('parameters'), Quantity('MACs'), *peak, *quantities, *metrics]
