"""MMSegmentation's visualisation hook, for data sets with and without image files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.fileio import exists
from mmengine.runner import Runner
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from torch import Tensor

from rescaps_plugin.data.images import read_image
from rescaps_plugin.data.pictures import to_picture


@HOOKS.register_module()
class SaliencyVisualizationHook(SegVisualizationHook):
    """Draw predictions over the image files, or over the loaded images where there are no files.

    MMSegmentation's ``SegVisualizationHook`` requires a file for every sample.

    Args:
        **kwargs: Arguments of ``SegVisualizationHook``: ``draw``, ``interval``, ``show``, ``wait_time`` and
            ``backend_args``.
    """

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[SegDataSample],
        mode: str = 'val',
    ) -> None:
        """Draw the samples of every ``interval``-th batch.

        Args:
            runner: The runner.
            batch_idx: Index of the batch.
            data_batch: Batch from the data loader.
            outputs: Predictions of the model.
            mode: ``'val'``, ``'test'``, or ``'train'``, for which nothing is drawn.
        """
        if mode == 'train' or not self.draw or not self.every_n_inner_iters(batch_idx, self.interval):
            return
        for index, (loaded, output) in enumerate(zip(data_batch['inputs'], outputs, strict=True)):
            path = output.get('img_path')
            if path is not None and exists(path, backend_args=self.backend_args):
                image = to_picture(read_image(path, backend_args=self.backend_args), bgr=True)
            else:
                image = loaded_picture(loaded, output.pred_sem_seg.data.shape[-2:])
            name = f'{batch_idx}-{index}' if path is None else Path(path).name
            self._visualizer.add_datasample(
                f'{mode}_{name}',
                image,
                data_sample=output,
                show=self.show,
                wait_time=self.wait_time,
                step=runner.iter,
            )


def loaded_picture(image: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Convert an image ``[3, height, width]``, BGR, to a picture of the ``(height, width)`` of its map."""
    picture = to_picture(image, bgr=True)
    if picture.shape[:2] != tuple(size):
        picture = cv2.resize(picture, tuple(size)[::-1], interpolation=cv2.INTER_LINEAR)
    return picture
