"""Load trained classifiers, predict scores, and insert transforms into test pipelines."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import default_collate
from mmengine.logging import print_log
from mmpretrain import get_model
from mmpretrain.datasets import BaseDataset, build_dataset
from mmpretrain.datasets.transforms.utils import get_transform_idx
from mmpretrain.models import BaseClassifier
from mmpretrain.models.utils import ClsDataPreprocessor
from torch import Tensor, nn

from rescaps_plugin.cli.config import inner_datasets, require, unwrap_test_set
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export.exported import ExportedModel
from rescaps_plugin.export.formats import is_exported
from rescaps_plugin.training.checkpoint_loader import load_weights
from rescaps_plugin.training.run_checks import compare_classes
from rescaps_plugin.training.trained_model import open_trained


class ExportedClassifier(ExportedModel):
    """Classifier in an exported file."""

    def __init__(self, cfg: ConfigDict) -> None:
        super().__init__(cfg)
        self.data_preprocessor = ClsDataPreprocessor(**cfg.data_preprocessor)
        self._dataset_meta = dict(classes=cfg.classes)


def load_classifier(cfg: Config, checkpoint: str, device: str) -> BaseClassifier | ExportedClassifier:
    """Build the classifier of a config and load a checkpoint of it.

    Args:
        cfg: The config.
        checkpoint: Path or URL; or that of an exported file, whose metadata are the config.
        device: Where the model runs.

    Returns:
        The model, in eval mode. Its ``_dataset_meta`` has the ``classes`` of the checkpoint, or else of the test set.

    Raises:
        UserError: The config's model is not an image classifier, or the checkpoint belongs to another model.
    """
    if cfg.get('default_scope') != 'mmpretrain':
        raise UserError(f'config {cfg.filename} has default_scope {cfg.get("default_scope")!r}; it must be mmpretrain.')
    if is_exported(checkpoint):
        return ExportedClassifier(cfg.model)
    model = get_model(unwrap_test_set(cfg), device=device)
    if not isinstance(model, BaseClassifier):
        raise UserError(f'config {cfg.filename} has model.type {cfg.model.type}, which is not an image classifier.')
    meta = load_weights(model, checkpoint).get('meta', {})
    model._dataset_meta = {**model._dataset_meta, **meta.get('dataset_meta', {})}
    return model.eval()


def find_channels(model: nn.Module) -> int | None:
    """Return the number of channels of a classifier's images; None if it has no convolution that tells."""
    if isinstance(model, ExportedClassifier):
        return model.input_size[0]
    stem = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    return None if stem is None else stem.in_channels


def open_classifier(config: str, checkpoint: str, args: Namespace) -> tuple[Config, BaseClassifier]:
    """Read an mmpretrain config and load a checkpoint of its classifier, with a tool's arguments.

    Args:
        config: Path of the config, or ``package::path``.
        checkpoint: Path or URL.
        args: Arguments of :func:`~rescaps_plugin.cli.arguments.add_config_arguments`, and ``device``.

    Returns:
        The config, with a ``work_dir``, and the model, in eval mode.

    Raises:
        UserError: As in :func:`load_classifier`; or the config or checkpoint does not exist.
    """
    cfg, model = open_trained(config, checkpoint, args, load_classifier)
    require(cfg, 'test_dataloader')
    return cfg, model


def build_test_set(cfg: Config, classes: Sequence[str] | None) -> BaseDataset:
    """Build the test set of a config, and compare its classes with those of a model.

    Args:
        cfg: The config.
        classes: Names of the model's classes; None if it has no names.

    Returns:
        The data set.

    Raises:
        UserError: A class has another number in the set than in the model.
    """
    dataset = build_dataset(cfg.test_dataloader.dataset)
    warning = compare_classes(classes, dataset.metainfo.get('classes'), 'test_dataloader.dataset')
    if warning:
        print_log(warning, 'current', logging.WARNING)
    return dataset


def insert_transforms(dataset: dict, transforms: Sequence[dict]) -> dict:
    """Insert transforms at the end of a data set's pipeline.

    Args:
        dataset: Config of the data set, such as ``cfg.test_dataloader.dataset``, or of a wrapper around data sets.
        transforms: Configs of transforms to insert before ``PackInputs``, where images have the network's input size.

    Returns:
        A modified copy of the config.

    Raises:
        UserError: The pipeline has no ``PackInputs``.
    """
    dataset = deepcopy(dataset)
    for each in inner_datasets(dataset):
        index = get_transform_idx(each.get('pipeline', []), 'PackInputs')
        if index < 0:
            raise UserError(f'data set {each["type"]} has no pipeline with PackInputs.')
        each['pipeline'][index:index] = [*transforms]
    return dataset


@torch.no_grad()
def predict_dataset(
    model: BaseClassifier, dataset: BaseDataset, indices: Sequence[int], batch_size: int
) -> tuple[Tensor, Tensor]:
    """Predict classes of samples.

    Args:
        model: The model, in eval mode.
        dataset: The data set.
        indices: Indices of the samples.
        batch_size: Batch size.

    Returns:
        Predicted and true classes, both ``[n]``, on the CPU.
    """
    predicted, truth = [], []
    for start in range(0, len(indices), batch_size):
        batch = [dataset[index] for index in indices[start : start + batch_size]]
        for sample in model.test_step(default_collate(batch)):
            predicted.append(sample.pred_label.item())
            truth.append(sample.gt_label.item())
    return torch.tensor(predicted), torch.tensor(truth)


def predict_scores(classifier: nn.Module, images: Tensor) -> Tensor:
    """Predict the scores ``[b, classes]`` of preprocessed images ``[b, c, h, w]``."""
    return torch.stack([sample.pred_score for sample in classifier(images, mode='predict')])


def find_score_activation(classifier: nn.Module, images: Tensor) -> nn.Module:
    """Find the activation that maps a classifier's raw output to its predicted scores.

    The activation is part of the head's ``predict``, which returns separate samples, so it is determined by comparing
    outputs.

    Args:
        classifier: The classifier, in eval mode.
        images: Images to compare the outputs on, ``[b, c, h, w]``.

    Returns:
        ``nn.Identity`` (the output already is the scores, such as activations of class capsules), ``nn.Softmax`` or
        ``nn.Sigmoid``.

    Raises:
        UserError: None of these reproduces the predicted scores.
    """
    raw, scores = classifier(images), predict_scores(classifier, images)
    for activation in (nn.Identity(), nn.Softmax(dim=1), nn.Sigmoid()):
        if torch.is_tensor(raw) and raw.shape == scores.shape and torch.allclose(activation(raw), scores):
            return activation
    raise UserError(
        'the scores that this model predicts are not its raw output, nor the softmax or the sigmoid of that; such a '
        'model cannot be exported or attacked.'
    )


def load_images(dataset: BaseDataset, indices: Sequence[int]) -> dict[str, Any]:
    """Load samples as one batch.

    Args:
        dataset: The data set.
        indices: Indices of the samples.

    Returns:
        ``inputs`` ``[n, c, h, w]``, the output of the pipeline, and ``data_samples``.

    Raises:
        UserError: The images differ in size.
    """
    samples = [dataset[index] for index in indices]
    shapes = sorted({tuple(sample['inputs'].shape) for sample in samples})
    if len(shapes) > 1:
        raise UserError(f'the test pipeline returns images of several sizes, [channels, height, width]: {shapes[:3]}.')
    return default_collate(samples)
