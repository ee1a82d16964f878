"""Measurements of modules whose parameters, multiply-adds and memory are known."""

import time
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.utils.flop_counter import FlopCounterMode

from rescaps_plugin.analysis.benchmark import measure
from rescaps_plugin.analysis.benchmark.measure import OPERATIONS, Bench, Conditions, Quantity, shares_of_time
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.layers.fusion import Deployable
from rescaps_plugin.models.prepack import PrepackedConv2d
from rescaps_plugin.models.published import find_published
from tests.analysis import measured
from tests.tools.colors import FILES, write_classifier

CONDITIONS = Conditions((3, 8, 8), min_time=0.001)


@pytest.fixture
def modules():
    return Path(measured.__file__)


def test_profile_counts_kernels_once():
    """A GPU's kernels are in a profile twice: in the operator that launched them, and by themselves."""
    names = ('aten::cudnn_convolution', 'aten::norm')
    conv, norm = (FunctionEvent(number, name, 0, 0, 9, use_device='cuda') for number, name in enumerate(names))
    conv.append_kernel('implicit_gemm', 0, 30)
    norm.append_kernel('reduce', 0, 10)
    on_gpu = dict(device_type=DeviceType.CUDA, use_device='cuda')
    kernels = [FunctionEvent(2, 'implicit_gemm', 0, 10, 40, **on_gpu), FunctionEvent(3, 'reduce', 0, 40, 50, **on_gpu)]
    events = [conv, norm, *kernels]
    shares = shares_of_time(events, 'cuda')
    assert (shares['convolutions'], shares['normalisation'], shares['rest']) == (0.75, 0.25, 0)
    assert shares_of_time(events, 'cpu')['convolutions'] == 0.5


def test_profile(modules):
    notes = Bench(f'{modules}:Notes', Conditions((3, 64, 64))).profile('train', 8)
    assert sum(notes.values()) == pytest.approx(1)
    assert notes['convolutions'] > 0 and notes['matrix products'] == notes['normalisation'] == 0
    assert min(Bench('rescaps_tiny', Conditions((3, 32, 32))).profile('train', 2).values()) > 0
    sigmoids = Bench(f'{modules}:Saves(layers=8)', CONDITIONS).profile('infer', 8)
    assert sigmoids['convolutions'] == 0 and sigmoids['rest'] > 0.9
    assert set(notes) == set(sigmoids) == {*OPERATIONS, 'rest'}


@pytest.mark.parametrize('name', ['resnet18(colour="red")', 'rescaps_tiny(residual="two")', 'ResidualPoseRouting(8)'])
def test_candidate_that_does_not_run(name):
    with pytest.raises(UserError, match='cannot be built or run on inputs of 3x8x8: .+'):
        Bench(name, CONDITIONS)


def test_parameters_and_macs():
    resnet = Bench('resnet18(num_classes=7)', Conditions((3, 32, 32)))
    expected = timm.create_model('resnet18', num_classes=7)
    assert resnet.measure(Quantity('parameters')) == sum(parameter.numel() for parameter in expected.parameters())

    layer = Bench('ResidualPoseRouting(2, out_types=3, routing="window")+deploy', Conditions((32, 5, 4)))
    activations, outputs = 9 * 2, 3 * 17
    macs = 20 * (9 * 32 * (activations + outputs) + activations * outputs)
    assert layer.measure(Quantity('MACs')) == macs


def test_macs_are_those_of_the_deploy_form(modules):
    assert Bench(f'{modules}:Notes', CONDITIONS).measure(Quantity('MACs')) == 8 * 8 * 5 * 3 * 9
    network = 'rescaps_tiny'
    training, deployed = (Bench(name, Conditions((3, 32, 32))) for name in (network, f'{network}+deploy'))
    assert training.measure(Quantity('MACs')) == deployed.measure(Quantity('MACs'))
    assert not any(module.deployed for module in training.module.modules() if isinstance(module, Deployable))


