"""``tools/export.py`` for salient object detectors: the maps of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from rescaps_plugin.engine.errors import UserError
from rescaps_plugin.engine.exporter import Exporter
from rescaps_plugin.saliency.data_preprocessor import SaliencyDataPreProcessor
from rescaps_plugin.saliency.inference import load_detector
from rescaps_plugin.saliency.metric import MapScores, saliency_of, score_map, summarise, to_grey


class SaliencyMaps(nn.Module):
    """A detector that gives saliency maps of the size of its images.

    Args:
        detector: The detector, of 1 or 2 channels.

    Shape:
        - images: ``[b, 3, h, w]``, as the data preprocessor leaves them
        - output: ``[b, 1, h, w]``, in (0, 1)
    """

    def __init__(self, detector: BaseSegmentor) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> Tensor:
        size = images.shape[2:]
        logits = self.detector.inference(images, [dict(ori_shape=size, img_shape=size)])
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


class DetectorExporter(Exporter):
    """Export of salient object detectors: maps ``[b, 1, h, w]`` of images ``[b, 3, h, w]``."""

    task = 'saliency'
    sample = 'image'
    size_names = ('H', 'W')
    collate = staticmethod(pseudo_collate)
    input_name = 'images'
    output_names = ('saliency',)

    def load_model(self) -> BaseSegmentor:
        return load_detector(self.cfg, self.args.checkpoint, self.args.device)

    def build_network(self, deployed: nn.Module) -> nn.Module:
        return SaliencyMaps(deployed)

    def find_input_shape(self) -> tuple[int, ...]:
        """Give ``(3, height, width)``: the size asked for, which images get from then on, or the config's."""
        preprocessor, size = self.model.data_preprocessor, self.args.input_size
        if not isinstance(preprocessor, SaliencyDataPreProcessor):
            return (3, *size) if size else super().find_input_shape()
        preprocessor.test_size = tuple(size) if size else preprocessor.test_size
        if preprocessor.test_size is None:
            raise UserError(f'config {self.args.config} has no data_preprocessor.test_size: give --input-size.')
        return (3, *preprocessor.test_size)

    def reference(self, inputs: Tensor) -> tuple[Tensor]:
        results = self.model(inputs, mode='predict')
        return (torch.stack([saliency_of(result.seg_logits.data)[None] for result in results]),)

    def agreement(self, outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        agree = ((outputs[0] > 0.5) == (expected[0] > 0.5)).float().mean()
        return f'salient or not agrees on {100 * agree:.2f} % of pixels'

    def score(self, inputs: Tensor, outputs: Sequence[Tensor], annotations: Sequence[SegDataSample]) -> list[MapScores]:
        """Score maps at the size of their masks."""
        scores = []
        for saliency, annotation in zip(outputs[0], annotations, strict=True):
            mask = annotation.gt_sem_seg.data[0]
            resized = F.interpolate(saliency[None], mask.shape, mode='bilinear', align_corners=False)[0, 0]
            scores.append(score_map(to_grey(resized), mask.numpy() == 1))
        return scores

    def summarise(self, scores: Sequence[MapScores]) -> str:
        metrics, _ = summarise(scores)
        return f'MAE {metrics["MAE"]:.4f}, maxF {metrics["maxF"]:.4f}'

    def describe(self) -> dict[str, Any]:
        # Images come blue first.
        return self.describe_images(rgb=self.model.data_preprocessor.channel_conversion)
