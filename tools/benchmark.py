"""Compare what networks and layers cost: parameters, multiply-adds, time and memory.

    python tools/benchmark.py rescaps_cifar resnet18 --reference resnet18
    python tools/benchmark.py 'rescaps_cifar(routing="pointwise")' rescaps_cifar+deploy rescaps_cifar+bf16
    python tools/benchmark.py 'ResidualPoseRouting(32)' path/to/file.py:MyLayer --input-size 512 16 16 --input-grad
    python tools/benchmark.py 'ResidualPoseRouting({n})' 'EMRouting({n})' --input-size 17*{n} 8 8 --sweep n=8,16,32
    python tools/benchmark.py --preset deploy

A NAME is a model registered in timm, a layer of rescaps_plugin.layers, or a class of a Python file, with arguments
where it needs any; +deploy, +channels_last, +bf16 and +fp16 behind it change the form it runs in. Writes
benchmark.json, benchmark.md and, where matplotlib is installed, benchmark.png.
"""

import json
import math
import re
import shlex
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import torch

import rescaps_plugin  # noqa: F401  (registers the models)
from rescaps_plugin.engine.benchmark import (
    OPERATIONS,
    Conditions,
    Quantity,
    growth,
    measure_all,
    profile_all,
    summarise,
)
from rescaps_plugin.engine.cli import positive_int
from rescaps_plugin.engine.errors import user_errors
from rescaps_plugin.engine.machine import describe_machine

RELEASE = 'rescaps_cifar(capsule_types=(32, 32, 32, 8), residual="ones")'

# Defaults of the arguments, by the comparison they make.
PRESETS = {
    # The same arithmetic: step by step as the authors' release computes it, and as convolutions with composed kernels.
    'literal': dict(names=['tests/layers/literal.py:LiteralResCaps', RELEASE, f'{RELEASE}+deploy']),
    # The deploy form against nothing but the convolutions it is made of.
    'deploy': dict(names=['tests/layers/plain.py:ConvStack', f'{RELEASE}+deploy', RELEASE], modes=['infer']),
    'precision': dict(
        names=['rescaps_cifar', 'rescaps_cifar+bf16', 'rescaps_cifar+deploy', 'rescaps_cifar+deploy+bf16'],
    ),
    # The paper's Table I gives the time of an image, Table VII parameters, memory and time.
    'table1': dict(names=['em_caps_mnist', 'rescaps_mnist_2b'], input_size=['1', '28', '28'], batch_sizes=[1, 128]),
    'table7': dict(names=['rescaps_cifar', 'rescaps_cifar_2b', 'capsnet_cifar', 'em_caps_cifar', 'resnet101_cifar']),
    # One routing layer, alone.
    'scaling': dict(
        names=['ResidualPoseRouting({types})', 'EMRouting({types})', 'DynamicRouting({types})', 'SelfRouting({types})'],
        input_size=['17*{types}', '{side}', '{side}'],
        input_grad=True,
        sweep=[('types', [8, 16, 32, 64]), ('side', [8, 16, 32, 64]), ('batch', [8, 1, 32, 128])],
    ),
}

UNITS = {'parameters': '', 'MACs': '', 'time': 's', 'memory': 'B'}

NOTES = """\
Medians [quartiles] of {repeats} rounds over all contestants, each in a process of its own. Ratios, in bold, are to
`{reference}` in the same round; less is better. Inputs are {input_size}. MACs are those of convolutions and matrix
products in one inference. A training step is forward, backward and the release of the gradients, without loss and
optimiser. Added memory is the peak during a step above what was in use before it, gradients included.
"""


NO_MEMORY = 'Memory was not measured: that takes a GPU, or a Linux where /proc/self/clear_refs can be written.\n'

SWEEP_NOTES = """\
Held at {held} while one of {keys} grows; cost ~ size^exponent, in bold, fitted by least squares to the logarithms of
the medians of {repeats} rounds. A training step is forward, backward and the release of the gradients. Added memory is
the peak during a step above what was in use before it. What is missing ran out of memory, or cannot be trained at
batch 1.
"""


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


