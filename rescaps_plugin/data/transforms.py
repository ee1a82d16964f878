"""The transform by which data sets of image files load them, with every file checked."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import LoadImageFromFile

from rescaps_plugin.data.images import ImageError, check_image, read_file, read_image


class LoadCheckedImageFromFile(LoadImageFromFile):
    """MMCV's ``LoadImageFromFile``, of which truncated, damaged and oversized files are refused by name.

    Takes its place and arguments in the registries of the libraries that the plugin's packages are for, so that every
    tool that looks for ``LoadImageFromFile`` in a pipeline finds it. Raw data, by
    ``color_type='unchanged'``, are checked and loaded by MMCV's own; those of the ``tifffile`` decoder are not checked.

    Args:
        **kwargs: As MMCV's.
    """

    def transform(self, results: dict) -> dict | None:
        """Load ``img_path`` and note ``img``, ``img_shape`` and ``ori_shape``.

        Raises:
            ImageError: The file cannot be used, and ``ignore_empty`` is not set.
        """
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
