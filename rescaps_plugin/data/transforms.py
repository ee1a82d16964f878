"""Transform that loads image files and checks them."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS

from rescaps_plugin.data.images import ImageError, check_image, read_file, read_image


@TRANSFORMS.register_module()
class LoadCheckedImageFromFile(LoadImageFromFile):
    """MMCV's ``LoadImageFromFile`` that refuses truncated, damaged and oversized files by name.

    Raw data, by ``color_type='unchanged'``, are checked and loaded by MMCV's own; those of the ``tifffile`` decoder are
    not checked. A sample that has its image and no path passes unchanged: MMPretrain's inferencers load images
    themselves, and remove only MMCV's transform from the pipeline.

    Args:
        **kwargs: As MMCV's.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``img_path`` and note ``img``, ``img_shape`` and ``ori_shape``.

        Raises:
            ImageError: The file cannot be used, and ``ignore_empty`` is not set.
        """
        if 'img' in results and 'img_path' not in results:
            return results
        if self.imdecode_backend == 'tifffile' or self.file_client_args is not None:
            return super().transform(results)
        try:
            if self.color_type == 'unchanged':
                check_image(read_file(results['img_path'], self.backend_args), results['img_path'])
                return super().transform(results)
            img = read_image(
                results['img_path'], self.color_type, backend=self.imdecode_backend, backend_args=self.backend_args
            )
        except (ImageError, OSError):
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            img = img.astype(np.float32)
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results
