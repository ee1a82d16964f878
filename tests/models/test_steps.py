"""A training step does not synchronise with the device or copy to it.

There need be no GPU: under a fake one, nothing is computed, and reading a number or a shape that depends on the data is
an error.
"""

import pytest
import timm
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.steps import DOMAINS, TINY, capsule_losses, domain_model

# Operators that synchronise: they read a value, or create a tensor whose size depends on values.
WAITING = {'_local_scalar_dense', 'is_nonzero', 'nonzero', 'masked_select', 'unique_dim', '_unique2', 'equal'}


class NoWaiting(TorchDispatchMode):
    """Raises on operators that synchronise with a device, and on copies to and from it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function.name().split('::')[1].split('.')[0] not in WAITING, function
        if function.name() == 'aten::index.Tensor':
            assert not any(index is not None and index.dtype == torch.bool for index in args[1]), function
        result = function(*args, **(kwargs or {}))
        devices = {tensor.device.type for tensor in tree_leaves((args, result)) if isinstance(tensor, torch.Tensor)}
        if function.name() in ('aten::_to_copy', 'aten::copy_'):
            assert len(devices) < 2, f'{function} between {devices}'
        return result


@pytest.mark.parametrize('name', TINY)
def test_loss_of_a_network_does_not_synchronise(name):
    size = timm.get_pretrained_cfg(name).input_size
    with FakeTensorMode(), torch.device('cuda'):
        network = timm.create_model(name, in_chans=size[0], img_size=size[1:])
        images = torch.rand(2, *size)
        with NoWaiting():
            loss = capsule_losses(network(images))
    assert loss.device.type == 'cuda'


@pytest.mark.parametrize('name', DOMAINS)
def test_loss_of_a_domain_does_not_synchronise(name):
    with FakeTensorMode():
        model, batch = domain_model(name, 'cuda:0')
        with NoWaiting():
            loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    assert loss.device.type == 'cuda'


@pytest.mark.parametrize('name', TINY)
def test_backward_pass_of_a_network_does_not_synchronise(name):
    size = timm.get_pretrained_cfg(name).input_size
    network = timm.create_model(name, in_chans=size[0], img_size=size[1:])
    with NoWaiting():
        capsule_losses(network(torch.rand(2, *size))).backward()


@pytest.mark.parametrize('name', DOMAINS)
def test_backward_pass_of_a_domain_does_not_synchronise(name):
    model, batch = domain_model(name, 'cpu')
    with NoWaiting():
        model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))[0].backward()
