"""Data preprocessor that resizes whole batches: to a random size in training, to a fixed size in evaluation."""

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
    """Resize the images of a batch, then convert colours and normalise as ``SegDataPreProcessor``.

    The aspect ratio is not kept, as in all salient object detectors. The size of a training batch depends only on the
    run's seed and the iteration: all processes of a distributed training draw the same size, and a resumed training
    continues the same sequence. Images are resized bilinearly with antialiasing, masks by nearest neighbour. In
    evaluation, masks are not resized, and MMSegmentation's segmentors resize maps to the original image size.

    Args:
        train_sizes: Sides of square images, or (height, width) pairs; one is drawn for each training batch. By
            default, images keep their sizes, and a batch is padded.
        test_size: Side, or (height, width), of images in evaluation. By default, they keep their sizes.
        probabilities: Probabilities of the ``train_sizes``. Defaults to None: uniform.
        **kwargs: Arguments of :class:`mmseg.models.SegDataPreProcessor`: ``mean``, ``std``, ``bgr_to_rgb``, ...

    Raises:
        ValueError: A size is not positive, or ``probabilities`` are not a distribution over ``train_sizes``.
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
        """Draw the size of the current training batch."""
        hub = MessageHub.get_current_instance()
        if self.seed is None:
            # Processes may have different seeds; all use that of rank 0.
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
                    # 'nearest-exact' samples at pixel centres; 'nearest' samples at corners.
                    resized = F.interpolate(mask[None].float(), size, mode='nearest-exact')[0].to(mask.dtype)
                    del sample.gt_sem_seg.data
                    sample.gt_sem_seg.data = resized
        # SegDataPreProcessor swaps channels by a list of indices, which is copied to the device for every image.
        ready = copy(self)
        if self.channel_conversion:
            data['inputs'] = [image.flip(0) if len(image) == 3 else image for image in data['inputs']]
            ready.channel_conversion = False
        return SegDataPreProcessor.forward(ready, data, training)


def as_size(size: int | Sequence[int], argument: str) -> Size:
    """Convert a side, or a (height, width) pair, to a pair of positive pixel counts."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f'SaliencyDataPreProcessor: {argument} must be sides or (height, width) pairs, not {size!r}')
    return pair


def resize_image(image: Tensor, size: Size) -> Tensor:
    """Resize an image ``[channels, height, width]`` to float ``[channels, *size]``."""
    return F.interpolate(image[None].float(), size, mode='bilinear', align_corners=False, antialias=True)[0]
