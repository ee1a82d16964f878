"""Compare what networks and layers cost: parameters, multiply-adds, time and memory.

    python tools/benchmark.py rescaps_cifar resnet18 --reference resnet18
    python tools/benchmark.py 'rescaps_cifar(routing="pointwise")' rescaps_cifar+deploy rescaps_cifar+bf16
    python tools/benchmark.py 'ResidualPoseRouting(32)' path/to/file.py:MyLayer --input-size 512 16 16 --input-grad
    python tools/benchmark.py 'ResidualPoseRouting({n})' 'EMRouting({n})' --input-size 17*{n} 8 8 --sweep n=8,16,32
    python tools/benchmark.py --preset deploy
    python tools/benchmark.py --preset gpu
    python tools/benchmark.py --loader configs/rescaps/mnist.py --cfg-options train_dataloader.num_workers=4

A NAME is a model registered in timm, a layer of rescaps_plugin.layers, or a class of a Python file, with arguments
where it needs any. Behind it stands the form that it runs in: +deploy, +channels_last, +compile (torch.compile, as one
graph), +bf16 and +fp16 (autocast), +tf32 (float32 whose products a GPU rounds to TensorFloat-32, which is off without
it). What fails or runs out of memory is left out with its reason. Writes benchmark.json and benchmark.md, after every
quantity of every round, and where matplotlib is installed benchmark.png.

--loader times the training data loader of a config alone, in the main process and in workers, and a training step, says
which of them is the limit, and ends in the loader's `N images/s`.
"""

import math
import re
import shlex
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch

import rescaps_plugin  # noqa: F401  (registers the models)
from rescaps_plugin.analysis.benchmark.measure import (
    Conditions,
    Measurements,
    Quantity,
    growth,
    measure_all,
    profile_all,
    summarise,
)
from rescaps_plugin.analysis.benchmark.presets import PRESETS
from rescaps_plugin.analysis.benchmark.report import (
    NO_MEMORY,
    NOTES,
    SWEEP_NOTES,
    UNITS,
    compare,
    describe_run,
    draw,
    draw_sweep,
    fill,
    make_page,
    make_sweep_page,
    save,
)
from rescaps_plugin.cli.arguments import add_config_options, positive_int
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors


def size(text):
    """Read one number of --input-size: an integer, or a product of integers and swept {KEY}s."""
    if not re.fullmatch(r'(\d+|{\w+})(\*(\d+|{\w+}))*', text):
        raise ArgumentTypeError(f'must be an integer, or a product like 17*{{n}}, not {text!r}')
    return text


def sweep(text):
    """Read KEY=N,N,...; the first is what holds while other keys grow."""
    key, _, values = text.partition('=')
    if not key.isidentifier() or not re.fullmatch(r'[1-9]\d*(,[1-9]\d*)+', values):
        raise ArgumentTypeError(f'must be KEY=N,N,... with two or more positive integers, not {text!r}')
    return key, [int(value) for value in values.split(',')]


def add_loader_arguments(parser):
    parser.add_argument('--loader', metavar='CONFIG', help="time a config's data loader; takes --cfg-options")


