"""The input size of a network, given to whole batches: one drawn size in training, a fixed one in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch.nn.functional as F
from mmengine.dist import broadcast_object_list
from mmengine.logging import MessageHub
from mmseg.models import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import Tensor

Size = tuple[int, int]


@MODELS.register_module()
class SaliencyDataPreProcessor(SegDataPreProcessor):
    """Resizes images to the size of their batch, then does what MMSegmentation's does: colours, mean and deviation.

    Images come as their files have them; proportions are given up, as all salient object detectors do. The size of a
    training batch depends on the run's seed and the number of its iteration alone: every process of a distributed
    training draws the same, and a resumed training draws what it would have drawn. Images are interpolated linearly
    with antialiasing, masks take their nearest pixel. In evaluation, masks stay as they are, and MMSegmentation's
    segmentors bring maps back to the size of the file.

    Args:
        train_sizes: Sides of square images, or (height, width) pairs, of which one is drawn for each training batch.
            By default, images keep their sizes, and a batch is padded.
        test_size: Side, or (height, width), of images in evaluation. By default, they keep their sizes.
        probabilities: Of the ``train_sizes``; all alike by default.
        **kwargs: Arguments of :class:`mmseg.models.SegDataPreProcessor`: ``mean``, ``std``, ``bgr_to_rgb``, ...

    Raises:
        ValueError: A size is not positive, or ``probabilities`` are none of the sizes.
    """

    def __init__(
        self,
        train_sizes: Sequence[int | Sequence[int]] | None = None,
        test_size: int | Sequence[int] | None = None,
        probabilities: Sequence[float] | None = None,
        **kwargs,
    ) -> None:
        if kwargs.get('size') is None:
            kwargs.setdefault('size_divisor', 1)
        super().__init__(**kwargs)
        self.train_sizes = [as_size(size, 'train_sizes') for size in train_sizes or ()]
        self.test_size = None if test_size is None else as_size(test_size, 'test_size')
        if probabilities is not None and (
            len(probabilities) != len(self.train_sizes) or min(probabilities) < 0 or abs(sum(probabilities) - 1) > 1e-6
        ):
            raise ValueError(
                f'SaliencyDataPreProcessor: probabilities must be {len(self.train_sizes)} numbers that add up to 1, '
                f'one for each of train_sizes, not {probabilities!r}'
            )
        self.probabilities = probabilities
        self.seed = None
        self.batches = 0

    def draw_size(self) -> Size:
        """Draw the size of the training batch at hand."""
        hub = MessageHub.get_current_instance()
        if self.seed is None:
            # A run may seed its processes differently; the first one's seed counts.
            seed = [hub.get_info('seed', 0)]
            broadcast_object_list(seed)
            (self.seed,) = seed
        iteration = hub.get_info('iter', self.batches)
        self.batches += 1
        random = np.random.RandomState([self.seed, iteration])
        return self.train_sizes[random.choice(len(self.train_sizes), p=self.probabilities)]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, images ``[channels, height, width]`` of any sizes, and ``data_samples``.
            training: Whether the batch is for training.

        Returns:
            ``inputs`` ``[batch, channels, height, width]`` and ``data_samples``.
        """
        data = self.cast_data(data)
        size = self.test_size
        if training:
            size = self.draw_size() if self.train_sizes else None
        if size is not None:
            data['inputs'] = [resize_image(image, size) for image in data['inputs']]
            for sample in data.get('data_samples') or ():
                shape = sample.get('img_shape', size)
                scale = (size[1] / shape[1], size[0] / shape[0])
                sample.set_metainfo(dict(img_shape=size, pad_shape=size, scale_factor=scale))
                if training:
                    mask = sample.gt_sem_seg.data
                    # of pixels' middles, where the mode 'nearest' would take corners
                    resized = F.interpolate(mask[None].float(), size, mode='nearest-exact')[0].to(mask.dtype)
                    del sample.gt_sem_seg.data
                    sample.gt_sem_seg.data = resized
        # MMSegmentation's swaps channels by a list of indices, which it copies to the device for every image.
        ready = copy(self)
        if self.channel_conversion:
            data['inputs'] = [image.flip(0) if len(image) == 3 else image for image in data['inputs']]
            ready.channel_conversion = False
        return SegDataPreProcessor.forward(ready, data, training)


def as_size(size: int | Sequence[int], argument: str) -> Size:
    """Read a side, or a height and a width, of positive numbers of pixels."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f'SaliencyDataPreProcessor: {argument} must be sides or (height, width) pairs, not {size!r}')
    return pair


def resize_image(image: Tensor, size: Size) -> Tensor:
    """Resize an image ``[channels, height, width]`` to float ``[channels, *size]``."""
    return F.interpolate(image[None].float(), size, mode='bilinear', align_corners=False, antialias=True)[0]
