"""Comparisons of ``tools/benchmark.py`` that are ready to run: defaults of its arguments, by name."""

from rescaps_plugin.analysis.benchmark.measure import Quantity
from rescaps_plugin.analysis.benchmark.report import Target

# The network of the authors' release.
RELEASE = 'rescaps_cifar(capsule_types=(32, 32, 32, 8), residual="ones")'

# The arithmetic of rescaps_cifar step by step, and its convolutions alone.
LITERAL = 'tests/layers/literal.py:LiteralResCaps(types=(32, 32, 16, 16), residual="identity")'
CONVOLUTIONS = 'tests/layers/plain.py:ConvStack(types=(32, 32, 16, 16))'
# The forms expected to be the fastest on a GPU.
FAST = '+channels_last+bf16+compile'
FASTEST = '+channels_last+bf16+cudagraphs'
GPU_STEP = Quantity('time', 'train', 128)

GPU = dict(
    modes=['train', 'infer'],
    train_batch_sizes=[128],
    batch_sizes=[256, 1],
    memory_batch=128,
    repeats=3,
    min_time=0.1,
    time_limit=225.0,
)

# Forms of the release's network, batch sizes and times to reach, as multiples of those of others.
DEPLOY_GOALS = {
    'tests/layers/literal.py:LiteralResCaps': [
        ('+deploy+openvino', 1, 0.28),
        ('+deploy+openvino', 16, 0.2),
        ('+deploy+openvino+bf16', 1, 0.15),
        ('+deploy+openvino+bf16', 16, 0.1),
        ('+deploy+openvino+int8', 1, 0.15),
        ('+deploy+openvino+int8', 16, 0.1),
    ],
    f'{RELEASE}+deploy': [('', 1, 1.1), ('', 16, 1.1)],
}

PRESETS = {
    # The same arithmetic: step by step as the authors' release computes it, and as convolutions with composed kernels.
    'literal': dict(names=['tests/layers/literal.py:LiteralResCaps', RELEASE, f'{RELEASE}+deploy']),
    # The deploy form against its convolutions alone and against the release, in PyTorch and in other runtimes.
    'deploy': dict(
        names=[
            'tests/layers/plain.py:ConvStack',
            f'{RELEASE}+deploy',
            RELEASE,
            'tests/layers/literal.py:LiteralResCaps',
            *(f'{RELEASE}+deploy{form}' for form in ('+compile', '+bf16', '+onnx', '+onnx+int8')),
            *(f'{RELEASE}+prepack{form}' for form in ('', '+bf16')),
            *(f'{RELEASE}+deploy+openvino{form}' for form in ('', '+bf16', '+int8')),
        ],
        reference='tests/layers/literal.py:LiteralResCaps',
        modes=['infer'],
        targets=[
            Target(Quantity('time', 'infer', batch), f'{RELEASE}{form}', reference, cost=cost)
            for reference, goals in DEPLOY_GOALS.items()
            for form, batch, cost in goals
        ],
    ),
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
    # On a GPU, in less than four minutes: precision, layout and compiler, against the limit and the other networks.
    'gpu': dict(
        names=[
            *(
                f'rescaps_cifar{layout}{precision}'
                for layout in ('', '+channels_last')
                for precision in ('', '+tf32', '+bf16')
            ),
            *(f'rescaps_cifar{form}' for form in (FAST, FASTEST)),
            'rescaps_cifar+deploy+channels_last+bf16',
            *(f'{LITERAL}{form}' for form in ('', '+bf16', FAST)),
            *(f'{CONVOLUTIONS}{form}' for form in ('', '+channels_last+bf16', FAST, FASTEST)),
            *(f'rescaps_cifar_2b{form}' for form in ('', '+bf16', FAST)),
            *(f'em_caps_cifar{form}' for form in ('', '+bf16')),
            *(f'capsnet_cifar{form}' for form in ('', '+bf16')),
            *(f'resnet101_cifar{form}' for form in ('', '+channels_last+bf16')),
        ],
        **GPU,
        targets=[
            *(Target(GPU_STEP, f'rescaps_cifar{form}', f'{CONVOLUTIONS}{form}', speed=0.8) for form in (FAST, FASTEST)),
            *(
                Target(GPU_STEP, f'rescaps_cifar{ours}', f'{LITERAL}{literal}', speed=3)
                for ours, literal in (('', ''), (FAST, FAST), (FAST, '+bf16'))
            ),
            *(
                Target(Quantity(kind, 'train', 128), f'rescaps_cifar_2b{ours}', f'em_caps_cifar{theirs}', cost=cost)
                for kind, cost in (('time', 0.1), ('memory', 0.2))
                for ours, theirs in (('', ''), ('+bf16', '+bf16'), (FAST, '+bf16'))
            ),
        ],
    ),
    # The compiler with every precision and layout, which takes as long again.
    'gpu-compiled': dict(
        names=[
            'rescaps_cifar',
            *(
                f'rescaps_cifar{layout}{precision}+compile'
                for layout in ('', '+channels_last')
                for precision in ('', '+tf32', '+bf16')
            ),
            f'rescaps_cifar+deploy{FAST}',
        ],
        **GPU,
    ),
    # One routing layer, alone, on a GPU, in less than a minute.
    'gpu-layers': dict(
        names=[
            *(f'ResidualPoseRouting(32){form}' for form in ('', FAST)),
            *(f'{routing}(32)' for routing in ('EMRouting', 'DynamicRouting', 'SelfRouting')),
        ],
        input_size=['544', '16', '16'],
        input_grad=True,
        modes=['train', 'infer'],
        batch_sizes=[16],
        memory_batch=16,
        repeats=3,
        min_time=0.1,
        time_limit=55.0,
    ),
}