def parse_args(argv):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    count = dict(type=positive_int, metavar='N')
    cuda = torch.cuda.is_available()
    parser.add_argument('names', nargs='*', metavar='NAME', help='what to compare')
    parser.add_argument('--preset', choices=PRESETS, help='a comparison that is ready to run')
    add_loader_arguments(parser)
    parser.add_argument('--reference', metavar='NAME', help='what ratios are to; default: the first NAME')
    parser.add_argument(
        '--input-size',
        nargs='+',
        type=size,
        metavar='N',
        default=['3', '32', '32'],
        help='of one input; default: 3 32 32',
    )
    parser.add_argument(
        '--sweep',
        nargs='+',
        type=sweep,
        metavar='KEY=N,N,...',
        help='grow what stands as {KEY} in a NAME or in --input-size, or the batch, with the others at their first N',
    )
    parser.add_argument(
        '--profile', type=positive_int, metavar='BATCH', help='show also the shares of time of kinds of operations'
    )
    parser.add_argument('--modes', nargs='+', choices=('infer', 'train'), default=['infer', 'train'])
    parser.add_argument('--batch-sizes', nargs='+', **count, default=[1, 16], help='to time; default: 1 16')
    parser.add_argument(
        '--train-batch-sizes', nargs='+', **count, help='to time training steps; default: --batch-sizes above 1'
    )
    parser.add_argument('--memory-batch', **count, default=64, help='to measure memory at; default: 64')
    parser.add_argument('--memory-modes', nargs='+', choices=('infer', 'train'), help='default: --modes')
    parser.add_argument('--repeats', **count, default=7, help='rounds; default: 7')
    parser.add_argument(
        '--min-time', type=float, metavar='S', help='seconds a measurement; default: 0.2, with --loader 3'
    )
    parser.add_argument(
        '--time-limit',
        type=float,
        default=math.inf,
        metavar='S',
        help='start no measurement after so many seconds, and report what is measured; default: none',
    )
    parser.add_argument('--input-grad', action='store_true', help="train with the input's gradient, as inner layers do")
    parser.add_argument('--channels-last', action='store_true', help='+channels_last for every NAME')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='+bf16 or +fp16 for every NAME')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if cuda else 'cpu')
    parser.add_argument('--threads', **count, help="on the CPU; default: PyTorch's, or 1 with a GPU")
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmark'), help='folder; default: %(default)s')
    chooser = ArgumentParser(add_help=False)
    add_loader_arguments(chooser)
    if chooser.parse_known_args(argv)[0].loader:
        add_config_options(parser)
    parser.set_defaults(targets=())
    parser.set_defaults(**PRESETS.get(parser.parse_args(argv).preset, {}))
    args = parser.parse_args(argv)
    if args.loader and (args.names or args.preset):
        parser.error('--loader goes without a NAME and a --preset')
    if not args.names and not args.loader:
        parser.error('give a NAME, a --preset or a --loader')
    args.min_time = args.min_time or (3.0 if args.loader else 0.2)
    keys = [key for key, _ in args.sweep or []]
    for text in [*args.names, *args.input_size]:
        for key in re.findall(r'{(\w+)}', text):
            if key not in keys:
                parser.error(f'{text}: --sweep does not say what {{{key}}} is')
    unused = [key for key in keys if key != 'batch' and f'{{{key}}}' not in ' '.join([*args.names, *args.input_size])]
    if unused:
        parser.error(f'--sweep: {{{unused[0]}}} stands in no NAME and not in --input-size')
    if args.device == 'cuda' and not cuda:
        parser.error('--device cuda: PyTorch finds no GPU')
    # Processes of many candidates on one GPU are not to compete for the CPU.
    args.threads = args.threads or (1 if args.device == 'cuda' else torch.get_num_threads())
    args.memory_modes = args.memory_modes or args.modes
    args.train_batch_sizes = args.train_batch_sizes or [batch for batch in args.batch_sizes if batch > 1]
    return args


def choose_quantities(args, memory):
    """List what to measure; training leaves out a batch of 1, which batch normalisation cannot train on."""
    batches = {
        ('time', 'infer'): args.batch_sizes,
        ('time', 'train'): args.train_batch_sizes,
        ('memory', 'infer'): [args.memory_batch],
        ('memory', 'train'): [args.memory_batch] if args.memory_batch > 1 else [],
    }
    modes = {'time': args.modes, 'memory': args.memory_modes if memory else []}
    steps = [(kind, mode) for kind in modes for mode in modes[kind]]
    quantities = [Quantity(*step, batch) for step in steps for batch in batches[step]]
    return [Quantity('parameters'), Quantity('MACs'), *quantities]


