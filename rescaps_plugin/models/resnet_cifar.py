"""timm's ResNets with a stem for 32x32 images: 3x3 at stride 1, no max-pool.

He, Zhang, Ren, Sun, *Deep residual learning for image recognition*, CVPR 2016.
"""

from typing import Any

import torch
from timm.models import register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from rescaps_plugin.models.build import build_network
from rescaps_plugin.models.cfgs import cifar_cfg, list_cfgs
from rescaps_plugin.models.checkpoints import ReadsCheckpoints

__all__ = ['ResNetCifar']


class ResNetCifar(ReadsCheckpoints, ResNet):
    """ResNet with a 3x3 stem at stride 1 and no max-pool, for images of about 32x32.

    Args:
        in_chans: Channels of the image. Defaults to 3.
        device: Device of the parameters; None is PyTorch's default. Defaults to None.
        dtype: Data type of the parameters; None is PyTorch's default. Defaults to None.
        **kwargs: Arguments of timm's ``ResNet``.

    Shape:
        - input: ``[b, in_chans, h, w]``
        - output: logits ``[b, num_classes]``
    """

    def __init__(
        self,
        in_chans: int = 3,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs,
    ) -> None:
        super().__init__(in_chans=in_chans, device=device, dtype=dtype, **kwargs)
        levels: list[dict[str, Any]] = self.feature_info
        first, *stages = levels
        conv = nn.Conv2d(in_chans, first['num_chs'], 3, padding=1, bias=False, device=device, dtype=dtype)
        nn.init.kaiming_normal_(conv.weight, mode='fan_out', nonlinearity='relu')
        self.add_module('conv1', conv)
        self.add_module('maxpool', nn.Identity())
        self.feature_info = [
            dict(first, reduction=1),
            *(dict(stage, reduction=stage['reduction'] // 4) for stage in stages),
        ]


_cfg = cifar_cfg(pool_size=(4, 4), first_conv='conv1', classifier='fc', fixed_input_size=False)
default_cfgs = list_cfgs({'resnet18_cifar': _cfg, 'resnet18_cifar_small': _cfg, 'resnet101_cifar': _cfg})


def _create_resnet_cifar(variant: str, pretrained: bool = False, **kwargs) -> ResNetCifar:
    return build_network(ResNetCifar, variant, pretrained, **kwargs)


@register_model
def resnet18_cifar(pretrained: bool = False, **kwargs) -> ResNetCifar:
    """ResNet-18 with a CIFAR stem."""
    model_args = dict(block=BasicBlock, layers=(2, 2, 2, 2))
    return _create_resnet_cifar('resnet18_cifar', pretrained, **dict(model_args, **kwargs))


@register_model
def resnet18_cifar_small(pretrained: bool = False, **kwargs) -> ResNetCifar:
    """ResNet-18 with a CIFAR stem and 24, 48, 96, 192 channels: 1.6 M parameters (``rescaps_small``: 1.7 M)."""
    model_args = dict(block=BasicBlock, layers=(2, 2, 2, 2), channels=(24, 48, 96, 192))
    return _create_resnet_cifar('resnet18_cifar_small', pretrained, **dict(model_args, **kwargs))


@register_model
def resnet101_cifar(pretrained: bool = False, **kwargs) -> ResNetCifar:
    """ResNet-101 with a CIFAR stem."""
    model_args = dict(block=Bottleneck, layers=(3, 4, 23, 3))
    return _create_resnet_cifar('resnet101_cifar', pretrained, **dict(model_args, **kwargs))
