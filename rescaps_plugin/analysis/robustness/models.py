"""The models of ``tools/robustness.py``."""

from argparse import Namespace
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmpretrain.datasets import BaseDataset
from mmpretrain.models import BaseClassifier

from rescaps_plugin.classification.inference import build_test_set, open_classifier
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.training.model_arguments import model_names


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


def open_models(args: Namespace) -> list[Model]:
    """Open the models that the command line names.

    Args:
        args: Arguments of ``tools/robustness.py``.

    Returns:
        The models, named by :func:`~rescaps_plugin.training.model_arguments.model_names`.

    Raises:
        UserError: A model is given twice or cannot be opened, or the models test on different images.
    """
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