@pytest.mark.parametrize(('form', 'dtype'), [('', torch.float32), ('+bf16', torch.bfloat16), ('int8', torch.int32)])
def test_peak_is_that_of_a_matrix_product(modules, monkeypatch, form, dtype):
    if form == 'int8':
        pytest.importorskip('onnxruntime')
        form = '+onnx+int8'
    products = []
    monkeypatch.setattr(measure, 'PEAK_SIDES', {'cpu': 128})
    monkeypatch.setattr(measure, 'time_step', lambda step, *_: products.append(step()) or 0.5 / len(products))
    bench = Bench(f'{modules}:Multiplies{form}', Conditions((8, 4, 4)))
    with FlopCounterMode(display=False) as counter:
        # The faster of the two.
        assert bench.measure(Quantity('peak')) == 2 * 128**3 / 0.5 * len(products)
    assert all(product.dtype == dtype and product.numel() == 128**2 for product in products)
    assert dtype == torch.int32 or counter.get_total_flops() == 2 * 128**3 * len(products)


def test_share_of_the_peak(modules):
    """A layer that is a large matrix product is as fast as one."""
    bench = Bench(f'{modules}:Multiplies(size=1024)', Conditions((1024, 8, 8), min_time=0.001))
    macs = bench.measure(Quantity('MACs'))
    assert macs == 8 * 8 * 1024**2
    # The fastest of several, as other processes may be running.
    seconds = min(bench.measure(Quantity('time', 'infer', 16)) for _ in range(5))
    peak = max(bench.measure(Quantity('peak')) for _ in range(5))
    assert 0.3 < 2 * macs * 16 / seconds / peak < 1.2


def test_prepacked_candidate():
    conditions = Conditions((3, 32, 32), min_time=0.001)
    deployed, packed = (Bench(f'rescaps_tiny+{form}', conditions) for form in ('deploy', 'prepack'))
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(packed.network(x), deployed.network(x), rtol=0, atol=1e-5)
    assert any(isinstance(module, PrepackedConv2d) for module in packed.network.modules())
    for quantity in (Quantity('parameters'), Quantity('MACs')):
        assert packed.measure(quantity) == deployed.measure(quantity)
    assert packed.measure(Quantity('time', 'infer', 2)) > 0


def test_forms_and_steps(modules):
    bench = Bench(f'{modules}:Notes+channels_last+bf16', CONDITIONS._replace(input_grad=True))
    notes = bench.module
    bench.step('train', 4)()
    assert notes.training and notes.x.shape == (4, 3, 8, 8) and notes.x.requires_grad
    assert notes.y.dtype == torch.bfloat16 and notes.y.requires_grad
    assert notes.x.is_contiguous(memory_format=torch.channels_last)
    assert notes.conv.weight.grad is None and notes.x.grad is None

    seen = notes.x
    bench.step('infer', 4)()
    assert not notes.training and not notes.x.requires_grad and not notes.y.requires_grad
    torch.testing.assert_close(notes.x, seen)

    plain = Bench(f'{modules}:Notes', CONDITIONS)
    plain.step('train', 4)()
    torch.testing.assert_close(plain.module.x, seen)
    torch.testing.assert_close(plain.module.conv.weight, notes.conv.weight)
    assert plain.module.x.is_contiguous() and plain.module.y.dtype == torch.float32 and not plain.module.x.requires_grad


def test_training_step_computes_every_gradient(modules):
    bench = Bench(f'{modules}:Notes', CONDITIONS)
    gradients = []
    bench.module.conv.weight.register_post_accumulate_grad_hook(lambda weight: gradients.append(weight.grad.clone()))
    bench.step('train', 2)()
    x, y = bench.module.x, bench.module.y.detach().requires_grad_()
    loss = (y.square().sum() + y.mean().square()) / 2
    (output_grad,) = torch.autograd.grad(loss, y)
    expected = torch.nn.grad.conv2d_weight(x, bench.module.conv.weight.shape, output_grad, padding=1)
    torch.testing.assert_close(gradients, [expected])


def test_time_is_seconds_of_one_step(modules):
    start = time.perf_counter()
    seconds = Bench(f'{modules}:Sleeps', CONDITIONS).measure(Quantity('time', 'infer', 2))
    assert 0.02 <= seconds <= time.perf_counter() - start


