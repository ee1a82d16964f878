"""The data of a config outside of a run: its sets of training and test without augmentation, and its test metrics."""

from collections.abc import Iterable, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS

from rescaps_plugin.cli.config import find_test_pipeline, inner_datasets, require, with_pipeline


def build_dataset(cfg: Config, phase: str, **options: Any) -> BaseDataset:
    """Build the data set of a config's ``'train'`` or ``'test'`` loader, with the test pipeline.

    Args:
        cfg: The config, in whose default scope this is called.
        phase: ``'train'`` or ``'test'``.
        **options: Arguments of the data set, or of those inside a wrapper, in place of the config's.

    Returns:
        The data set, without augmentation.

    Raises:
        UserError: The config has no such loader, or no test pipeline.
    """
    require(cfg, f'{phase}_dataloader', 'test_dataloader')
    dataset = with_pipeline(cfg[f'{phase}_dataloader'].dataset, find_test_pipeline(cfg))
    for each in inner_datasets(dataset):
        each.update(options)
    return DATASETS.build(dataset)


def score(cfg: Config, dataset: BaseDataset, samples: Iterable[Any], data: Sequence[dict] | None = None) -> dict:
    """Score predictions for the test set by the config's ``test_evaluator``.

    Args:
        cfg: The config, in whose default scope this is called.
        dataset: The test set.
        samples: A sample with predictions and ground truth for each of the set; a sequence if there is ``data``.
        data: What the set holds, for metrics that read it. Defaults to None.

    Returns:
        The metrics by name.
    """
    require(cfg, 'test_evaluator')
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    return evaluator.offline_evaluate(samples, data)
