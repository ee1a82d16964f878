"""Networks on the device: a step with timm's arguments, a new classifier, and a step without synchronisation."""

from contextlib import contextmanager

import pytest
import timm
import torch
from mmengine.optim import OptimWrapper
from timm.optim import create_optimizer_v2

from rescaps_plugin.losses import chamfer_distance, spread_loss
from rescaps_plugin.training.pending_scalars import PendingScalars
from tests.steps import BATCHES, DOMAINS, TINY, capsule_losses, class_targets, domain_model

pytestmark = pytest.mark.cuda

# Arguments of create_model in train.py of timm 1.0.31 with its defaults, and other classes.
TIMM_ARGUMENTS = dict(
    pretrained=False,
    num_classes=7,
    drop_rate=0.0,
    drop_path_rate=None,
    drop_block_rate=None,
    global_pool=None,
    bn_momentum=None,
    bn_eps=None,
    scriptable=False,
    checkpoint_path='',
)


@contextmanager
def waits_are_errors(device):
    """Raise an error on every operation that synchronises with the GPU."""
    if device.type != 'cuda':
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def network_and_images(name, device, **arguments):
    size = timm.get_pretrained_cfg(name).input_size
    network = timm.create_model(name, in_chans=size[0], img_size=size[1:], **arguments).to(device)
    return network, torch.rand(4, *size, device=device)


def test_synchronisation_is_detected(device):
    if device.type != 'cuda':
        pytest.skip('of CUDA alone')
    with waits_are_errors(device), pytest.raises(RuntimeError, match='synchroniz'):
        torch.ones(2, device=device).sum().item()
    torch.ones(2, device=device).sum().item()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', TINY)
def test_step_with_the_arguments_of_timms_script(device, name, dtype):
    network, images = network_and_images(name, device, **TIMM_ARGUMENTS)
    network = network.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = create_optimizer_v2(network, opt='sgd', lr=0.05, momentum=0.9, weight_decay=2e-5)
    label, _ = class_targets(len(images), TIMM_ARGUMENTS['num_classes'], device)
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
        activation = network(images)
        loss = spread_loss(activation, label, 0.9).mean()
    assert activation.device.type == device.type and activation.shape == (4, 7)
    loss.backward()
    optimizer.step()
    changed = [key for key, value in network.named_parameters() if not torch.equal(value, before[key])]
    assert changed
    assert all(value.isfinite().all() for value in network.parameters())
    assert all(value.grad is None or value.grad.isfinite().all() for value in network.parameters())
    with torch.no_grad():
        assert network.eval()(images).isfinite().all()


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('name', TINY)
def test_new_classifier_is_on_the_device_of_the_network(device, name, dtype):
    network, images = network_and_images(name, device)
    network = network.to(dtype).eval()
    network.reset_classifier(5)
    assert {(value.device.type, value.dtype) for value in network.parameters()} == {(device.type, dtype)}
    with torch.no_grad():
        activation = network(images.to(dtype))
    assert activation.shape == (4, 5) and activation.dtype == dtype and activation.isfinite().all()
    network.reset_classifier(0)
    assert network(images.to(dtype)).shape == (4, network.head_hidden_size)


def test_new_decoder_is_on_the_device_of_the_network(device):
    network, images = network_and_images('capsnet_tiny', device, reconstruction=True)
    network.reset_classifier(5)
    _, image = network.forward_reconstruction(images, torch.arange(4, device=device))
    assert image.shape == images.shape and image.device.type == device.type


@pytest.mark.parametrize('name', TINY)
def test_training_step_of_a_network_does_not_synchronise(device, name):
    network, images = network_and_images(name, device)
    optimizer = torch.optim.AdamW(network.parameters())

    def step():
        optimizer.zero_grad()
        loss = capsule_losses(network(images))
        loss.backward()
        optimizer.step()
        return PendingScalars(dict(loss=loss))

    step()
    with waits_are_errors(device):
        loss = step()
    assert loss.read()['loss'] > 0


@pytest.mark.parametrize('name', DOMAINS)
def test_training_step_of_a_domain_does_not_synchronise(device, name):
    model, batch = domain_model(name, device)
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters()))
    model.train_step(batch, wrapper)
    batch = BATCHES[name.partition(',')[0]](device)
    with waits_are_errors(device):
        losses = PendingScalars(model.train_step(batch, wrapper))
    assert all(value == value for value in losses.read().values())


def test_nearest_points_are_those_found_on_the_cpu(device):
    points, target = torch.rand(3, 500, 3), torch.rand(3, 700, 3)
    expected = chamfer_distance(points.double(), target.double())
    actual = chamfer_distance(points.to(device), target.to(device)).double().cpu()
    # Means of squared differences, with a few roundings each.
    torch.testing.assert_close(actual, expected, rtol=32 * torch.finfo(torch.float32).eps, atol=0)


def test_label_smoothing_over_a_thousand_classes_is_small(device):
    activation = torch.rand(64, 1000, device=device, requires_grad=True)
    _, smooth = class_targets(64, 1000, device)
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    spread_loss(activation, smooth, 0.9).sum().backward()
    if device.type == 'cuda':
        assert torch.cuda.max_memory_allocated() - before < 64 * 2**20
    expected = activation.detach().double().cpu().requires_grad_()
    spread_loss(expected, smooth.double().cpu(), 0.9).sum().backward()
    torch.testing.assert_close(activation.grad.double().cpu(), expected.grad, rtol=1e-5, atol=1e-6)
