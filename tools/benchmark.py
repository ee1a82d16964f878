"""Compare what networks and layers cost: parameters, multiply-adds, time and memory.

    python tools/benchmark.py rescaps_cifar resnet18 --reference resnet18
    python tools/benchmark.py 'rescaps_cifar(routing="pointwise")' rescaps_cifar+deploy rescaps_cifar+bf16
    python tools/benchmark.py 'ResidualPoseRouting(32)' path/to/file.py:MyLayer --input-size 512 16 16 --input-grad
    python tools/benchmark.py --preset literal

A NAME is a model registered in timm, a layer of rescaps_plugin.layers, or a class of a Python file, with arguments
where it needs any; +deploy, +channels_last, +bf16 and +fp16 behind it change the form it runs in. Writes
benchmark.json, benchmark.md and, where matplotlib is installed, benchmark.png.
"""

import json
import platform
import re
import shlex
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import timm
import torch

import rescaps_plugin  # registers the models
from rescaps_plugin.engine.benchmark import Conditions, Quantity, measure_all, summarise
from rescaps_plugin.engine.cli import positive_int
from rescaps_plugin.engine.errors import user_errors

# Defaults of the arguments, by the comparison they make.
PRESETS = {
    # The same arithmetic: step by step as the authors' release computes it, and as convolutions with composed kernels.
    'literal': dict(
        names=[
            'tests/layers/literal.py:LiteralResCaps',
            'rescaps_cifar(capsule_types=(32, 32, 32, 8), residual="ones")',
        ]
    ),
}

UNITS = {'parameters': '', 'MACs': '', 'time': 's', 'memory': 'B'}

NOTES = """\
Medians [quartiles] of {repeats} rounds over all contestants, each in a process of its own. Ratios, in bold, are to
`{reference}` in the same round; less is better. Inputs are {input_size}. MACs are those of convolutions and matrix
products in one inference. A training step is forward, backward and the release of the gradients, without loss and
optimiser. Added memory is the peak during a step above what was in use before it, gradients included.
"""


def parse_args(argv):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    count = dict(type=positive_int, metavar='N')
    cuda = torch.cuda.is_available()
    parser.add_argument('names', nargs='*', metavar='NAME', help='what to compare')
    parser.add_argument('--preset', choices=PRESETS, help='a comparison that is ready to run')
    parser.add_argument('--reference', metavar='NAME', help='what ratios are to; default: the first NAME')
    parser.add_argument('--input-size', nargs='+', **count, default=[3, 32, 32], help='of one input; default: 3 32 32')
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


def describe_machine(conditions):
    try:
        cpu = re.search(r'model name\s*:\s*(.+)', Path('/proc/cpuinfo').read_text()).group(1)
    except (OSError, AttributeError):
        cpu = platform.processor() or platform.machine()
    machine = {
        'CPU': f'{cpu} ({torch.backends.cpu.get_cpu_capability()})',
        'threads': conditions.threads,
        'system': platform.platform(),
        'Python': platform.python_version(),
        'torch': torch.__version__,
        'timm': timm.__version__,
        'rescaps': rescaps_plugin.__version__,
    }
    return {'GPU': torch.cuda.get_device_name(), **machine} if conditions.device == 'cuda' else machine


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


def run(args, command):
    forms = ('+channels_last' if args.channels_last else '') + (f'+{args.amp}' if args.amp else '')
    reference = (args.reference or args.names[0]) + forms
    names = [name + forms for name in args.names]
    if reference not in names:
        names.insert(0, reference)
    conditions = Conditions(tuple(args.input_size), args.device, args.threads, args.min_time, args.input_grad)
    quantities = choose_quantities(args, conditions.measures_memory)
    measured = measure_all(names, quantities, conditions, args.repeats)
    base = measured[names.index(reference)]
    notes = NOTES.format(
        repeats=args.repeats, reference=reference, input_size='x'.join(map(str, conditions.input_size))
    )
    if not conditions.measures_memory:
        notes += 'Memory was not measured: that takes a GPU, or a Linux where /proc/self/clear_refs can be written.\n'
    result = {
        'command': command,
        'date': datetime.now().astimezone().isoformat(timespec='seconds'),
        'machine': describe_machine(conditions),
        'conditions': conditions._asdict(),
        'notes': notes,
        'reference': reference,
        'contestants': [
            {
                'name': name,
                'quantities': {
                    str(quantity): {'unit': UNITS[quantity.kind], **summarise(repeats, base.get(quantity, []))}
                    for quantity, repeats in values.items()
                },
            }
            for name, values in zip(names, measured, strict=True)
        ],
    }
    page = make_page(result, quantities)
    print(page)
    args.out.mkdir(parents=True, exist_ok=True)
    Path(args.out, 'benchmark.json').write_text(json.dumps(result, indent=2), encoding='utf-8')
    Path(args.out, 'benchmark.md').write_text(page, encoding='utf-8')
    if find_spec('matplotlib'):
        draw(result, quantities, args.out / 'benchmark.png')
        print(f'wrote benchmark.json, benchmark.md and benchmark.png to {args.out}')
    else:
        print(f'wrote benchmark.json and benchmark.md to {args.out}; for the plot: pip install matplotlib')


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    args = parse_args(argv)
    with user_errors():
        run(args, shlex.join(['python', 'tools/benchmark.py', *argv]))


if __name__ == '__main__':
    main()
