"""MMPretrain's visualisation hook with correct colours, for images with any number of channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.runner import Runner
from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample

from rescaps_plugin.classification.image_inputs import reads_bgr
from rescaps_plugin.data.pictures import to_picture


@HOOKS.register_module()
class InputVisualizationHook(VisualizationHook):
    """Draw images with their predictions.

    MMPretrain's ``VisualizationHook`` swaps red and blue of images from files, does not support two channels, and
    truncates values outside the range of bytes.

    Args:
        **kwargs: Arguments of ``VisualizationHook``: ``enable``, ``interval``, ``show``, ``out_dir`` and those of
            ``visualize_cls``.
    """

    bgr = False

    def before_run(self, runner: Runner) -> None:
        """Determine the channel order of the pipeline's images."""
        self.bgr = reads_bgr(runner.cfg)

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample], step: int = 0
    ) -> None:
        """Draw the samples of a batch that the interval selects."""
        if not self.enable:
            return
        pictures = [torch.from_numpy(to_picture(image, self.bgr)).permute(2, 0, 1) for image in data_batch['inputs']]
        super()._draw_samples(batch_idx, dict(data_batch, inputs=pictures), data_samples, step)