def parse_args(argv):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    count = dict(type=positive_int, metavar='N')
    cuda = torch.cuda.is_available()
    parser.add_argument('names', nargs='*', metavar='NAME', help='what to compare')
    parser.add_argument('--preset', choices=PRESETS, help='a comparison that is ready to run')
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
    parser.add_argument('--memory-batch', **count, default=64, help='to measure memory at; default: 64')
    parser.add_argument('--repeats', **count, default=7, help='rounds; default: 7')
    parser.add_argument('--min-time', type=float, default=0.2, metavar='S', help='seconds a measurement; default: 0.2')
    parser.add_argument('--input-grad', action='store_true', help="train with the input's gradient, as inner layers do")
    parser.add_argument('--channels-last', action='store_true', help='+channels_last for every NAME')
    parser.add_argument('--amp', choices=('bf16', 'fp16'), help='+bf16 or +fp16 for every NAME')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cuda' if cuda else 'cpu')
    parser.add_argument('--threads', **count, default=torch.get_num_threads(), help='on the CPU; default: %(default)s')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmark'), help='folder; default: %(default)s')
    parser.set_defaults(**PRESETS.get(parser.parse_args(argv).preset, {}))
    args = parser.parse_args(argv)
    if not args.names:
        parser.error('give a NAME or a --preset')
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
    return args


def choose_quantities(args, memory):
    """List what to measure; training leaves out a batch of 1, which batch normalisation cannot train on."""
    batches = {'time': args.batch_sizes, 'memory': [args.memory_batch] if memory else []}
    return [Quantity('parameters'), Quantity('MACs')] + [
        Quantity(kind, mode, batch)
        for kind in batches
        for mode in args.modes
        for batch in batches[kind]
        if mode == 'infer' or batch > 1
    ]


def si(value, unit=''):
    """Write a value with three digits and an SI prefix."""
    for factor, prefix in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k'), (1, ''), (1e-3, 'm'), (1e-6, 'µ')):
        if value >= 0.9995 * factor:
            return f'{value / factor:#.3g}'.rstrip('.') + f' {prefix}{unit}'.rstrip()
    return f'{value:.3g} {unit}'.rstrip()


def describe(quantity, summary):
    """Write the cell of one contestant: median, quartiles, throughput of a batch, ratio to the reference."""
    if summary is None:
        return '–'
    unit = UNITS[quantity.kind]
    text = si(summary['median'], unit)
    if quantity.mode:
        text += f' [{si(summary["low"], unit)}, {si(summary["high"], unit)}]'
    if quantity.kind == 'time' and quantity.batch > 1:
        text += f', {si(quantity.batch / summary["median"])}/s'
    return f'{text}, **{summary["ratio"]["median"]:.2f}x**' if summary['ratio'] else text


def make_page(result, quantities):
    contestants = result['contestants']
    rows = [['', *(f'`{contestant["name"]}`' for contestant in contestants)], ['---'] * (len(contestants) + 1)]
    for quantity in quantities:
        cells = [describe(quantity, contestant['quantities'].get(str(quantity))) for contestant in contestants]
        rows.append([str(quantity), *cells])
    modes = dict.fromkeys(mode for contestant in result['contestants'] for mode in contestant['profile'])
    for mode in modes:
        step = Quantity('share', mode, result['profile batch'])
        for group in [*OPERATIONS, 'rest']:
            shares = [contestant['profile'].get(mode, {}).get(group) for contestant in result['contestants']]
            rows.append([f'{group}, {step}', *('–' if share is None else f'{share:.1%}' for share in shares)])
    table = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
    machine = ', '.join(f'{name} {value}' for name, value in result['machine'].items())
    return f'# Benchmark\n\n{table}\n\n{result["notes"]}\n{result["date"]}, {machine}\n\n    {result["command"]}\n'


