"""CapsNet: vector capsules with dynamic routing.

Sabour, Frosst, Hinton, *Dynamic routing between capsules*, NeurIPS 2017.
"""

from functools import partial

import torch
from timm.layers import to_2tuple
from timm.models import register_model
from torch import Tensor, nn

from rescaps_plugin.layers import PrimaryVectorCaps
from rescaps_plugin.models.build import build_network
from rescaps_plugin.models.cfgs import cifar_cfg, digits_cfg, list_cfgs, mnist_cfg
from rescaps_plugin.models.network import CapsuleLevel
from rescaps_plugin.models.routed_caps import RoutedClassifier, RoutedNetwork

__all__ = ['CapsNet', 'Decoder']


class Decoder(nn.Module):
    """Reconstruction of the image from the capsule of one class (Sabour et al. 2017, Fig. 2).

    The paper's decoder ends in a sigmoid, for pixels in (0, 1). Here images are standardised, so the last layer is
    linear.

    Args:
        num_classes: Number of classes.
        dim: Entries of a class capsule.
        image_shape: Channels, height and width of the image.

    Shape:
        - capsules: ``[b, num_classes, dim]``
        - target: class indices ``[b]``, or class probabilities ``[b, num_classes]``
        - output: ``[b, *image_shape]``
    """

    def __init__(self, num_classes: int, dim: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.image_shape = image_shape
        channels, height, width = image_shape
        self.layers = nn.Sequential(
            nn.Linear(num_classes * dim, 512),
            nn.ReLU(),
            nn.Linear(512, 1024),
            nn.ReLU(),
            nn.Linear(1024, channels * height * width),
        )

    def forward(self, capsules: Tensor, target: Tensor) -> Tensor:
        # Not one_hot, which reads the largest label from the device to check it.
        one = capsules.new_zeros(capsules.shape[:2])
        mask = one.scatter(1, target[:, None], 1.0) if target.dim() == 1 else target
        return self.layers((capsules * mask[..., None]).flatten(1)).unflatten(1, self.image_shape)


class CapsNet(RoutedNetwork):
    """CapsNet: convolution, primary capsules, class capsules by dynamic routing (Sabour et al. 2017, Fig. 1).

    Args:
        num_classes: Number of classes; 0 for features. Defaults to 10.
        in_chans: Channels of the image. Defaults to 1.
        img_size: Image height and width, in pixels. Defaults to 28.
        global_pool: ``'flatten'``, or ``''`` for unpooled features without classes. Defaults to ``'flatten'``.
        stem_channels: Channels of the convolution. Defaults to 256.
        capsule_types: Types of the primary capsules. Defaults to 32.
        kernel_size: Kernel of both convolutions. Defaults to 9.
        primary_dim: Entries of a primary capsule. Defaults to 8.
        class_dim: Entries of a class capsule. Defaults to 16.
        iterations: Iterations of dynamic routing. Defaults to 3.
        reconstruction: Whether to build the decoder, which :meth:`forward_reconstruction` trains. Defaults to False.
        output: ``'activation'``, or ``'logit'`` for the log-odds of the activations, for losses on logits
            (cross-entropy, binary cross-entropy, distillation). Defaults to ``'activation'``.
        drop_rate: Dropout of the primary capsules, see :class:`~rescaps_plugin.models.routed_caps.CapsuleDropout`.
            Defaults to 0.
        drop_path_rate: Must be 0: there is no stochastic depth. Defaults to 0.
        device: Device of the parameters; None is PyTorch's default. Defaults to None.
        dtype: Data type of the parameters; None is PyTorch's default. Defaults to None.

    Shape:
        - input: ``[b, in_chans, *img_size]``
        - output: ``[b, num_classes]``, lengths of the class capsules in (0, 1), or their log-odds

    Raises:
        ValueError: If a choice is unknown, the image too small for the convolutions, or ``drop_path_rate`` not 0.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = 28,
        global_pool: str = 'flatten',
        stem_channels: int = 256,
        capsule_types: int = 32,
        kernel_size: int = 9,
        primary_dim: int = 8,
        class_dim: int = 16,
        iterations: int = 3,
        reconstruction: bool = False,
        output: str = 'activation',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_chans = in_chans
        self.kernel_size = kernel_size
        self.stem = nn.Sequential()
        self.stem.add_module('conv', nn.Conv2d(in_chans, stem_channels, kernel_size))
        self.stem.add_module('act', nn.ReLU())
        self.primary = PrimaryVectorCaps(stem_channels, capsule_types, primary_dim, kernel_size, stride=2)
        self.capsule_types = capsule_types
        self.pose_shape = self.primary.pose_shape
        self.num_features = self.primary.out_channels
        # timm's feature extractors need three levels: the convolution counts before and after its ReLU.
        self.feature_info = [
            dict(num_chs=stem_channels, reduction=1, module='stem.conv'),
            dict(num_chs=stem_channels, reduction=1, module='stem.act'),
            dict(num_chs=self.num_features, reduction=2, module='primary'),
        ]
        head = partial(
            RoutedClassifier,
            self.num_features,
            capsule_types,
            routing='dynamic',
            drop_rate=drop_rate,
            output=output,
            in_dim=primary_dim,
            out_dim=class_dim,
            iterations=iterations,
        )
        self._build_decoder = partial(Decoder, dim=class_dim, image_shape=(in_chans, *to_2tuple(img_size)))
        self.reconstruction = reconstruction
        self.build_head(head, num_classes, img_size, global_pool, drop_path_rate, device, dtype)

    def _set_head(self, num_classes: int, global_pool: str) -> None:
        super()._set_head(num_classes, global_pool)
        self.decoder = self._build_decoder(num_classes) if self.reconstruction and num_classes > 0 else None

    @torch.jit.ignore
    def feature_size_of(self, img_size: int | tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the primary capsules for images of a size; raise if they are too small."""
        height, width = ((side - 2 * (self.kernel_size - 1) - 1) // 2 + 1 for side in to_2tuple(img_size))
        if min(height, width) < 1:
            raise ValueError(
                f'img_size must be at least {2 * self.kernel_size - 1} for convolutions of '
                f'{self.kernel_size}x{self.kernel_size}, got {img_size!r}'
            )
        return height, width

    @torch.jit.ignore
    def set_input_size(self, img_size: int | tuple[int, int]) -> None:
        """Change the size of the images that the network reads, in place; not with ``reconstruction=True``."""
        if self.reconstruction:
            raise ValueError('set_input_size needs reconstruction=False: the decoder is built for images of one size')
        super().set_input_size(img_size)

    @torch.jit.ignore
    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head, and the decoder if there is one, by new ones for ``num_classes`` (0: none)."""
        super().reset_classifier(num_classes, global_pool)
        if self.decoder is not None:
            self.like_network(self.decoder)

    @torch.jit.ignore
    def capsule_levels(self) -> list[CapsuleLevel]:
        """The primary capsules, with types and poses."""
        return [('primary', self.capsule_types, self.pose_shape)]

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Refuse gradient checkpointing: there is only one layer of capsules, and nothing to recompute after it."""
        if enable:
            raise ValueError('gradient checkpointing is not available for CapsNet')

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Group parameters by depth, for layer-wise learning rates."""
        return dict(stem=r'^stem', blocks=[(r'^primary', (0,))])

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the primary capsules, ``[b, num_features, h, w]``."""
        return self.primary(self.stem(x))

    @torch.jit.ignore
    def forward_reconstruction(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class outputs and the image reconstructed from the capsule of its class.

        Args:
            x: Images ``[b, in_chans, *img_size]``.
            target: Class indices ``[b]``, or class probabilities ``[b, num_classes]``.

        Raises:
            ValueError: If the network has no decoder.
        """
        if self.decoder is None:
            raise ValueError('forward_reconstruction needs a network built with reconstruction=True')
        pose, activation = self.head.capsules(self.forward_features(x))
        return activation, self.decoder(pose.unflatten(1, (self.num_classes, -1)), target)


default_cfgs = list_cfgs(
    {
        'capsnet_mnist': mnist_cfg(pool_size=(6, 6), classifier='head.routing'),
        'capsnet_cifar': cifar_cfg(pool_size=(8, 8), classifier='head.routing'),
        'capsnet_tiny': digits_cfg(pool_size=(4, 4), classifier='head.routing'),
    }
)


def _create_capsnet(variant: str, pretrained: bool = False, **kwargs) -> CapsNet:
    return build_network(
        CapsNet,
        variant,
        pretrained,
        feature_cfg=dict(out_indices=(0, 1, 2), feature_cls='getter'),
        **kwargs,
    )


@register_model
def capsnet_mnist(pretrained: bool = False, **kwargs) -> CapsNet:
    """CapsNet for 28x28 MNIST digits: 32 types of 8-D primary capsules, 16-D class capsules."""
    return _create_capsnet('capsnet_mnist', pretrained, **kwargs)


@register_model
def capsnet_cifar(pretrained: bool = False, **kwargs) -> CapsNet:
    """CapsNet for 32x32 CIFAR images: 64 types of primary capsules, as in the paper."""
    model_args = dict(capsule_types=64)
    return _create_capsnet('capsnet_cifar', pretrained, **dict(model_args, **kwargs))


@register_model
def capsnet_tiny(pretrained: bool = False, **kwargs) -> CapsNet:
    """CapsNet of 8 types and 5x5 convolutions for 16x16 images, which a CPU trains in minutes."""
    model_args = dict(stem_channels=32, capsule_types=8, kernel_size=5)
    return _create_capsnet('capsnet_tiny', pretrained, **dict(model_args, **kwargs))
