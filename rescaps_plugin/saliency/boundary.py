"""F-measure of the boundaries of regions (Martin et al., *Learning to Detect Natural Image Boundaries*, 2004)."""

from __future__ import annotations

import cv2
import numpy as np

from rescaps_plugin.saliency.masks import SALIENT

# Distances in pixels that boundaries may differ by, by the metric's name. None is 0.75% of the image's diagonal.
TOLERANCES = {'BF@1': 1.0, 'BF@2': 2.0, 'BF': None}


def score_boundary(saliency: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Score the boundary of a map's salient region, of grey levels from 128.

    Precision is the fraction of the region's boundary pixels within a tolerance of a boundary pixel of the mask; recall
    is that of the mask's. The border of the image is no boundary.

    Args:
        saliency: uint8 map ``[height, width]``.
        mask: bool mask ``[height, width]``.

    Returns:
        F-measures (harmonic means of precision and recall) by the names of :data:`TOLERANCES`. If neither region has a
        boundary they are 1, if one of them has none 0.
    """
    found, true = _boundary(saliency >= SALIENT), _boundary(mask)
    if not (found.any() and true.any()):
        return dict.fromkeys(TOLERANCES, float(found.any() == true.any()))
    found_distances, true_distances = _distance_to(true)[found], _distance_to(found)[true]
    scores = {}
    for name, tolerance in TOLERANCES.items():
        limit = 0.0075 * np.hypot(*mask.shape) if tolerance is None else tolerance
        precision, recall = (float((each <= limit).mean()) for each in (found_distances, true_distances))
        scores[name] = 2 * precision * recall / max(precision + recall, 1e-12)
    return scores


def _boundary(region: np.ndarray) -> np.ndarray:
    """Return the pixels of a bool region that have one of their 8 neighbours outside it."""
    eroded = cv2.erode(region.astype(np.uint8), np.ones((3, 3), np.uint8))
    return region & ~eroded.astype(bool)


def _distance_to(pixels: np.ndarray) -> np.ndarray:
    """Return the distance of every pixel to the nearest of some pixels, float32, exact."""
    return cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
