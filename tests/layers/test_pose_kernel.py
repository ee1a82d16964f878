"""Kernels kept in evaluation: every change of a parameter is seen, and nothing but a plain evaluation keeps them."""

import copy
import gc
import io
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, jvp, vmap
from torch.nn.utils import parametrize, prune
from torch.utils.flop_counter import FlopCounterMode

from rescaps_plugin.layers import ResidualPoseClassifier, ResidualPoseRouting, RPRConv2d
from rescaps_plugin.layers import pose_kernel as module
from tests.layers.test_residual_pose import randomise

LAYERS = {
    'window': lambda: ResidualPoseRouting(2),
    'pointwise': lambda: ResidualPoseRouting(2, routing='pointwise'),
    'classes': lambda: ResidualPoseClassifier(2, per_position=True),
    'conv': lambda: RPRConv2d(32, 8, 3, padding=1),
    'conv, pointwise': lambda: RPRConv2d(32, 8, 3, padding=1, routing='pointwise'),
    'conv, linear': lambda: RPRConv2d(32, 8, 3, padding=1, activation=False),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(0)
    layer = LAYERS[request.param]().eval()
    randomise(layer)
    return layer


@pytest.fixture
def compositions(monkeypatch):
    """The kernels that were composed since the start of the test."""
    found = []
    compose = module.compose_kernel

    def counted(*args):
        found.append(compose(*args))
        return found[-1]

    monkeypatch.setattr(module, 'compose_kernel', counted)
    return found


def inputs(dtype=torch.float32):
    return torch.randn(2, 32, 5, 4, generator=torch.Generator().manual_seed(1)).to(dtype)


def expected(layer, x):
    """Compute the output with gradients, for which kernels are composed every time."""
    with torch.enable_grad():
        return layer(x).detach()


@torch.no_grad()
def evaluate(layer, x):
    return layer(x)


def test_kernels_are_composed_once(layer, compositions):
    x = inputs()
    wanted = expected(layer, x)
    each = len(compositions)
    assert each
    for scope in (torch.no_grad, torch.inference_mode, torch.no_grad):
        with scope():
            torch.testing.assert_close(layer(x), wanted)
            torch.testing.assert_close(layer(x[:1]), wanted[:1])
    assert len(compositions) == 2 * each
    evaluate(layer.train(), x)
    evaluate(layer, x)
    evaluate(layer.eval(), x)
    assert len(compositions) == 5 * each


def halve(p):
    p.mul_(0.5)


def halve_in_inference_mode(p):
    with torch.inference_mode():
        p.mul_(0.5)


def halve_by_optimizer(p):
    p.grad = torch.ones_like(p)
    torch.optim.SGD([p], lr=0.5).step()


def halve_detached(p):
    p.detach().mul_(0.5)


def halve_by_foreach(p):
    torch._foreach_mul_([p], 0.5)


def replace_data_twice(p):
    # The memory freed by the first assignment is that which the second would be given.
    for _ in range(2):
        p.data = p.data * 0.5


CHANGES = [halve, halve_in_inference_mode, halve_by_optimizer, halve_detached, halve_by_foreach, replace_data_twice]


@pytest.mark.parametrize('change', CHANGES)
def test_changes_of_a_parameter_are_seen(layer, change):
    x = inputs()
    for parameter in layer.parameters():
        before = evaluate(layer, x)
        with torch.no_grad():
            change(parameter)
        after = evaluate(layer, x)
        torch.testing.assert_close(after, expected(layer, x))
        assert not torch.equal(after, before)


@pytest.mark.parametrize('optimizer', [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adagrad])
def test_steps_of_fused_optimizers_are_seen(layer, optimizer):
    """The versions of the parameters stay."""
    x = inputs()
    step = optimizer(layer.parameters(), lr=0.1, fused=True).step
    for _ in range(2):
        before = evaluate(layer, x)
        layer(x).square().sum().backward()
        versions = [parameter._version for parameter in layer.parameters()]
        step()
        assert versions == [parameter._version for parameter in layer.parameters()]
        after = evaluate(layer, x)
        torch.testing.assert_close(after, expected(layer, x))
        assert not torch.equal(after, before)


def test_replaced_parameters_are_seen(layer):
    x = inputs()
    for name, parameter in list(layer.named_parameters()):
        owner, _, own = name.rpartition('.')
        before = evaluate(layer, x)
        # Of the same memory, whose changes another version counts.
        replacement = nn.Parameter(parameter.detach())
        setattr(layer.get_submodule(owner), own, replacement)
        with torch.no_grad():
            replacement.data.mul_(0.5)
        after = evaluate(layer, x)
        torch.testing.assert_close(after, expected(layer, x))
        assert not torch.equal(after, before)


@pytest.mark.parametrize('assign', [False, True])
def test_loaded_states_are_seen(layer, assign):
    x = inputs()
    other = copy.deepcopy(layer)
    randomise(other, seed=2)
    evaluate(layer, x)
    layer.load_state_dict(other.state_dict(), assign=assign)
    torch.testing.assert_close(evaluate(layer, x), expected(other, x))


def test_types_and_devices_are_seen(layer):
    x = inputs()
    wanted = evaluate(layer, x)
    torch.testing.assert_close(evaluate(layer.double(), x.double()).float(), wanted)
    assert evaluate(layer.to(torch.bfloat16), x.bfloat16()).dtype == torch.bfloat16
    layer.to('meta')
    for _ in range(2):
        assert evaluate(layer, x.bfloat16().to('meta')).shape == wanted.shape


@torch.inference_mode()
def test_parameters_without_versions():
    layer = ResidualPoseRouting(2).eval()
    x = inputs()
    before = layer(x)
    layer.pose_weight.mul_(0.5)
    assert not torch.equal(layer(x), before)


def test_autocast_is_seen(layer):
    x = inputs()
    wanted = evaluate(layer, x)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast('cpu', dtype):
            torch.testing.assert_close(evaluate(layer, x), expected(layer, x))
    torch.testing.assert_close(evaluate(layer, x), wanted)


def test_writes_into_data_are_seen_from_the_next_eval(layer):
    x = inputs()
    evaluate(layer, x)
    # As mmengine's EMAHook does, before the loop calls eval().
    for parameter in layer.parameters():
        parameter.data.copy_(parameter.data * 0.5)
    nn.Sequential(layer).eval()
    torch.testing.assert_close(evaluate(layer, x), expected(layer, x))


def test_gradients_after_evaluation(layer):
    layer = layer.double()
    for scope in (torch.no_grad, torch.inference_mode):
        with scope():
            layer(inputs(torch.float64))
    x = inputs(torch.float64)[:1, :, :2, :2].requires_grad_()
    names, values = zip(*layer.named_parameters(), strict=True)
    output = layer(x)
    assert output.requires_grad

    def call(x, *values):
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    gradients = torch.autograd.grad(output.sum(), [x, *values])
    wanted = torch.autograd.functional.jacobian(lambda *every: call(*every).sum(), (x, *values))
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want)
        assert gradient.any()
    layer.requires_grad_(False)
    evaluate(layer, x)
    torch.testing.assert_close(torch.autograd.grad(layer(x).sum(), x)[0], gradients[0])