def draw(result, quantities, path):
    """Draw the ratios of every quantity as bars, with whiskers from quartile to quartile."""
    from matplotlib.figure import Figure

    names = [contestant['name'] for contestant in result['contestants']]
    figure = Figure(figsize=(11, 0.6 + len(quantities) * (0.5 + 0.3 * len(names))), layout='constrained')
    axes = figure.subplots(len(quantities), sharex=True, squeeze=False)[:, 0]
    for axis, quantity in zip(axes, quantities, strict=True):
        for row, contestant in enumerate(result['contestants']):
            summary = contestant['quantities'].get(str(quantity))
            if summary and summary['ratio']:
                median, low, high = summary['ratio'].values()
                axis.barh(row, median, xerr=[[median - low], [high - median]], color=f'C{row % 10}', capsize=3)
                text = f'{median:.2f}x, {si(summary["median"], UNITS[quantity.kind])}'
                offset = dict(xytext=(6, 0), textcoords='offset points', bbox=dict(color='white', pad=0))
                axis.annotate(text, (high, row), va='center', fontsize=8, **offset)
        axis.axvline(1, color='black', linewidth=0.8)
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.set_ylim(len(names) - 0.4, -0.6)
        axis.set_title(str(quantity), loc='left', fontsize=10)
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].margins(x=0.2)
    axes[-1].set_xlabel(f'ratio to {result["reference"]}')
    figure.savefig(path, dpi=120)


def make_sweep_page(result):
    keys = list(result['sweep'])
    lines = ['# Growth of cost', '']
    for quantity, unit in result['units'].items():
        lines += [f'| {quantity} | {" | ".join(keys)} |', f'| --- {"| --- " * len(keys)}|']
        for curves in result['contestants']:
            cells = []
            for curve in curves['curves'][quantity].values():
                fit = '–' if curve['exponent'] is None else f'**{curve["exponent"]:.2f}**'
                points = (f'{x}: {si(cost, unit)}' for x, cost in curve['medians'].items())
                cells.append(f'{fit} ({", ".join(points)})')
            lines.append(f'| `{curves["name"]}` | {" | ".join(cells)} |')
        lines.append('')
    machine = ', '.join(f'{name} {value}' for name, value in result['machine'].items())
    lines += [result['notes'], f'{result["date"]}, {machine}', '', f'    {result["command"]}', '']
    return '\n'.join(lines)


def draw_sweep(result, path):
    """Draw the growth of every quantity with every key, on logarithmic axes."""
    from matplotlib.figure import Figure

    keys, quantities = list(result['sweep']), list(result['units'])
    figure = Figure(figsize=(4 * len(keys), 3.2 * len(quantities) + 0.5), layout='constrained')
    for row, axes in zip(quantities, figure.subplots(len(quantities), len(keys), squeeze=False), strict=True):
        for key, axis in zip(keys, axes, strict=True):
            for number, contestant in enumerate(result['contestants']):
                curve = contestant['curves'][row][key]
                fit = '' if curve['exponent'] is None else f', exponent {curve["exponent"]:.2f}'
                label = contestant['name'].partition('(')[0] + fit
                axis.plot(curve['medians'].keys(), curve['medians'].values(), 'o-', color=f'C{number}', label=label)
            axis.set(xscale='log', yscale='log', xlabel=key, title=f'{row} [{result["units"][row]}]')
            axis.set_xticks(result['sweep'][key], map(str, result['sweep'][key]))
            axis.minorticks_off()
            axis.legend(fontsize=7)
    figure.savefig(path, dpi=120)


