"""What heads of salient object detection share: one logit a pixel, in mmsegmentation's terms of two classes."""

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
    """Build a convolution that keeps the size but for its stride, batch normalisation and ReLU."""
    norm = dict(type='BN')
    return ConvModule(in_channels, out_channels, kernel_size, stride, kernel_size // 2, norm_cfg=norm, inplace=False)


class SaliencyHead(BaseDecodeHead):
    """A head that gives one map of logits from several levels of features, finest first, and learns from several maps.

    mmsegmentation takes it for two classes, background and salient, with one channel for both: in the results,
    ``seg_logits`` is the saliency map, the sigmoid of the logits at the image's own size, and ``pred_sem_seg`` that map
    above ``threshold``.

    Args:
        in_channels: Channels of the levels, finest first, as backbones give them.
        channels: Channels of the head.
        in_index: Which of the backbone's outputs these are. Defaults to None: the first ones.
        loss_decode: Losses, of every map.
        threshold: Saliency above which a pixel is predicted to be salient. Defaults to 0.5.
        ignore_index: Label of pixels that losses leave out. Defaults to 255.
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
        # Every head here has predictors of its own.
        del self.conv_seg

    @abstractmethod
    def side_outputs(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """Give all maps that are learnt from, to look at.

        Args:
            inputs: The backbone's outputs.

        Returns:
            Logits ``[b, 1, h, w]`` by name, each of its own size. The head's answer is ``'saliency'``.
        """

    def _transform_inputs(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Choose the levels that the head reads, and check their channels.

        Raises:
            UserError: The backbone gives others; names the config's key and the right value.
        """
        given = [level.shape[1] for level in inputs]
        chosen = [given[index] for index in self.in_index] if max(self.in_index) < len(given) else given
        if chosen != list(self.in_channels):
            raise UserError(
                f'model.decode_head.in_channels={list(self.in_channels)}, and the backbone gives levels of {given} '
                f'channels: set model.decode_head.in_channels={chosen}.'
            )
        return super()._transform_inputs(inputs)

    def loss(self, inputs: Sequence[Tensor], batch_data_samples: SampleList, train_cfg: Any) -> dict[str, Tensor]:
        """Compute the losses of every map: ``<map>.<loss>``, and of the answer ``<loss>`` alone."""
        label = self._stack_batch_gt(batch_data_samples)
        losses = {}
        for name, logit in self.side_outputs(inputs).items():
            prefix = '' if name == 'saliency' else f'{name}.'
            losses.update({f'{prefix}{key}': loss for key, loss in self._map_losses(logit, label).items()})
        return losses

    def loss_by_feat(self, seg_logits: Tensor, batch_data_samples: SampleList) -> dict[str, Tensor]:
        """Compute the losses of one map of logits ``[b, 1, h, w]``, resized to the masks."""
        return self._map_losses(seg_logits, self._stack_batch_gt(batch_data_samples))

    def _map_losses(self, logit: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Compute the losses of one map of logits ``[b, 1, h, w]`` against masks ``[b, 1, H, W]``."""
        logit = resize(logit, label.shape[2:])
        losses = self.loss_decode if isinstance(self.loss_decode, nn.ModuleList) else [self.loss_decode]
        return {loss.loss_name: loss(logit, label[:, 0], ignore_index=self.ignore_index) for loss in losses}

    def fuse(self) -> nn.Module:
        """Turn the head into its deploy form in place: plain convolutions where several, or a normalisation, follow.

        ``timm.utils.reparameterize_model`` finds it by its name.

        Returns:
            The head, in eval mode.
        """
        fuse_layers(self)
        for module in self.modules():
            if isinstance(module, ConvModule):
                fuse_conv_bn(module)
        return self

    def switch_to_deploy(self) -> None:
        """Do what :meth:`fuse` does, by OpenMMLab's name."""
        self.fuse()