def test_copies_and_states_have_no_kernels(layer, compositions):
    x = inputs()
    wanted = evaluate(layer, x)
    state = layer.state_dict()
    size = len(pickle.dumps(layer))
    layer.eval()
    assert len(pickle.dumps(layer)) == size
    evaluate(layer, x)
    assert layer.state_dict().keys() == state.keys()
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), copy.copy(layer), torch.load(file, weights_only=False)):
        compositions.clear()
        torch.testing.assert_close(evaluate(other, x), wanted)
        assert compositions
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.mul_(0.5)
        torch.testing.assert_close(evaluate(other, x), expected(other, x))


def test_kernels_are_freed_by_train_move_and_fuse(layer, compositions):
    x = inputs()
    for free in (type(layer).train, type(layer).float, type(layer).fuse):
        layer.eval()
        evaluate(layer, x)
        kernels = [weakref.ref(kernel) for kernel in compositions]
        compositions.clear()
        free(layer)
        compositions.clear()
        gc.collect()
        assert not any(kernel() is not None for kernel in kernels)


def test_fused_after_evaluation(layer):
    x = inputs()
    wanted = evaluate(layer, x)
    torch.testing.assert_close(evaluate(layer.fuse(), x), wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_compilers_see_the_composition(layer):
    x = inputs()
    layer(x)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    forms = [
        torch.compile(layer, backend=backend, fullgraph=True),
        torch.jit.trace(layer, x),
        torch.fx.symbolic_trace(nn.Sequential(layer)),
    ]
    if not isinstance(layer, RPRConv2d):
        forms.append(torch.jit.script(layer))
    programs = [torch.export.export(layer, (x,), strict=strict) for strict in (True, False)]
    assert all(program.state_dict.keys() >= dict(layer.named_parameters()).keys() for program in programs)
    assert not any(program.constants.keys() - dict(layer.named_buffers()).keys() for program in programs)
    for form in (*forms, *(program.module() for program in programs)):
        torch.testing.assert_close(form(x), layer(x))
    assert all(any(node.target in ('bmm', torch.bmm) for node in graph.graph.nodes) for graph in graphs) and graphs
    for parameter in layer.parameters():
        parameter.mul_(0.5)
    for form in forms:
        torch.testing.assert_close(form(x), layer(x))


@torch.no_grad()
def test_function_transforms_see_the_composition(layer, compositions):
    x = inputs()
    wanted = copy.deepcopy(layer)(x)
    for transformed in (
        lambda x: vmap(layer)(x[:, None])[:, 0],
        lambda x: jvp(layer, (x,), (torch.ones_like(x),))[0],
    ):
        layer.eval()
        torch.testing.assert_close(transformed(x), wanted)
        compositions.clear()
        torch.testing.assert_close(layer(x), wanted)
        assert compositions  # those of the transform belong to it
    parameters = dict(layer.named_parameters())
    halves = {name: parameter * 0.5 for name, parameter in parameters.items()}
    both = {name: torch.stack([parameter, halves[name]]) for name, parameter in parameters.items()}
    every = vmap(lambda each: functional_call(layer, each, (x,)))(both)
    torch.testing.assert_close(every[0], wanted)
    torch.testing.assert_close(every[1], functional_call(layer, halves, (x,)))
    torch.testing.assert_close(layer(x), wanted)
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(p, torch.ones_like(p)) for name, p in parameters.items()}
        assert forward_ad.unpack_dual(functional_call(layer, duals, (x,))).tangent.any()
    torch.testing.assert_close(layer(x), wanted)