def run_sweep(args, command, names):
    """Measure every point of the sweep: all contestants at their first values, and one key after another grown."""
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
            measured = measure_all(filled, quantities, conditions, args.repeats)
            costs[str(point)] = [
                {step.label: summarise(found, [])['median'] for step, found in values.items()} for values in measured
            ]
            units.update({quantity.label: UNITS[quantity.kind] for quantity in quantities})
    contestants = []
    for index, name in enumerate(names):
        curves = {label: {} for label in units}
        for label in units:
            for key, values in args.sweep:
                found = {value: costs[str({**held, key: value})][index].get(label) for value in sorted(values)}
                medians = {value: cost for value, cost in found.items() if cost}
                exponent = growth(list(medians), list(medians.values())) if len(medians) > 1 else None
                curves[label][key] = {'exponent': exponent, 'medians': medians}
        contestants.append({'name': name, 'curves': curves})
    notes = SWEEP_NOTES.format(
        keys=', '.join(key for key, _ in args.sweep),
        held=', '.join(f'{key} {value}' for key, value in held.items()),
        repeats=args.repeats,
    )
    result = {
        **describe_run(args, command),
        'notes': notes + ('' if memory else NO_MEMORY),
        'sweep': {key: sorted(values) for key, values in args.sweep},
        'units': units,
        'contestants': contestants,
    }
    write(args.out, result, make_sweep_page(result), lambda path: draw_sweep(result, path))


def fill(template, point):
    """Write a point's values for the {KEY}s of a name."""
    for key, value in point.items():
        template = template.replace(f'{{{key}}}', str(value))
    return template


def make_conditions(args, point):
    input_size = tuple(math.prod(int(factor) for factor in fill(text, point).split('*')) for text in args.input_size)
    return Conditions(input_size, args.device, args.threads, args.min_time, args.input_grad)


def describe_run(args, command):
    return {
        'command': command,
        'date': datetime.now().astimezone().isoformat(timespec='seconds'),
        'machine': describe_machine(args.device, args.threads),
    }


def write(folder, result, page, draw_plot):
    print(page)
    folder.mkdir(parents=True, exist_ok=True)
    Path(folder, 'benchmark.json').write_text(json.dumps(result, indent=2), encoding='utf-8')
    Path(folder, 'benchmark.md').write_text(page, encoding='utf-8')
    if find_spec('matplotlib'):
        draw_plot(folder / 'benchmark.png')
        print(f'wrote benchmark.json, benchmark.md and benchmark.png to {folder}')
    else:
        print(f'wrote benchmark.json and benchmark.md to {folder}; for the plot: pip install matplotlib')


def run_comparison(args, command, names, reference):
    conditions = make_conditions(args, {})
    quantities = choose_quantities(args, conditions.measures_memory)
    measured = measure_all(names, quantities, conditions, args.repeats)
    base = measured[names.index(reference)]
    notes = NOTES.format(
        repeats=args.repeats, reference=reference, input_size='x'.join(map(str, conditions.input_size))
    )
    profiles = profile_all(names, args.modes, args.profile, conditions) if args.profile else [{} for _ in names]
    result = {
        **describe_run(args, command),
        'conditions': conditions._asdict(),
        'notes': notes + ('' if conditions.measures_memory else NO_MEMORY),
        'reference': reference,
        'profile batch': args.profile,
        'contestants': [
            {
                'name': name,
                'quantities': {
                    str(quantity): {'unit': UNITS[quantity.kind], **summarise(repeats, base.get(quantity, []))}
                    for quantity, repeats in values.items()
                },
                'profile': profile,
            }
            for name, values, profile in zip(names, measured, profiles, strict=True)
        ],
    }
    write(args.out, result, make_page(result, quantities), lambda path: draw(result, quantities, path))


def run(args, command):
    forms = ('+channels_last' if args.channels_last else '') + (f'+{args.amp}' if args.amp else '')
    names = [name + forms for name in args.names]
    if args.sweep:
        run_sweep(args, command, names)
        return
    reference = (args.reference or args.names[0]) + forms
    if reference not in names:
        names.insert(0, reference)
    run_comparison(args, command, names, reference)


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    with user_errors():
        run(args, shlex.join(['python', 'tools/benchmark.py', *argv]))


if __name__ == '__main__':
    main()
