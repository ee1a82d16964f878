"""Predict saliency maps of images with a trained salient object detector, and cut objects out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from PIL import Image
from torch import Tensor

from rescaps_plugin.data.memory_images import ImageInput
from rescaps_plugin.export.predictor import Predictor
from rescaps_plugin.saliency.cutouts import cutout
from rescaps_plugin.saliency.exporter import DetectorExporter
from rescaps_plugin.saliency.inference import (
    Picture,
    PictureReader,
    check_sizes,
    load_detector,
    predict_saliency,
    resizes_images,
)
from rescaps_plugin.saliency.metric import saliency_of, to_grey
from rescaps_plugin.training.trained_model import load_trained


@dataclass(frozen=True, repr=False, eq=False)
class SaliencyPrediction:
    """Saliency of an image.

    Args:
        saliency: Probability that a pixel is salient, float32 ``[height, width]`` in [0, 1], at the image's size.
        image: The image, uint8 ``[height, width, 3]``, RGB.
        alpha: Its opacity, uint8 ``[height, width]``, or None if it has none.
    """

    saliency: np.ndarray
    image: np.ndarray
    alpha: np.ndarray | None = None

    def __repr__(self) -> str:
        height, width = self.saliency.shape
        return f'SaliencyPrediction({height} x {width}, {(self.saliency > 0.5).mean():.1%} salient)'

    def cutout(self, refine: bool = False) -> Image.Image:
        """Cut the salient object out.

        Args:
            refine: Whether to refine the edge of the map at the resolution of the image, and to estimate the colours
                of the object there. Defaults to False.

        Returns:
            The image in mode RGBA, whose opacity is the saliency, multiplied by the image's own opacity.
        """
        saliency = to_grey(torch.from_numpy(self.saliency))
        return Image.fromarray(cutout(self.image, saliency, self.alpha, refine))


class SaliencyPredictor(Predictor[ImageInput, Picture, SaliencyPrediction]):
    """Saliency maps of images, predicted by an mmsegmentation detector.

    An image is the path or URL of a file; a ``PIL.Image``; a uint8 array ``[height, width]`` or
    ``[height, width, 3 | 4]``; or a tensor ``[1 | 3 | 4, height, width]``, uint8, or floating point in [0, 1]. Channels
    are grey, RGB or RGBA; only cut-outs use the opacity. The EXIF orientation of files and of images of Pillow is
    applied. A result holds its image and its map in memory.

    Args:
        cfg: The config.
        checkpoint: Path or URL; or that of an exported file, whose metadata are the config.
        device: Where the model runs. Defaults to ``'cpu'``.
        batch_size: Maximum batch size. If the model does not resize images, those of different sizes are put into
            separate batches. Defaults to None: 1.
        runtime: ``'torch'``, ``'onnx'`` or ``'openvino'``; see :class:`~rescaps_plugin.export.predictor.Predictor`.
            Defaults to None: ``'torch'``, or the one that runs the exported file.
        trust_checkpoint: Whether the checkpoint may hold Python objects, which can run any code. Defaults to False.

    Raises:
        UserError: The config's model is not a salient object detector, the checkpoint is missing or belongs to another
            model, or the device or packages are missing.
        ValueError: The batch size is not positive, or the runtime is unknown.

    Example:
        >>> from rescaps_plugin.cli.config import load_config
        >>> cfg = load_config('rescaps::icon/icon-rpr_efficientnet-lite0_synthetic.py')
        >>> predictor = SaliencyPredictor(cfg, 'epoch_2.pth')  # doctest: +SKIP
        >>> predictor.predict('photo.jpg').cutout().save('object.png')  # doctest: +SKIP
    """

    exporter = DetectorExporter
    # MMSegmentation warns about every batch whose images differ in size.
    default_batch_size = 1

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        device: str = 'cpu',
        batch_size: int | None = None,
        runtime: str | None = None,
        trust_checkpoint: bool = False,
    ) -> None:
        cfg, model = load_trained(cfg, checkpoint, load_detector, trust_checkpoint)
        super().__init__(cfg, model, device, batch_size, runtime)
        with self.own_scope():
            self.reader = PictureReader(cfg)

    def read(self, each: ImageInput, source: str) -> Picture:
        return self.reader.read_image(each, source)

    def batch_key(self, sample: Picture) -> torch.Size | None:
        return None if resizes_images(self.model) else sample.sample['inputs'].shape

    def predict_batch(self, samples: Sequence[Picture]) -> list[SaliencyPrediction]:
        maps = self._predict_saliency([each.sample for each in samples])
        return [
            SaliencyPrediction(saliency.cpu().numpy(), np.ascontiguousarray(each.image[..., ::-1]), each.alpha)
            for saliency, each in zip(maps, samples, strict=True)
        ]

    def predict_maps(self, pictures: Sequence[Picture]) -> list[np.ndarray]:
        """Predict maps, uint8 ``[height, width]``, of a batch.

        Raises:
            UserError: Images differ in size, and the model does not resize them.
        """
        samples = [each.sample for each in pictures]
        check_sizes(self.model, samples)
        return [to_grey(saliency) for saliency in self._predict_saliency(samples)]

    def _predict_saliency(self, samples: Sequence[dict]) -> list[Tensor]:
        if self.runtime == 'torch':
            return predict_saliency(self.model, samples)
        data = self.model.data_preprocessor(pseudo_collate(samples))
        _, logits = self.run_file(data['inputs'])
        if self.model.decode_head.out_channels == 2:  # the file returns the difference of the channels
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        results = self.model.postprocess_result(logits, data['data_samples'])
        return [saliency_of(result.seg_logits.data) for result in results]
