"""MMSegmentation's visualisation hook, for sets of files and for sets that have none."""

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
    """Paint predictions over the images' files as MMSegmentation's hook does, over what was loaded where there is none.

    MMSegmentation's ``SegVisualizationHook`` asks for the file of every sample.

    Args:
        **kwargs: As MMSegmentation's: ``draw``, ``interval``, ``show``, ``wait_time`` and ``backend_args``.
    """

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[SegDataSample],
        mode: str = 'val',
    ) -> None:
        """Paint the samples of every ``interval``-th batch.

        Args:
            runner: The runner.
            batch_idx: Number of the batch.
            data_batch: The batch as the data loader gave it.
            outputs: What the model predicts for it.
            mode: ``'train'``, of which nothing is painted, ``'val'`` or ``'test'``.
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
    """Turn an image ``[3, height, width]``, blue first, into a picture of the ``(height, width)`` of its map."""
    picture = to_picture(image, bgr=True)
    if picture.shape[:2] != tuple(size):
        picture = cv2.resize(picture, tuple(size)[::-1], interpolation=cv2.INTER_LINEAR)
    return picture
