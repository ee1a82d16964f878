"""The models of ``tools/robustness.py``."""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmpretrain.datasets import BaseDataset
from mmpretrain.models import BaseClassifier

from rescaps_plugin.classification.inference import build_test_set, open_classifier
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.models.published import SCHEME


class Model(NamedTuple):
    """A model under test.

    Args:
        name: Name in tables.
        cfg: Its config.
        checkpoint: Path or URL of its checkpoint.
        classifier: The classifier, in eval mode.
        samples: The test set of its config.
    """

    name: str
    cfg: Config
    checkpoint: str
    classifier: BaseClassifier
    samples: BaseDataset

    @property
    def test_set(self) -> ConfigDict:
        """The config of the test set."""
        return self.cfg.test_dataloader.dataset


def model_names(models: Sequence[Sequence[str]]) -> list[str]:
    """Name models for tables and curves.

    Args:
        models: The config and the checkpoint of each; no two are the same.

    Returns:
        A name of each, all different. A published model keeps its own; others are named by their configs, and where
        configs have the same name, by their checkpoints without the leading folders that these share, with the name of
        the config where that of another has such a checkpoint.

    Example:
        >>> model_names([('rescaps/digits.py', 'epoch_9.pth')])
        ['digits']
        >>> model_names([('digits.py', 'runs/digits/epoch_1.pth'), ('digits.py', 'runs/digits/epoch_9.pth')])
        ['epoch_1.pth', 'epoch_9.pth']
    """
    names = [
        checkpoint.removeprefix(SCHEME) if checkpoint.startswith(SCHEME) else Path(config).stem
        for config, checkpoint in models
    ]
    for name in {name for name in names if names.count(name) > 1}:
        same = [index for index, other in enumerate(names) if other == name]
        paths = [models[index][1] for index in same]
        if len(set(paths)) < len(paths):  # a checkpoint with two configs
            paths = [' '.join(models[index]) for index in same]
        shared = os.path.commonprefix(paths).rfind('/') + 1
        for index, path in zip(same, paths, strict=True):
            names[index] = path[shared:]
    for full in (lambda config, checkpoint, name: f'{Path(config).stem} {name}', lambda *words: ' '.join(words[:2])):
        names = [
            name if names.count(name) == 1 else full(*model, name) for model, name in zip(models, names, strict=True)
        ]
    return names


def open_models(args: Namespace) -> list[Model]:
    """Open the models that the command line names.

    Args:
        args: Arguments of ``tools/robustness.py``.

    Returns:
        The models, named by :func:`model_names`.

    Raises:
        UserError: A model is given twice or cannot be opened, or the models test on different images.
    """
    for number, model in enumerate(args.models):
        if model in args.models[:number]:
            raise UserError(f'MODEL {" ".join(model)} is given twice.')
    models = []
    for name, (config, checkpoint) in zip(model_names(args.models), args.models, strict=True):
        cfg, classifier = open_classifier(config, checkpoint, args)
        # Attacks differentiate with respect to pixels alone.
        classifier.requires_grad_(False)
        samples = build_test_set(cfg, classifier._dataset_meta.get('classes'))
        models.append(Model(name, cfg, checkpoint, classifier, samples))
    first, *others = models
    for other in others:
        for index in (0, -1):
            image, its = first.samples[index]['inputs'], other.samples[index]['inputs']
            if len(first.samples) != len(other.samples) or its.dtype != image.dtype or not torch.equal(its, image):
                raise UserError(
                    f'{other.name} tests on other images than {first.name}; models are compared on the same, as their '
                    "configs' test pipelines leave them."
                )
    return models
