"""Predict the classes of images with a trained classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate

from rescaps_plugin.classification.exporter import ClassifierExporter
from rescaps_plugin.classification.image_inputs import ImageReader
from rescaps_plugin.classification.inference import load_classifier, predict_scores
from rescaps_plugin.data.memory_images import ImageInput
from rescaps_plugin.export.predictor import Predictor
from rescaps_plugin.layers.checks import check_positive
from rescaps_plugin.training.checkpoint_reader import CheckpointError
from rescaps_plugin.training.run_checks import find_class_count
from rescaps_plugin.training.trained_model import load_trained


@dataclass(frozen=True, repr=False)
class ClassPrediction:
    """Classes of an image, best first; among equal scores, the first class.

    Args:
        classes: Names of the classes; their numbers as text where the checkpoint has no names.
        labels: Numbers of the classes.
        scores: Scores of the classes, as the model's head predicts them: capsule activations or probabilities.
    """

    classes: tuple[str, ...]
    labels: tuple[int, ...]
    scores: tuple[float, ...]

    def __repr__(self) -> str:
        pairs = zip(self.classes, self.scores, strict=True)
        return f'ClassPrediction({", ".join(f"{name}: {score:.3f}" for name, score in pairs)})'


class ClassPredictor(Predictor[ImageInput, dict, ClassPrediction]):
    """Classes of images, predicted by an mmpretrain classifier.

    An image is the path or URL of a file; a ``PIL.Image``; a uint8 array ``[height, width]`` or
    ``[height, width, 3 | 4]``; or a tensor ``[1 | 3 | 4, height, width]``, uint8, or floating point in [0, 1]. Channels
    are grey, RGB or RGBA; opacity is ignored. The EXIF orientation of files and of images of Pillow is applied.

    Args:
        cfg: The config.
        checkpoint: Path or URL; or that of an exported file, whose metadata are the config.
        device: Where the model runs. Defaults to ``'cpu'``.
        batch_size: Maximum batch size. Images whose sizes the test pipeline leaves different are put into separate
            batches. Defaults to None: 32.
        runtime: ``'torch'``, ``'onnx'`` or ``'openvino'``; see :class:`~rescaps_plugin.export.predictor.Predictor`.
            Defaults to None: ``'torch'``, or the one that runs the exported file.
        trust_checkpoint: Whether the checkpoint may hold Python objects, which can run any code. Defaults to False.

    Raises:
        UserError: The config's model is not an image classifier, the checkpoint is missing or belongs to another
            model, or the device or packages are missing.
        ValueError: The batch size is not positive, or the runtime is unknown.

    Example:
        >>> from rescaps_plugin.cli.config import load_config
        >>> cfg = load_config('rescaps::rescaps/digits.py')
        >>> predictor = ClassPredictor(cfg, 'work_dirs/digits/epoch_40.pth')  # doctest: +SKIP
        >>> predictor.predict('three.png', topk=2)  # doctest: +SKIP
        ClassPrediction(3: 0.981, 8: 0.012)
    """

    exporter = ClassifierExporter
    default_batch_size = 32

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        device: str = 'cpu',
        batch_size: int | None = None,
        runtime: str | None = None,
        trust_checkpoint: bool = False,
    ) -> None:
        cfg, model = load_trained(cfg, checkpoint, load_classifier, trust_checkpoint)
        super().__init__(cfg, model, device, batch_size, runtime)
        self.classes = model._dataset_meta.get('classes')
        _, outputs = find_class_count(model) or ('', 0)
        if self.classes is not None and len(self.classes) < outputs:
            raise CheckpointError(
                f'checkpoint {checkpoint} names {len(self.classes)} classes; its model has {outputs}.'
            )

    @overload
    def predict(
        self, inputs: list[ImageInput] | tuple[ImageInput, ...], batch_size: int | None = None, topk: int = 5
    ) -> list[ClassPrediction]: ...

    @overload
    def predict(self, inputs: ImageInput, batch_size: int | None = None, topk: int = 5) -> ClassPrediction: ...

    def predict(self, inputs, batch_size=None, topk=5):
        """Predict the classes of one or several images.

        Args:
            inputs: An image, or a list or tuple of images.
            batch_size: Maximum batch size. Defaults to None: the predictor's.
            topk: Number of classes, at most all. Defaults to 5.

        Returns:
            The classes of the image; a list for a list or tuple.

        Raises:
            ImageError: An image cannot be used; names the file, or the input by its index.
            FileNotFoundError: A file does not exist.
            ValueError: ``batch_size`` or ``topk`` is not positive.
        """
        check_positive(topk=topk)
        return self._predict(inputs, batch_size, topk=topk)

    def name_class(self, label: int) -> str:
        """Return the name of a class, or its number as text where the checkpoint has no names."""
        return str(label) if self.classes is None else self.classes[label]

    @cached_property
    def reader(self) -> ImageReader:
        """The reader of images; models of other than 1 or 3 channels can only predict samples of data sets."""
        with self.own_scope():
            return ImageReader(self.cfg, self.model)

    def read(self, each: ImageInput, source: str) -> dict:
        return self.reader(each, source)

    def batch_key(self, sample: dict) -> torch.Size:
        return sample['inputs'].shape

    @torch.no_grad()
    def predict_batch(self, samples: Sequence[dict], topk: int = 5) -> list[ClassPrediction]:
        inputs = self.model.data_preprocessor(default_collate(samples))['inputs']
        scores = predict_scores(self.model, inputs) if self.runtime == 'torch' else self.run_file(inputs)[0]
        return [self._rank(each, topk) for each in scores.cpu().numpy()]

    def _rank(self, scores: np.ndarray, topk: int) -> ClassPrediction:
        # A stable descending sort: among equal scores the first class wins, as in argmax.
        labels = np.argsort(-scores, kind='stable')[:topk].tolist()
        return ClassPrediction(tuple(map(self.name_class, labels)), tuple(labels), tuple(scores[labels].tolist()))