def run_sweep(args, command, names, deadline):
    """Measure every point of the sweep: all candidates at their first values, and one key after another grown."""
    held = {'batch': args.batch_sizes[0], **{key: values[0] for key, values in args.sweep}}
    costs, units, memory = {}, {}, True
    for key, values in args.sweep:
        for value in values:
            point = {**held, key: value}
            if str(point) in costs:
                continue
            print(', '.join(f'{name} {number}' for name, number in point.items()), file=sys.stderr)
            conditions = make_conditions(args, point)
            memory = conditions.measures_memory
            steps = [(kind, mode) for kind in ('time', 'memory') for mode in args.modes if kind == 'time' or memory]
            quantities = [
                Quantity(kind, mode, point['batch']) for kind, mode in steps if mode == 'infer' or point['batch'] > 1
            ]
            filled = [fill(name, point) for name in names]
            measured = measure_all(filled, quantities, conditions, args.repeats, deadline)
            costs[str(point)] = [
                {step.label: summarise(found, [])['median'] for step, found in values.items()}
                for values in measured.values
            ]
            units.update({quantity.label: UNITS[quantity.kind] for quantity in quantities})
    candidates = []
    for index, name in enumerate(names):
        curves = {label: {} for label in units}
        for label in units:
            for key, values in args.sweep:
                found = {value: costs[str({**held, key: value})][index].get(label) for value in sorted(values)}
                medians = {value: cost for value, cost in found.items() if cost}
                exponent = growth(list(medians), list(medians.values())) if len(medians) > 1 else None
                curves[label][key] = {'exponent': exponent, 'medians': medians}
        candidates.append({'name': name, 'curves': curves})
    notes = SWEEP_NOTES.format(
        keys=', '.join(key for key, _ in args.sweep),
        held=', '.join(f'{key} {value}' for key, value in held.items()),
        repeats=args.repeats,
    )
    result = {
        **describe_run(args.device, args.threads, command),
        'notes': notes + ('' if memory else NO_MEMORY),
        'sweep': {key: sorted(values) for key, values in args.sweep},
        'units': units,
        'candidates': candidates,
    }
    page = make_sweep_page(result)
    save(args.out, result, page)
    plot(args.out, lambda path: draw_sweep(result, path))
    print(page)


def make_conditions(args, point):
    input_size = tuple(math.prod(int(factor) for factor in fill(text, point).split('*')) for text in args.input_size)
    return Conditions(input_size, args.device, args.threads, args.min_time, args.input_grad)


def plot(folder, draw_plot):
    if find_spec('matplotlib'):
        draw_plot(folder / 'benchmark.png')
        print(f'wrote benchmark.json, benchmark.md and benchmark.png to {folder}')
    else:
        print(f'wrote benchmark.json and benchmark.md to {folder}; for the plot: pip install matplotlib')


def run_comparison(args, command, names, reference, deadline):
    conditions = make_conditions(args, {})
    quantities = choose_quantities(args, conditions.measures_memory)
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
        save(args.out, result, make_page(result, quantities))
        return result

    none = [{} for _ in names]
    measured = measure_all(
        names, quantities, conditions, args.repeats, deadline, lambda measured: report(measured, none)
    )
    if not any(measured.values):
        raise UserError('nothing could be measured: ' + '; '.join(measured.left_out))
    result = report(measured, profile_all(names, args.modes, args.profile, conditions) if args.profile else none)
    plot(args.out, lambda path: draw(result, quantities, path))
    print(make_page(result, quantities, short=len(names) > len(quantities)))


def run_loader(args, command):
    # Here, so that what compares timm models does without mmengine.
    from rescaps_plugin.analysis.benchmark.loader import make_loader_page, measure_loader

    speed = measure_loader(args.loader, args.cfg_options, str(args.out), args.min_time)
    page = make_loader_page(args.loader, speed)
    save(args.out, {**describe_run(speed.device, args.threads, command), **speed._asdict()}, page)
    print(page, end='')


def run(args, command):
    if args.loader:
        run_loader(args, command)
        return
    deadline = time.monotonic() + args.time_limit
    forms = ('+channels_last' if args.channels_last else '') + (f'+{args.amp}' if args.amp else '')
    names = [name + forms for name in args.names]
    if args.sweep:
        run_sweep(args, command, names, deadline)
        return
    reference = (args.reference or args.names[0]) + forms
    if reference not in names:
        names.insert(0, reference)
    run_comparison(args, command, names, reference, deadline)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    with user_errors():
        run(args, shlex.join(['python', 'tools/benchmark.py', *argv]))


if __name__ == '__main__':
    main()
