"""Checks shared by all vote-based routings: equality with the reference, extreme inputs, precision, memory."""

import torch
from hypothesis import strategies as st

shapes = st.fixed_dictionaries(
    {
        'in_types': st.integers(1, 3),
        'out_types': st.integers(1, 3),
        'kernel_size': st.sampled_from([1, 2, 3, (1, 3), (3, 2)]),
        'stride': st.integers(1, 2),
        'padding': st.sampled_from([None, 0]),
    }
)


def capsule_map(layer, height, width, batch=2, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(batch, layer.in_types * layer.in_dim, height, width, generator=generator, dtype=dtype)
    activation = torch.rand(batch, layer.in_types, height, width, generator=generator, dtype=dtype)
    return torch.cat([pose, activation], dim=1)


def assert_equals_oracle(layer, literal, x):
    layer = layer.double()
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data.normal_(std=0.5, generator=generator)
    expected_input, actual_input = (x.clone().requires_grad_() for _ in range(2))
    expected = literal(layer, expected_input)
    direction = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    targets = dict(layer.named_parameters())
    expected_gradients = torch.autograd.grad(
        (expected * direction).sum(), [expected_input, *targets.values()], materialize_grads=True
    )
    actual = layer(actual_input)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    gradients = torch.autograd.grad(
        (actual * direction).sum(), [actual_input, *targets.values()], materialize_grads=True
    )
    for name, gradient, reference in zip(['input', *targets], gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-8, atol=1e-8, msg=f'gradient of {name}')


def assert_finite_at_extremes(layer):
    """Check for finite outputs and gradients: zero poses, activations of 0 and 1, both at once, and large poses."""
    random = capsule_map(layer, 4, 5, dtype=torch.float32)
    poses = layer.in_types * layer.in_dim
    for scale in (0.0, 1.0, 1e3):
        for activation in (0.0, 1.0, None):
            x = random.clone()
            x[:, :poses] *= scale
            if activation is not None:
                x[:, poses:] = activation
            x.requires_grad_()
            layer.zero_grad()
            y = layer(x)
            y.sum().backward()
            assert y.isfinite().all(), (scale, activation)
            assert x.grad.isfinite().all(), (scale, activation)
            assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters()), (scale, activation)


def assert_full_precision_under_autocast(layer):
    """Check that under autocast a bfloat16 map is routed in float32: only input and output are rounded."""
    x = capsule_map(layer, 5, 4, dtype=torch.float32).bfloat16()
    expected = layer(x.float())
    with torch.autocast('cpu', torch.bfloat16):
        actual = layer(x)
        full = layer(x.float())
    assert actual.dtype == torch.bfloat16
    assert torch.equal(actual, expected.bfloat16())
    assert torch.equal(full, expected)


def assert_keeps_memory_format(layer):
    """Check that the output has the memory format of the input, and that a channels-last output is not a copy."""
    x = capsule_map(layer, 5, 4, dtype=torch.float32)
    last = x.contiguous(memory_format=torch.channels_last)
    assert layer(x).is_contiguous()
    y = layer(last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    # The map is a view of the tensor in which the parents were concatenated.
    assert y._is_view()
    assert torch.equal(y, layer(x))


def saved_bytes(layer, x):
    """Return the bytes of the tensors saved for the backward pass."""
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)
    assert y.requires_grad
    return sum(storages.values())


def votes_bytes(layer, x):
    height, width = (
        (side + 2 * padding - kernel) // layer.stride + 1
        for side, padding, kernel in zip(x.shape[2:], layer.padding, layer.kernel_size, strict=True)
    )
    return 4 * len(x) * height * width * layer.window * layer.in_types * layer.out_types * layer.out_dim
