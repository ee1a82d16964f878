"""Export salient object detectors, for ``tools/export.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export.exporter import Exporter
from rescaps_plugin.saliency.data_preprocessor import SaliencyDataPreProcessor
from rescaps_plugin.saliency.inference import load_detector
from rescaps_plugin.saliency.metric import MapScores, saliency_of, score_map, summarise, to_grey


class SaliencyMaps(nn.Module):
    """Saliency maps of a detector, at the size of its input.

    Args:
        detector: The detector, with 1 or 2 output channels.

    Shape:
        - images: ``[b, 3, h, w]``, preprocessed
        - output: the map ``[b, 1, h, w]`` in (0, 1), and its logits ``[b, 1, h, w]``; for a detector with two channels,
          the salient class's logits minus the background's
    """

    def __init__(self, detector: BaseSegmentor) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        size = images.shape[2:]
        logits = self.detector.inference(images, [dict(ori_shape=size, img_shape=size)])
        if logits.shape[1] == 2:
            logits = logits[:, 1:] - logits[:, :1]
        return logits.sigmoid(), logits


class DetectorExporter(Exporter):
    """Export of salient object detectors: maps and logits ``[b, 1, h, w]`` of images ``[b, 3, h, w]``."""

    task = 'saliency'
    sample = 'image'
    size_names = ('H', 'W')
    collate = staticmethod(pseudo_collate)
    input_name = 'images'
    output_names = ('saliency', 'logits')

    def load_model(self) -> BaseSegmentor:
        return load_detector(self.cfg, self.args.checkpoint, self.args.device)

    def build_network(self, deployed: nn.Module) -> nn.Module:
        return SaliencyMaps(deployed)

    def find_input_shape(self) -> tuple[int, ...]:
        """Return ``(3, height, width)``: ``--input-size``, which also becomes ``test_size``, or the config's size."""
        preprocessor, size = self.model.data_preprocessor, self.args.input_size
        if not isinstance(preprocessor, SaliencyDataPreProcessor):
            return (3, *size) if size else super().find_input_shape()
        preprocessor.test_size = tuple(size) if size else preprocessor.test_size
        if preprocessor.test_size is None:
            raise UserError(f'config {self.args.config} has no data_preprocessor.test_size: give --input-size.')
        return (3, *preprocessor.test_size)

    def reference(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        results = self.model(inputs, mode='predict')
        saliency = torch.stack([saliency_of(result.seg_logits.data)[None] for result in results])
        return saliency, saliency

    def comparable(self, outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the map and the sigmoid of the logits; logits themselves are unbounded."""
        saliency, logits = outputs
        return saliency, logits.sigmoid()

    def agreement(self, outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        agree = ((outputs[0] > 0.5) == (expected[0] > 0.5)).float().mean()
        return f'salient or not agrees on {100 * agree:.2f} % of pixels'

    def score(self, inputs: Tensor, outputs: Sequence[Tensor], annotations: Sequence[SegDataSample]) -> list[MapScores]:
        """Score maps at the size of their masks."""
        scores = []
        for logits, annotation in zip(outputs[1], annotations, strict=True):
            mask = annotation.gt_sem_seg.data[0]
            # As MMSegmentation's segmentors: resize the logits, then apply the sigmoid.
            resized = F.interpolate(logits[None], mask.shape, mode='bilinear', align_corners=self.model.align_corners)
            scores.append(score_map(to_grey(resized[0, 0].sigmoid()), mask.numpy() == 1))
        return scores

    def metrics(self, scores: Sequence[MapScores]) -> dict[str, float]:
        metrics, _ = summarise(scores)
        return {name: metrics[name] for name in ('MAE', 'maxF')}

    def summarise(self, scores: Sequence[MapScores]) -> str:
        return ', '.join(f'{name} {value:.4f}' for name, value in self.metrics(scores).items())

    def describe(self) -> dict[str, Any]:
        # Images are loaded as BGR.
        images = self.describe_images(rgb=self.model.data_preprocessor.channel_conversion)
        centres = 'corner pixels aligned' if self.model.align_corners else 'pixel centres at half a pixel'
        recipe = [
            'decode the image, turn it as EXIF says, drop its opacity, and order its channels as channel_order says',
            'subtract mean and divide by std, of values from 0 to 255',
            'run the file; take the output logits',
            f"resize the logits to the image's own size: bilinear, without antialiasing, {centres}",
            'sigmoid of the resized logits',
        ]
        if isinstance(self.model.data_preprocessor, SaliencyDataPreProcessor):
            images['resize'] = {
                'to': self.input_shape[1:],
                'keep_ratio': False,
                'filter': 'bilinear',
                'antialias': True,
            }
            recipe.insert(
                1,
                'resize float values to input_size, without regard to proportions: bilinear, with antialiasing, pixel '
                'centres at half a pixel',
            )
        return {**images, 'align_corners': self.model.align_corners, 'recipe': recipe}
