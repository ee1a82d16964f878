"""Spread and margin loss: comparison with closed forms and independent implementations."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rescaps_plugin.losses import MarginLoss, SpreadLoss, margin_loss, spread_loss

batches = st.tuples(st.integers(1, 6), st.integers(2, 7), st.integers(0, 2**16))


def draw(batch, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.rand(batch, classes, generator=generator),
        torch.randint(classes, (batch,), generator=generator),
    )


@given(batches, st.floats(0, 1))
def test_spread_loss_equals_a_loop_over_classes(shape, margin):
    activation, target = draw(*shape)
    expected = []
    for row, label in zip(activation.tolist(), target.tolist(), strict=True):
        expected.append(sum(max(0.0, margin - (row[label] - a)) ** 2 for i, a in enumerate(row) if i != label))
    torch.testing.assert_close(spread_loss(activation, target, margin), torch.tensor(expected))


@given(batches, st.floats(0, 1))
def test_spread_loss_equals_the_form_that_subtracts_the_targets_own_term(shape, margin):
    activation, target = draw(*shape)
    activation = activation.double()
    own = activation.gather(1, target[:, None])
    released = torch.relu(margin - (own - activation)).square().sum(dim=1) - margin**2
    torch.testing.assert_close(spread_loss(activation, target, margin), released)


@pytest.mark.parametrize('loss', [lambda a, t: spread_loss(a, t, 0.9), margin_loss])
def test_one_hot_targets_are_class_indices(loss):
    activation, target = draw(5, 4, 0)
    one_hot = torch.nn.functional.one_hot(target, 4).float()
    torch.testing.assert_close(loss(activation, one_hot), loss(activation, target))


@pytest.mark.parametrize('loss', [lambda a, t: spread_loss(a, t, 0.9), margin_loss])
def test_mixed_targets_give_the_mixture(loss):
    """The loss of a mixup of two labels is the mixture of their losses."""
    activation, target = draw(5, 4, 0)
    other = (target + 1) % 4
    one_hot = torch.nn.functional.one_hot
    mixed = 0.3 * one_hot(target, 4) + 0.7 * one_hot(other, 4)
    expected = 0.3 * spread_loss(activation, target, 0.9) + 0.7 * spread_loss(activation, other, 0.9)
    if loss is margin_loss:
        expected = 0.3 * margin_loss(activation, target) + 0.7 * margin_loss(activation, other)
    torch.testing.assert_close(loss(activation, mixed), expected)


@pytest.mark.parametrize('loss', [lambda a, t: spread_loss(a, t, 0.9), margin_loss])
def test_gradients_numerically(loss):
    activation = torch.rand(3, 4, requires_grad=True)
    target = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda a: loss(a, target), activation.double().detach().requires_grad_())


def naive_spread_loss(activation, target, margin):
    """Compute the expectation over targets with all pairs at once, ``[b, t, i]``."""
    excess = torch.relu(margin - (activation[:, :, None] - activation[:, None]))
    others = 1 - torch.eye(activation.shape[1], dtype=activation.dtype)
    return (target[:, :, None] * others * excess.square()).sum(dim=(1, 2))


@given(batches, st.sampled_from([-0.3, 0.0, 0.2, 0.9, 1.0]), st.sampled_from([0, 3]))
def test_dense_targets_equal_all_pairs_in_value_and_gradient(shape, margin, digits):
    activation, _ = draw(*shape)
    # Rounded activations are often equal, or a margin apart.
    activation = activation.double() if digits == 0 else activation.double().mul(10).round().div(10)
    target = torch.rand_like(activation) * (torch.rand_like(activation) < 0.7)
    inputs = [activation.clone().requires_grad_() for _ in range(2)]
    targets = [target.clone().requires_grad_() for _ in range(2)]
    expected = naive_spread_loss(inputs[0], targets[0], margin)
    actual = spread_loss(inputs[1], targets[1], margin)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    for loss in (expected, actual):
        (loss * torch.arange(1, len(loss) + 1)).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(targets[1].grad, targets[0].grad, rtol=1e-12, atol=1e-12)


def test_label_smoothing_over_a_thousand_classes_takes_linear_memory():
    activation, label = draw(64, 1000, 3)
    activation.requires_grad_()
    target = torch.full((64, 1000), 1e-4).scatter(1, label[:, None], 0.9001)
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return result

    with Sizes():
        loss = spread_loss(activation, target, 0.9)
        loss.sum().backward()
    assert largest <= 4 * activation.numel()
    exact = activation.detach().double().requires_grad_()
    expected = torch.cat(
        [naive_spread_loss(*rows, 0.9) for rows in zip(exact.split(8), target.double().split(8), strict=True)]
    )
    expected.sum().backward()
    torch.testing.assert_close(loss, expected.float())
    torch.testing.assert_close(activation.grad, exact.grad.float())


def test_float64_stays_float64():
    activation, target = draw(4, 5, 2)
    activation = activation.double() + 1e-12
    one_hot = torch.nn.functional.one_hot(target, 5).double()
    exact = spread_loss(activation, target, 0.7)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(spread_loss(activation, one_hot, 0.7), exact, rtol=1e-12, atol=1e-12)
    assert (exact - spread_loss(activation - 1e-12, target, 0.7)).abs().max() < 1e-10
    assert margin_loss(activation, target).dtype == torch.float64


def test_margin_grows_linearly():
    loss = SpreadLoss(margin=(0.2, 0.9))
    assert [loss.margin_at(progress) for progress in (0, 0.5, 1)] == pytest.approx([0.2, 0.55, 0.9])
    activation, target = draw(4, 5, 1)
    torch.testing.assert_close(loss(activation, target, 0.5), spread_loss(activation, target, 0.55).mean())


def test_loss_of_perfect_activations_is_zero():
    activation, target = torch.eye(4), torch.arange(4)
    assert SpreadLoss()(activation, target) == 0
    assert MarginLoss()(activation, target) == 0
    assert SpreadLoss()(1 - activation, target) > 1


def test_losses_of_half_precision_activations_are_float32():
    activation, target = draw(4, 5, 2)
    for loss in (SpreadLoss(), MarginLoss()):
        half = loss(activation.bfloat16(), target)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, loss(activation.bfloat16().float(), target))


@pytest.mark.parametrize('margin', [(-0.1, 0.9), (0.9, 0.2), (0.2, 1.5)])
def test_impossible_margins_are_refused(margin):
    with pytest.raises(ValueError, match='margin must be'):
        SpreadLoss(margin)


@pytest.mark.parametrize('loss', [SpreadLoss(), MarginLoss()])
def test_mismatched_shapes_are_refused(loss):
    with pytest.raises(ValueError, match=r'got \(4, 5\) and \(3,\)'):
        loss(torch.rand(4, 5), torch.zeros(3, dtype=torch.long))


every_loss = pytest.mark.parametrize('loss', [SpreadLoss(), MarginLoss()], ids=lambda loss: type(loss).__name__)


@every_loss
def test_logits_are_refused_with_their_range(loss):
    name = type(loss).__name__
    target = torch.tensor([0, 1])
    for values in ([[0.2, 0.7], [3.5, 0.1]], [[0.2, 0.7], [-1.25, 0.1]], [[float('inf'), 0.0], [0.0, 0.0]]):
        with pytest.raises(ValueError, match=rf"{name} takes class activations in \[0, 1\].*output='activation'"):
            loss(torch.tensor(values), target)
    with pytest.raises(ValueError, match=r'got values from -1\.25 to 0\.7'):
        loss(torch.tensor([[0.2, 0.7], [-1.25, 0.1]]), target)


@every_loss
def test_rounding_beyond_one_is_accepted(loss):
    target = torch.tensor([0, 1])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        outside = torch.tensor([[1 + 1e-3, 0.0], [-1e-3, 1.0]], dtype=torch.float64).to(dtype)
        assert loss(outside, target).isfinite()
    assert loss(torch.zeros(0, 2), target[:0]).isnan()


@every_loss
def test_nan_reaches_the_loss(loss):
    activation = torch.tensor([[float('nan'), 0.5], [0.5, 0.5]])
    assert loss(activation, torch.tensor([0, 1])).isnan()


@every_loss
def test_check_of_the_range_compiles_and_exports(loss):
    activation, target = torch.rand(3, 4), torch.tensor([0, 3, 1])
    expected = loss(activation, target)
    compiled = torch.compile(loss, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(activation, target), expected)
    with pytest.raises(RuntimeError, match='takes class activations'):
        compiled(5 * activation + 1, target)
    program = torch.export.export(loss, (activation, target)).module()
    torch.testing.assert_close(program(activation, target), expected)


@pytest.mark.parametrize('dtype', [torch.bool, torch.uint8, torch.int64, torch.float64])
@pytest.mark.parametrize('loss', [lambda a, t: spread_loss(a, t, 0.9), margin_loss])
def test_dense_targets_of_any_type(loss, dtype):
    activation, target = torch.rand(4, 5), torch.eye(5)[[0, 3, 3, 1]]
    torch.testing.assert_close(loss(activation, target.to(dtype)), loss(activation, target), check_dtype=False)
