"""SyntheticSOD: generated images of objects on textured backgrounds, without files or downloads."""

from __future__ import annotations

import cv2
import numpy as np
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from rescaps_plugin.saliency.datasets.sod import SODDataset

# Range of stripe frequencies, in cycles per pixel, and exclusive maximum of distractor dots per image.
STRIPES = (0.04, 0.12)
CLUTTER = 12


def texture(random: np.random.RandomState, shape: tuple[int, int], dark: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Generate a texture of clouds or stripes between two colours.

    Args:
        random: Random number generator.
        shape: Height and width, in pixels.
        dark: First colour ``[3]``.
        light: Second colour ``[3]``.

    Returns:
        float64 image ``[height, width, 3]``.
    """
    height, width = shape
    if random.rand() < 0.5:
        clouds = [random.rand(cells, cells).astype(np.float32) for cells in (3, 6, 12)]
        layers = [cv2.resize(cloud, (width, height), interpolation=cv2.INTER_LINEAR) for cloud in clouds]
        mix = np.tensordot([0.5, 0.3, 0.2], layers, axes=1)
    else:
        y, x = np.mgrid[:height, :width]
        angle, phase = random.uniform(0, 2 * np.pi, 2)
        waves = random.uniform(*STRIPES) * (x * np.cos(angle) + y * np.sin(angle))
        mix = (1 + np.sin(2 * np.pi * waves + phase)) / 2
    return dark + (light - dark) * mix[..., None]


def draw_object(random: np.random.RandomState, shape: tuple[int, int]) -> list[np.ndarray]:
    """Generate an object: a body, which may have a hole, and up to two limbs.

    Args:
        random: Random number generator.
        shape: Height and width, in pixels.

    Returns:
        bool masks ``[height, width]`` of the parts, the body first.
    """
    height, width = shape
    radius = random.uniform(0.14, 0.26) * min(shape)
    center = np.array([random.uniform(0.3, 0.7) * width, random.uniform(0.3, 0.7) * height])
    parts = []
    for part in range(1 + random.randint(3)):
        canvas = np.zeros(shape, np.uint8)
        around = random.uniform(0, 2 * np.pi)
        middle = center if part == 0 else center + radius * np.array([np.cos(around), np.sin(around)])
        size = radius if part == 0 else radius * random.uniform(0.4, 0.7)
        corners = random.choice([3, 4, 5, 40])
        angles = around + np.arange(2 * corners) * np.pi / corners
        # Every second point is on a side of a polygon (40 corners: close to an ellipse), or further in for a star.
        star = part == 0 and corners < 40 and random.rand() < 0.5
        inner = 0.6 if star else np.cos(np.pi / corners)
        reach = size * np.where(np.arange(2 * corners) % 2, inner, 1)
        stretch = np.array([1, random.uniform(0.6, 1)])
        points = middle + reach[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1) * stretch
        cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], 1)
        if part == 0 and random.rand() < 0.25:
            cv2.circle(canvas, tuple(np.rint(middle).astype(int).tolist()), int(0.35 * size), 0, -1)
        parts.append(canvas.astype(bool))
    return parts


@DATASETS.register_module()
class SyntheticSOD(BaseSegDataset):
    """Saturated objects of one or more parts on dull textured backgrounds with distractor dots.

    Images are generated on access from the seed and the index only, so that all epochs, workers and machines get the
    same images. Samples have ``img``, BGR, and ``gt_seg_map``; pipelines need no loading steps.

    Args:
        split: ``'train'`` or ``'test'``, with different images.
        num_images: Number of images.
        sizes: Minimum and maximum of the height and of the width, which are drawn per image, in pixels.
        seed: Random seed of the data set.
        **kwargs: Other arguments of :class:`mmseg.datasets.BaseSegDataset`, such as ``pipeline`` and ``indices``.

    Raises:
        ValueError: An argument is invalid.

    Example:
        >>> sample = SyntheticSOD(split='test', num_images=4)[0]
        >>> sample['img'].dtype, sample['gt_seg_map'].shape == sample['img'].shape[:2]
        (dtype('uint8'), True)
    """

    METAINFO = SODDataset.METAINFO

    def __init__(
        self,
        split: str = 'train',
        num_images: int = 200,
        sizes: tuple[int, int] = (80, 128),
        seed: int = 0,
        **kwargs,
    ) -> None:
        if split not in ('train', 'test'):
            raise ValueError(f"SyntheticSOD: split must be 'train' or 'test', not {split!r}")
        if num_images < 1:
            raise ValueError(f'SyntheticSOD: num_images must be at least 1, not {num_images!r}')
        if not 16 <= sizes[0] <= sizes[1]:
            raise ValueError(f'SyntheticSOD: sizes must be two numbers that rise from at least 16, not {sizes!r}')
        self.split, self.num_images, self.sizes, self.seed = split, num_images, tuple(sizes), seed
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        """List the samples, with their index and the name of the data set."""
        return [dict(number=number, dataset='SyntheticSOD') for number in range(self.num_images)]

    def get_data_info(self, idx: int) -> dict:
        """Generate a sample.

        Args:
            idx: Index of the sample.

        Returns:
            ``img``, uint8 ``[height, width, 3]``, with ``img_shape`` and ``ori_shape``; ``gt_seg_map``, uint8
            ``[height, width]`` of 0 and 1; ``img_path``, a name without a file; and ``dataset``.
        """
        info = super().get_data_info(idx)
        number = info.pop('number')
        img, mask = self.draw(number)
        return dict(
            info,
            img=img,
            img_shape=mask.shape,
            ori_shape=mask.shape,
            img_path=f'SyntheticSOD-{self.split}-{number:04d}',
            gt_seg_map=mask,
            seg_fields=['gt_seg_map'],
            reduce_zero_label=False,
        )

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Generate the image and the mask with an index."""
        random = np.random.RandomState([self.seed, self.split == 'test', number])
        shape = tuple(random.randint(self.sizes[0], self.sizes[1] + 1, 2).tolist())
        # Backgrounds have low saturation, objects high saturation.
        ground = random.uniform(40, 200) + random.uniform(-20, 20, 3)
        canvas = texture(random, shape, ground, ground + random.uniform(-45, 45) + random.uniform(-10, 10, 3))
        for _ in range(random.randint(CLUTTER)):
            center = tuple(random.randint(0, side) for side in shape[::-1])
            cv2.circle(canvas, center, random.randint(1, 4), (ground + random.uniform(-60, 60)).tolist(), -1)
        mask = np.zeros(shape, bool)
        for _ in range(1 + (random.rand() < 0.25)):
            color = 255 * random.permutation([random.uniform(0.75, 1), random.uniform(0, 0.25), random.uniform(0, 1)])
            for part in draw_object(random, shape):
                shade = np.clip(color + random.uniform(-50, 50), 0, 255)
                canvas[part] = texture(random, shape, shade, np.clip(shade + random.uniform(-60, 60), 0, 255))[part]
                mask |= part
        canvas += random.normal(0, 6, canvas.shape)
        return np.clip(canvas, 0, 255).astype(np.uint8), mask.astype(np.uint8)
