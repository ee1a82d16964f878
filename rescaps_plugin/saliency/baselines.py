"""A saliency map that does not look at the image, for ``tools/baselines.py``."""

from argparse import Namespace
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from rich.progress import track
from torch import Tensor

from rescaps_plugin.training.splits import build_dataset, score

# Side of the mean mask, in pixels.
SIDE = 256


def score_baselines(cfg: Config, args: Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    """Score the mean of the training masks, at the size of each image.

    Args:
        cfg: Config of a salient object detector.
        args: Arguments of ``tools/baselines.py``.

    Yields:
        Name and metrics.
    """
    mean = mean_mask(build_dataset(cfg, 'train'))
    test = build_dataset(cfg, 'test')

    def predict() -> Iterator[SegDataSample]:
        for index in track(range(len(test)), 'Scoring', transient=True):
            sample = test[index]['data_samples']
            size = sample.gt_sem_seg.data.shape[1:]
            saliency = F.interpolate(mean[None], size, mode='bilinear', align_corners=False)[0]
            sample.seg_logits = PixelData(data=saliency)
            yield sample

    yield 'mean of the training masks', score(cfg, test, predict())


def mean_mask(dataset: BaseDataset) -> Tensor:
    """Return the mean of the masks of a data set, each brought to one size: ``[1, SIDE, SIDE]`` in [0, 1]."""
    total = torch.zeros(1, SIDE, SIDE)
    for index in track(range(len(dataset)), 'Reading', transient=True):
        mask = dataset[index]['data_samples'].gt_sem_seg.data.float()
        total += F.adaptive_avg_pool2d(mask, SIDE)
    return total / len(dataset)
