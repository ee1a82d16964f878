"""MMPretrain's visualisation hook, in the colours of the images and for images of any number of channels."""

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
    """Draw images under their predictions, as MMPretrain's hook does.

    MMPretrain's ``VisualizationHook`` draws images of files with red and blue exchanged, images of two channels not at
    all, and truncates values that are no bytes.

    Args:
        **kwargs: As MMPretrain's: ``enable``, ``interval``, ``show``, ``out_dir`` and those of ``visualize_cls``.
    """

    bgr = False

    def before_run(self, runner: Runner) -> None:
        """Find the order of colours that the pipeline leaves."""
        self.bgr = reads_bgr(runner.cfg)

    def _draw_samples(
        self, batch_idx: int, data_batch: dict, data_samples: Sequence[DataSample], step: int = 0
    ) -> None:
        """Draw the samples of a batch that are due."""
        if not self.enable:
            return
        pictures = [torch.from_numpy(to_picture(image, self.bgr)).permute(2, 0, 1) for image in data_batch['inputs']]
        super()._draw_samples(batch_idx, dict(data_batch, inputs=pictures), data_samples, step)
