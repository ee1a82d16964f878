"""Export classifiers, for ``tools/export.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.structures import BaseDataElement
from mmpretrain.models import BaseClassifier
from torch import Tensor, nn

from rescaps_plugin.classification.datasets.array_files import DataError
from rescaps_plugin.classification.image_inputs import reads_bgr
from rescaps_plugin.classification.inference import (
    find_channels,
    find_score_activation,
    load_classifier,
    predict_scores,
)
from rescaps_plugin.classification.recipe import describe_pipeline
from rescaps_plugin.cli.config import find_test_pipeline
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export.exporter import Exporter, preprocessor_options


class Scores(nn.Module):
    """A classifier's predicted scores.

    Args:
        classifier: The classifier, in eval mode.
        images: Images to determine the activation with, ``[b, c, h, w]``; see :func:`find_score_activation`.

    Shape:
        - images: ``[b, c, h, w]``, preprocessed
        - output: ``[b, classes]``

    Raises:
        UserError: No known activation reproduces the predicted scores.
    """

    def __init__(self, classifier: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.classifier = classifier
        self.activation = find_score_activation(classifier, images)

    def forward(self, images: Tensor) -> Tensor:
        return self.activation(self.classifier(images))


class ClassifierExporter(Exporter):
    """Export of mmpretrain classifiers: scores ``[b, classes]`` of images ``[b, c, h, w]``."""

    task = 'classification'
    sample = 'image'
    size_names = ('H', 'W')
    input_name = 'images'
    output_names = ('scores',)

    def load_model(self) -> BaseClassifier:
        return load_classifier(self.cfg, self.args.checkpoint, self.args.device)

    def build_network(self, deployed: nn.Module) -> nn.Module:
        return Scores(deployed, self.example)

    def find_input_shape(self) -> tuple[int, ...]:
        """Return ``(channels, height, width)``, with the size of ``--input-size``, or of the test set's first image."""
        if not self.args.input_size:
            try:
                return super().find_input_shape()
            except (OSError, DataError) as error:
                raise UserError(f'{error} Or set --input-size H W: then no test image is needed.') from error
        channels = find_channels(self.model)
        if channels is None:
            raise UserError('--input-size: the model has no convolution that tells its channels; leave it out.')
        return (channels, *self.args.input_size)

    def reference(self, inputs: Tensor) -> tuple[Tensor]:
        return (predict_scores(self.model, inputs),)

    def agreement(self, outputs: Sequence[Tensor], expected: Sequence[Tensor]) -> str:
        agree = (outputs[0].argmax(1) == expected[0].argmax(1)).sum()
        return f'top class agrees on {agree} of {len(expected[0])}'

    def score(self, inputs: Tensor, outputs: Sequence[Tensor], annotations: Sequence[BaseDataElement]) -> list[bool]:
        """Return whether the class of each image is correct."""
        labels = outputs[0].argmax(1)
        return [label in annotation.gt_label for label, annotation in zip(labels, annotations, strict=True)]

    def metrics(self, scores: Sequence[bool]) -> dict[str, float]:
        return {'accuracy/top1': 100 * sum(scores) / len(scores)}

    def summarise(self, scores: Sequence[bool]) -> str:
        return f'accuracy {self.metrics(scores)["accuracy/top1"]:.2f} %'

    def describe(self) -> dict[str, Any]:
        rgb = reads_bgr(self.cfg) == preprocessor_options(self.cfg).get('to_rgb', False)
        recipe = [
            *describe_pipeline(find_test_pipeline(self.cfg), self.input_shape[0]),
            'subtract mean and divide by std, of values as the steps before leave them',
            'run the file; scores are of classes, in their order',
        ]
        return {'classes': self.model._dataset_meta.get('classes'), **self.describe_images(rgb), 'recipe': recipe}