@torch.no_grad()
def test_counters_see_the_composition(layer):
    x = inputs()
    counts = []
    for _ in range(2):
        with FlopCounterMode(display=False) as counter:
            layer(x)
        counts.append(counter.get_total_flops())
        layer(x)
    assert counts[0] == counts[1]


class Halved(nn.Module):
    def forward(self, weight):
        return weight * 0.5


@torch.no_grad()
@pytest.mark.parametrize('name', ['conv', 'window'])
def test_parametrised_and_pruned_weights(name):
    x = inputs()
    layer = LAYERS[name]().eval()
    layer(x)
    parametrize.register_parametrization(layer, 'weight', Halved())
    for _ in range(2):
        torch.testing.assert_close(layer(x), expected(layer, x))
        layer.parametrizations.weight.original.mul_(0.5)
    parametrize.remove_parametrizations(layer, 'weight')
    prune.l1_unstructured(layer, 'weight', 0.5)
    for _ in range(2):
        torch.testing.assert_close(layer(x), expected(layer, x))
        layer.weight_mask.mul_(0.5)


def test_threads_evaluate_the_current_parameters(layer):
    x = inputs()
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            wanted = expected(layer, x)
            for output in pool.map(evaluate, [layer] * 8, [x] * 8):
                torch.testing.assert_close(output, wanted)
            with torch.no_grad():
                for parameter in layer.parameters():
                    parameter.mul_(0.9)
