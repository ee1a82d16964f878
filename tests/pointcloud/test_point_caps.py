"""The autoencoder compared with equivalent loops, and in mmengine's modes."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import nn

from rescaps_plugin.pointcloud import PointCapsAE, point_caps
from rescaps_plugin.pointcloud.point_caps import DynamicLatentCaps, PointGenerators, PrimaryPointCaps
from tests.pointcloud.literal import (
    LiteralGenerator,
    LiteralPrimaryPointCaps,
    literal_decode,
    literal_dynamic_routing,
)

SMALL = dict(num_points=96, channels=(8, 12), primary_capsules=6, latent_capsules=32, latent_dim=14)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def float64(module):
    """Convert to double precision, with scales of both signs and random statistics."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return module.double()


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('scores', [2**21, 100])
def test_primary_capsules_equal_the_loop_over_entries(monkeypatch, training, scores):
    monkeypatch.setattr(point_caps, 'CPU_SCORES', scores)
    literal = float64(LiteralPrimaryPointCaps(7, 5, 4)).train(training)
    layer = PrimaryPointCaps(7, 5, 4).double().train(training)
    layer.load_state_dict(literal.parameters_as_one(), strict=False)
    x = torch.randn(3, 31, 7, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected, result = literal(x), layer(y)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-9)

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (result * weights).sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=0, atol=1e-9)
    for name, grad in literal.parameters_as_one(grad=True).items():
        torch.testing.assert_close(layer.get_parameter(name).grad, grad, rtol=0, atol=1e-9, msg=name)
    for name in ('norm.running_mean', 'norm.running_var'):
        expected = literal.parameters_as_one()[name]
        torch.testing.assert_close(layer.get_buffer(name), expected, rtol=0, atol=1e-9, msg=name)
    assert layer.norm.num_batches_tracked == int(training)


@pytest.mark.parametrize('training', [True, False])
def test_decoder_equals_the_loop_over_generators(training):
    generators = nn.ModuleList(float64(LiteralGenerator(16)) for _ in range(3)).train(training)
    decoder = PointGenerators(latent_capsules=5, latent_dim=14, num_points=15).double().train(training)
    names = [name for name in decoder.state_dict() if 'num_batches' not in name]
    parts = [generator.state_dict() for generator in generators]
    decoder.load_state_dict({name: torch.cat([part[name] for part in parts]) for name in names}, strict=False)

    latent = torch.randn(4, 5, 14, dtype=torch.float64, requires_grad=True)
    same = latent.detach().clone().requires_grad_()
    grid = torch.rand(4, 3, 5, 2, dtype=torch.float64)
    expected, result = literal_decode(generators, latent, grid), decoder(same, grid)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-9)

    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (result * weights).sum().backward()
    torch.testing.assert_close(same.grad, latent.grad, rtol=0, atol=1e-9)
    for name, parameter in decoder.named_parameters():
        grad = torch.cat([generator.get_parameter(name).grad for generator in generators])
        torch.testing.assert_close(parameter.grad, grad, rtol=0, atol=1e-9, msg=name)
    for name, buffer in decoder.named_buffers():
        if 'num_batches' not in name:
            expected = torch.cat([generator.get_buffer(name) for generator in generators])
            torch.testing.assert_close(buffer, expected, rtol=0, atol=1e-9, msg=name)


def test_generators_are_initialised_as_separate_convolutions():
    torch.manual_seed(0)
    decoder = PointGenerators(latent_capsules=64, latent_dim=64, num_points=2048)
    literal = nn.ModuleList(LiteralGenerator(66) for _ in range(32))
    for number, conv in enumerate(decoder.convs):
        expected = torch.stack([generator.convs[number].weight for generator in literal])
        assert conv.weight.abs().max().item() == pytest.approx(expected.abs().max().item(), rel=0.01)
        assert conv.weight.std().item() == pytest.approx(expected.std().item(), rel=0.05)


@pytest.mark.parametrize('iterations', [1, 3])
def test_dynamic_routing_equals_the_loop_over_latent_capsules(iterations):
    layer = DynamicLatentCaps(6, 4, 3, 5, iterations=iterations).double()
    nn.init.normal_(layer.routing.weight)
    weight = layer.routing.weight.detach()[0].unflatten(-1, (3, 5)).permute(0, 2, 3, 1).requires_grad_()
    x = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    expected, result = literal_dynamic_routing(x, weight, iterations), layer(y)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-9)
    (expected**2).sum().backward()
    (result**2).sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=0, atol=1e-9)
    gradient = layer.routing.weight.grad[0].unflatten(-1, (3, 5)).permute(0, 2, 3, 1)
    torch.testing.assert_close(gradient, weight.grad, rtol=0, atol=1e-9)


