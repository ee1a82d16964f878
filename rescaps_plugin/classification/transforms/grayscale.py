"""Grey images for networks of one channel."""

from __future__ import annotations

from mmcv.image import bgr2gray
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Grayscale(BaseTransform):
    """Convert a colour image, blue first, to grey (ITU-R BT.601); keep an image of another number of channels.

    Test pipelines of grey data sets start with it: their own images pass, and images that mmpretrain's inferencer reads
    from files, always in colour, fit the network.

    Required Keys:

    - img

    Modified Keys:

    - img
    """

    def transform(self, results: dict) -> dict:
        """Turn ``img`` ``[h, w, 3]`` into ``[h, w]``.

        Args:
            results: Result dict from the data set or the transform before.

        Returns:
            The result dict.
        """
        if results['img'].shape[2:] == (3,):
            results['img'] = bgr2gray(results['img'])
        return results

    def __repr__(self) -> str:
        """Show the class."""
        return f'{type(self).__name__}()'