def test_compiled_steps(modules):
    bench = Bench(f'{modules}:Counts+compile', Conditions((8,)))
    assert len(bench.module.runs) == 1
    bench.prepare([Quantity('parameters'), Quantity('time', 'train', 4), Quantity('memory', 'train', 4)])
    grown = []
    bench.module.linear.weight.register_post_accumulate_grad_hook(lambda weight: grown.append(weight.grad.norm()))
    assert bench.measure(Quantity('time', 'train', 4)) > 0 and grown and grown[0] > 0
    assert len(bench.module.runs) == 1
    # Not recorded in a compiled graph.
    assert bench.measure(Quantity('MACs')) == 64

    branches = Bench(f'{modules}:Branches+compile', CONDITIONS)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        branches.prepare([Quantity('time', 'infer', 2)])


def test_tf32_is_off_unless_asked_for(modules):
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    for form, allowed in (('', False), ('+tf32', True), ('+bf16', False)):
        bench = Bench(f'{modules}:Counts{form}', Conditions((8,), min_time=0.001))
        bench.measure(Quantity('time', 'train', 2))
        # cuDNN chooses its algorithms by heuristics.
        assert len(bench.module.runs) > 1 and set(bench.module.runs) == {(allowed, allowed, False)}
    after = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark
    assert after == before


@pytest.mark.parametrize('runtime', ['onnx', 'openvino'])
def test_exported_candidates(runtime):
    pytest.importorskip('onnxruntime' if runtime == 'onnx' else runtime)
    conditions = Conditions((3, 32, 32), min_time=0.001)
    expected = Bench('rescaps_tiny+deploy', conditions)
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        wanted = expected.network(images)
    differences = {}
    for form in ('', '+int8', *['+bf16'] * (runtime == 'openvino')):
        bench = Bench(f'rescaps_tiny+deploy+{runtime}{form}', conditions)
        (scores,) = bench.network(images)
        differences[form] = (scores - wanted).abs().max().item()
        assert bench.measure(Quantity('time', 'infer', 3)) > 0
        assert bench.measure(Quantity('MACs')) == expected.measure(Quantity('MACs'))
        with pytest.raises(UserError, match='an exported file cannot be trained'):
            bench.measure(Quantity('time', 'train', 2))
    assert differences.pop('') < 1e-5
    # bfloat16 is float32 on processors without it.
    assert 1e-4 < differences['+int8'] < 0.1 and max(differences.values()) < 0.1


@pytest.mark.parametrize('form', ['', '+deploy+bf16', '+deploy+openvino'])
def test_metrics_are_those_of_the_test(form):
    if 'openvino' in form:
        pytest.importorskip('openvino')
    bench = Bench(f'rescaps-tiny_digits{form}', Conditions((1, 1, 1)))
    assert bench.measure(Quantity('metrics')) == pytest.approx(find_published('rescaps-tiny_digits').metrics)
    assert bench.measure(Quantity('metrics', batch=7)) == {'accuracy/top1': 100}
    step = bench.step('infer', 2)
    assert step() is None and bench.input_size == bench.exporter.input_shape != (1, 1, 1)


def test_metrics_of_a_checkpoint(tmp_path, monkeypatch):
    """A red, a blue and two green images, of which one is called blue."""
    monkeypatch.syspath_prepend(tmp_path)
    for number, (folder, colour) in enumerate([('red', 'red'), ('green', 'lime'), ('blue', 'blue'), ('blue', 'lime')]):
        path = tmp_path / 'images' / folder / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (9, 9), colour).save(path)
    # Classes of folders are in alphabetical order.
    weight, classes = torch.eye(3)[[2, 1, 0]], ('blue', 'green', 'red')
    options = dict(to_rgb=True, weight=weight, classes=classes)
    config, checkpoint = write_classifier(tmp_path, tmp_path / 'images', FILES, **options)
    bench = Bench(f'{config}:{checkpoint}', CONDITIONS)
    assert bench.measure(Quantity('metrics')) == {'accuracy/top1': 75}


def test_int8_is_calibrated_on_training_samples(monkeypatch):
    pytest.importorskip('onnxruntime')
    batches = []
    quantize = measure.quantize

    def record(source, target, inputs):
        batches.extend(inputs)
        quantize(source, target, batches)

    monkeypatch.setattr(measure, 'quantize', record)
    bench = Bench('rescaps-tiny_digits+deploy+onnx+int8', CONDITIONS)
    torch.testing.assert_close(torch.cat(batches), torch.cat(list(bench.exporter.calibration_inputs())))
    assert len(torch.cat(batches)) == 512
    assert bench.measure(Quantity('metrics'))['accuracy/top1'] > 98
