"""DigitClouds: scikit-learn's handwritten digits as point clouds, without files or downloads."""

from __future__ import annotations

import numpy as np
from mmengine.registry import DATASETS

from rescaps_plugin.data.digits import load_digits
from rescaps_plugin.pointcloud.datasets.base import PointCloudDataset


@DATASETS.register_module()
class DigitClouds(PointCloudDataset):
    """scikit-learn's 1,797 handwritten 8x8 digits, converted to clouds: 1,437 for training, 360 for testing.

    A digit becomes a solid with a thickness proportional to its ink: points are distributed over pixels in proportion
    to their ink, uniformly within a pixel, and uniformly in ``z`` from ``-t`` to ``t``, where ``t`` is ``thickness``
    times the ink relative to the largest possible. ``x`` points right and ``y`` up, in pixels, with the origin at the
    image centre. The split is that of :class:`~rescaps_plugin.classification.datasets.Digits`.

    Args:
        split: ``'train'`` or ``'test'``.
        num_points: Points of a cloud.
        seed: As in :class:`PointCloudDataset`.
        thickness: Half the largest thickness, in pixels.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline``.

    Raises:
        UserError: scikit-learn is not installed.

    Example:
        >>> clouds = DigitClouds(split='test', num_points=512)
        >>> len(clouds), clouds[0]['points'].shape
        (360, (512, 3))
    """

    METAINFO = {'classes': tuple('0123456789')}

    def __init__(
        self, split: str = 'train', num_points: int = 2048, seed: int | None = 0, thickness: float = 1.0, **kwargs
    ):
        self.thickness = thickness
        super().__init__(split=split, num_points=num_points, seed=seed, **kwargs)

    def load_labels(self) -> np.ndarray:
        """Load the digits of the split and return their labels ``[n]``."""
        self.images, labels = load_digits(self.split, 'pointcloud')
        return labels

    def load_points(self, index: int, random: np.random.RandomState) -> np.ndarray:
        """Sample the points of a digit."""
        image = self.images[index]
        height, width = image.shape
        ink = image.ravel() / image.sum()
        pixel = random.choice(ink.size, self.num_points, p=ink)
        row, column = np.divmod(pixel, width)
        across, down, out = random.uniform(-1, 1, (3, self.num_points))
        return np.stack(
            [
                column + across / 2 - (width - 1) / 2,
                (height - 1) / 2 - row - down / 2,
                out * self.thickness * image.ravel()[pixel] / 16,
            ],
            axis=1,
            dtype=np.float32,
        )
