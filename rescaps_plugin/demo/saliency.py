"""Salient object detection on the page: maps, overlays, cut-outs and side outputs of a photo."""

from __future__ import annotations

from os import PathLike
from time import perf_counter
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image

from rescaps_plugin.demo.uploads import check_size
from rescaps_plugin.saliency.drawing import overlay
from rescaps_plugin.saliency.heads.base import SaliencyHead
from rescaps_plugin.saliency.inference import Picture
from rescaps_plugin.saliency.metric import to_grey
from rescaps_plugin.saliency.predictor import SaliencyPredictor

# Longest side of pictures on the page, in pixels; a cut-out to download has that of its photo.
SHOWN_SIDE = 800


class Detection(NamedTuple):
    """What a detector finds in a photo.

    Args:
        seconds: Time of the network.
        map: Saliency, uint8 ``[h, w]``, of at most :data:`SHOWN_SIDE`.
        overlay: The photo with the salient part tinted, uint8 ``[h, w, 3]``, RGB.
        cutout: The salient object, of mode RGBA, at the size of the photo.
        sides: Maps of the levels of the head, uint8 ``[h, w]``, by name; none where the head has one map.
    """

    seconds: float
    map: np.ndarray
    overlay: np.ndarray
    cutout: Image.Image
    sides: dict[str, np.ndarray]


def detect(predictor: SaliencyPredictor, path: str | PathLike, refine: bool = False) -> Detection:
    """Detect the salient object of a photo.

    Args:
        predictor: The detector.
        path: The photo.
        refine: Whether to refine the edge of the cut-out. Defaults to False.

    Raises:
        UserError: The file is not an image, is damaged, or is too large.
    """
    check_size(path)
    picture = predictor.read(path, str(path))
    start = perf_counter()
    (prediction,) = predictor.predict_batch([picture])
    seconds = perf_counter() - start
    saliency = shrink(to_grey(torch.from_numpy(prediction.saliency)))
    tinted = overlay(shrink(prediction.image)[..., ::-1], saliency)[..., ::-1]
    return Detection(
        seconds, saliency, tinted, prediction.cutout(refine), side_outputs(predictor, picture, saliency.shape)
    )


@torch.no_grad()
def side_outputs(predictor: SaliencyPredictor, picture: Picture, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Compute the maps that a head is supervised with, besides its prediction.

    Args:
        predictor: The detector.
        picture: The photo, as the detector reads it.
        size: Height and width of the result.

    Returns:
        uint8 maps ``[height, width]`` by name; none of heads of other packages.
    """
    model = predictor.model
    if not isinstance(model.decode_head, SaliencyHead):
        return {}
    inputs = model.data_preprocessor(pseudo_collate([picture.sample]))['inputs']
    maps = model.decode_head.side_outputs(model.extract_feat(inputs))
    return {
        name: cv2.resize(to_grey(logits[0, 0].sigmoid().cpu()), size[::-1])
        for name, logits in maps.items()
        if name != 'saliency'
    }


def shrink(image: np.ndarray) -> np.ndarray:
    """Reduce an image to at most :data:`SHOWN_SIDE` pixels."""
    factor = SHOWN_SIDE / max(image.shape[:2])
    if factor >= 1:
        return image
    return cv2.resize(
        image, [max(1, round(factor * side)) for side in image.shape[1::-1]], interpolation=cv2.INTER_AREA
    )