@pytest.mark.parametrize('routing', ['rpr', 'dynamic'])
@pytest.mark.parametrize('num_points', [96, 70])
def test_modes(routing, num_points):
    model = MODELS.build(dict(type='PointCapsAE', routing=routing, **SMALL | dict(num_points=num_points)))
    inputs = torch.rand(2, 40, 3)
    loss = model(inputs, mode='loss')['loss']
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without

    model.eval()
    points = model(inputs)
    assert points.shape == (2, num_points, 3) and points.abs().max() < 1
    samples = [BaseDataElement(gt_label=torch.tensor([label])) for label in (3, 4)]
    predictions = model(inputs, samples, mode='predict')
    assert [sample.gt_label.item() for sample in predictions] == [3, 4]
    torch.testing.assert_close(torch.stack([sample.pred_points for sample in predictions]), points)
    torch.testing.assert_close(torch.stack([sample.latent for sample in predictions]), model.encode(inputs))
    assert len(model(inputs, mode='predict')) == 2


@pytest.mark.parametrize('routing', ['rpr', 'dynamic'])
def test_encoder_is_invariant_to_order_and_repetition_of_points(routing):
    """Encoding in evaluation does not depend on the order or the repetition of points."""
    model = PointCapsAE(routing=routing, **SMALL).eval()
    cloud = torch.rand(1, 40, 3)
    shuffled = cloud[:, torch.randperm(40)]
    torch.testing.assert_close(model.encode(shuffled), model.encode(cloud))
    torch.testing.assert_close(model.encode(torch.cat([cloud, cloud], dim=1)), model.encode(cloud))


def test_grid_is_random_in_training_and_fixed_in_evaluation():
    model = PointCapsAE(**SMALL)
    latent = torch.randn(2, 32, 14)
    draws = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        draws.append(model.decode(latent))
    assert torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[1])

    model.eval()
    torch.manual_seed(1)
    first = model.decode(latent)
    assert torch.equal(model.decode(latent), first)
    torch.testing.assert_close(model.decode(latent[:1]), first[:1])
    other, same = (PointCapsAE(grid_seed=seed, **SMALL).eval() for seed in (1, 0))
    other.load_state_dict(model.state_dict())
    same.load_state_dict(model.state_dict())
    assert torch.equal(same.decode(latent), first) and not torch.equal(other.decode(latent), first)


@pytest.mark.parametrize('routing', ['rpr', 'dynamic'])
def test_bfloat16_autocast(routing):
    model = PointCapsAE(routing=routing, **SMALL)
    inputs = torch.rand(4, 40, 3)
    torch.manual_seed(0)
    expected = model(inputs, mode='loss')['loss']
    torch.manual_seed(0)
    with torch.autocast('cpu', torch.bfloat16):
        loss = model(inputs, mode='loss')['loss']
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.05)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_equal_points_have_finite_gradients():
    """Equal points result in capsules of zero variance, and initially of zero length."""
    model = PointCapsAE(routing='dynamic', **SMALL)
    nn.init.zeros_(model.primary.norm.bias)
    model(torch.zeros(2, 40, 3), mode='loss')['loss'].backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_largest_tensor_of_a_training_step_is_not_entries_times_points():
    """The loop stores every entry at every point, 16 x 32 x 2048 values per cloud; only the maxima are needed."""
    model = PointCapsAE(num_points=64, channels=(8, 16), primary_capsules=32, latent_capsules=16, latent_dim=14)
    largest = 0

    def pack(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(torch.rand(2, 2048, 3), mode='loss')['loss'].backward()
    assert largest < 2 * 16 * 32 * 2048 / 4


def test_fusing_the_generators_keeps_tensors_that_others_hold():
    generators = float64(PointGenerators(latent_capsules=5, latent_dim=14, num_points=15)).eval()
    state = generators.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    latent, grid = torch.randn(2, 5, 14, dtype=torch.float64), torch.rand(2, 3, 5, 2, dtype=torch.float64)
    expected = generators(latent, grid)
    torch.testing.assert_close(generators.fuse()(latent, grid), expected)
    torch.testing.assert_close(dict(state), before, rtol=0, atol=0)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(routing='em'), r"routing must be one of \('rpr', 'dynamic'\), got 'em'"),
        (dict(primary_dim=8), r"primary_dim must be a square with routing='rpr'.* got 8"),
        (dict(num_points=0), 'num_points must be an integer of at least 1, got 0'),
        (dict(latent_dim=1), 'latent_dim must be an integer of at least 2, got 1'),
        (dict(routing='dynamic', routing_cfg=dict(iterations=0)), 'iterations must be a positive integer, got 0'),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PointCapsAE(**SMALL | arguments)


def test_wrong_inputs_are_refused():
    model = PointCapsAE(**SMALL)
    with pytest.raises(ValueError, match=r'inputs must be clouds \[b, n, 3\].*got \(2, 3, 40\)'):
        model(torch.rand(2, 3, 40))
    with pytest.raises(ValueError, match='got list; dataloaders need collate_fn'):
        model([torch.rand(40, 3)])
    with pytest.raises(ValueError, match="mode must be .*, got 'train'"):
        model(torch.rand(2, 40, 3), mode='train')
    with pytest.raises(ValueError, match='in training it takes 2 or more, got 1'):
        model(torch.rand(1, 40, 3), mode='loss')
    assert model.eval()(torch.rand(1, 40, 3)).shape == (1, 96, 3)
