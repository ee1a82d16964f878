"""Image and mask transforms in mmseg's ``TRANSFORMS``."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

from rescaps_plugin.data.images import ImageError
from rescaps_plugin.data.transforms import LoadCheckedImageFromFile  # noqa: F401  (registers it)
from rescaps_plugin.saliency.masks import read_mask, resize_mask


@TRANSFORMS.register_module()
class LoadSaliencyMask(BaseTransform):
    """Load the mask of an image by :func:`~rescaps_plugin.saliency.masks.read_mask`.

    A sample without ``seg_map_path`` is passed unchanged, so that a test pipeline also works for images without masks.

    Args:
        backend_args: Arguments of MMEngine's file backend.
    """

    def __init__(self, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load ``seg_map_path`` as ``gt_seg_map``, uint8 ``[height, width]``: 1 where salient, else 0.

        Raises:
            ImageError: The file cannot be used, or its size differs from the image's and ``resize_mask`` is not set.
        """
        path = results.get('seg_map_path')
        if path is None:
            return results
        mask = read_mask(path, self.backend_args)
        size = results.get('ori_shape', mask.shape)
        if mask.shape != tuple(size[:2]) and results.get('resize_mask'):
            mask = resize_mask(mask, tuple(size[:2]))
        if mask.shape != tuple(size[:2]):
            sizes = ' and '.join(f'{width} x {height}' for height, width in (mask.shape, size[:2]))
            raise ImageError(f'{path}: the mask and its image {results["img_path"]} differ in size: {sizes} pixels')
        results['gt_seg_map'] = mask.astype(np.uint8)
        results['seg_fields'].append('gt_seg_map')
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


@TRANSFORMS.register_module()
class RandomBorderCrop(BaseTransform):
    """Crop a random window whose height and width are at least ``1 - max_ratio`` of the image's, as ICON.

    Args:
        max_ratio: Largest cropped fraction of the height and of the width. Defaults to 1/8.

    Raises:
        ValueError: ``max_ratio`` is not in [0, 1).
    """

    def __init__(self, max_ratio: float = 1 / 8) -> None:
        if not 0 <= max_ratio < 1:
            raise ValueError(f'RandomBorderCrop: max_ratio must be at least 0 and below 1, not {max_ratio!r}')
        self.max_ratio = max_ratio

    @cache_randomness
    def draw(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Draw the rows and columns that are kept of an image of ``shape``."""
        cut = [np.random.randint(int(size * self.max_ratio) + 1) for size in shape]
        start = [np.random.randint(each + 1) for each in cut]
        return tuple(slice(s, size - c + s) for size, c, s in zip(shape, cut, start, strict=True))

    def transform(self, results: dict) -> dict:
        """Crop ``img`` and the maps of ``seg_fields``, and set ``img_shape``."""
        kept = self.draw(results['img'].shape[:2])
        for key in ('img', *results.get('seg_fields', ())):
            results[key] = results[key][kept]
        results['img_shape'] = results['img'].shape[:2]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(max_ratio={self.max_ratio})'
