"""Base class of the salient object detection heads: one logit per pixel for mmsegmentation's two classes."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule, fuse_conv_bn
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.utils import SampleList
from torch import Tensor, nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.layers.fusion import fuse_layers


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a map ``[b, c, h, w]`` to ``size``, bilinearly."""
    size = tuple(size)
    return x if x.shape[2:] == size else F.interpolate(x, size=size, mode='bilinear', align_corners=False)


def conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> ConvModule:
    """Build a convolution with 'same' padding, batch normalisation and ReLU."""
    norm = dict(type='BN')
    return ConvModule(in_channels, out_channels, kernel_size, stride, kernel_size // 2, norm_cfg=norm, inplace=False)


class SaliencyHead(BaseDecodeHead):
    """Head that predicts one map of logits from multi-level features, with deep supervision of several maps.

    For mmsegmentation it has two classes, background and salient, with one channel for both: in the results,
    ``seg_logits`` is the saliency map (the sigmoid of the logits, at the original image size), and ``pred_sem_seg`` is
    that map thresholded at ``threshold``.

    Args:
        in_channels: Channels of the feature levels, finest first.
        channels: Channels of the head.
        in_index: Indices of the backbone's outputs to use. Defaults to None: the first ones.
        loss_decode: Losses, applied to every map.
        threshold: Saliency above which a pixel is predicted to be salient. Defaults to 0.5.
        ignore_index: Label of pixels ignored by the losses. Defaults to 255.
        init_cfg: mmengine's initialisation. Defaults to None.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        loss_decode: dict | Sequence[dict],
        in_index: Sequence[int] | None = None,
        threshold: float = 0.5,
        ignore_index: int = 255,
        init_cfg: dict | list[dict] | None = None,
        num_classes: int = 2,
        out_channels: int = 1,
    ) -> None:
        if (num_classes, out_channels) != (2, 1):
            raise ValueError(
                f'{type(self).__name__} has one channel for two classes, background and salient: num_classes must be 2 '
                f'and out_channels 1, got {num_classes!r} and {out_channels!r}'
            )
        super().__init__(
            in_channels,
            channels,
            num_classes=num_classes,
            out_channels=out_channels,
            threshold=threshold,
            dropout_ratio=0,
            in_index=tuple(range(len(in_channels))) if in_index is None else in_index,
            input_transform='multiple_select',
            loss_decode=loss_decode,
            ignore_index=ignore_index,
            init_cfg=init_cfg,
        )
        # Subclasses define their own predictors.
        del self.conv_seg

    @abstractmethod
    def side_outputs(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return all supervised maps.

        Args:
            inputs: Outputs of the backbone.

        Returns:
            Logits ``[b, 1, h, w]`` by name, each of its own size. ``'saliency'`` is the head's prediction.
        """

    def _transform_inputs(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Select the input levels and check their channels.

        Raises:
            UserError: The backbone's channels differ; names the config's key and the right value.
        """
        given = [level.shape[1] for level in inputs]
        chosen = [given[index] for index in self.in_index] if max(self.in_index) < len(given) else given
        if chosen != list(self.in_channels):
            raise UserError(
                f'model.decode_head.in_channels={list(self.in_channels)}, but the backbone outputs levels of {given} '
                f'channels: set model.decode_head.in_channels={chosen}.'
            )
        return super()._transform_inputs(inputs)

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: SampleList, train_cfg: Any) -> dict[str, Tensor]:
        """Compute the losses of every map, named ``<map>.<loss>``, or ``<loss>`` for the prediction."""
        label = self._stack_batch_gt(batch_data_samples)
        losses = {}
        for name, logit in self.side_outputs(inputs).items():
            prefix = '' if name == 'saliency' else f'{name}.'
            losses.update({f'{prefix}{key}': loss for key, loss in self._map_losses(logit, label).items()})
        return losses

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Compute the losses of one map of logits ``[b, 1, h, w]``, resized to the size of the masks."""
        return self._map_losses(seg_logits, self._stack_batch_gt(batch_data_samples))

    def _map_losses(self, logit: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Compute the losses of one map of logits ``[b, 1, h, w]`` against masks ``[b, 1, H, W]``."""
        logit = resize(logit, label.shape[2:])
        losses = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        return {loss.loss_name: loss(logit, label[:, 0], ignore_index=self.ignore_index) for loss in losses}

    def fuse(self) -> nn.Module:
        """Convert the head to its deploy form in place: merge parallel convolutions and fold batch normalisation.

        ``timm.utils.reparameterize_model`` calls this method.

        Returns:
            The head, in eval mode.
        """
        fuse_layers(self)
        for module in self.modules():
            if isinstance(module, ConvModule):
                fuse_conv_bn(module)
        return self

    def switch_to_deploy(self) -> None:
        """Alias of :meth:`fuse`, named as in OpenMMLab."""
        self.fuse()
