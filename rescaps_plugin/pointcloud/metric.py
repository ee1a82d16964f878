"""Chamfer distance of reconstructed clouds as an evaluation metric."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from rescaps_plugin.losses import chamfer_distance


@METRICS.register_module()
class ChamferMetric(BaseMetric):
    """Chamfer distance between clouds and their reconstructions, times 1000, as reported in papers.

    Returns ``chamfer/mean``, over all clouds, and ``chamfer/<class>``, over the clouds of each class in the data set.
    Distances are those of :func:`rescaps_plugin.losses.chamfer_distance`: the mean squared distance to the nearest
    point, summed over both directions.

    Args:
        per_class: Whether to return the distances per class. Defaults to True.
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`: ``collect_device``, ``prefix``.
    """

    default_prefix = 'chamfer'

    def __init__(self, per_class: bool = True, **kwargs) -> None:
        super().__init__(**kwargs)
        self.per_class = per_class

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Compute the distances of a batch.

        Args:
            data_batch: Batch from the data loader, with the clouds as ``inputs``.
            data_samples: Samples with ``pred_points`` ``[n, 3]`` and, for distances per class, ``gt_label`` ``[1]``.
        """
        # Clouds of equal size are computed together, with one transfer from the device per group.
        groups = defaultdict(list)
        for index, (points, sample) in enumerate(zip(data_batch['inputs'], data_samples, strict=True)):
            groups[points.shape, sample['pred_points'].shape].append((index, points, sample['pred_points']))
        distances = [0.0] * len(data_samples)
        for group in groups.values():
            indices, points, predicted = zip(*group, strict=True)
            predicted = torch.stack(predicted)
            measured = chamfer_distance(predicted, torch.stack(points).to(predicted.device))
            for index, distance in zip(indices, measured.tolist(), strict=True):
                distances[index] = distance
        labeled = [index for index, sample in enumerate(data_samples) if 'gt_label' in sample]
        labels = [None] * len(data_samples)
        if labeled:
            read = torch.cat([data_samples[index]['gt_label'] for index in labeled]).tolist()
            for index, label in zip(labeled, read, strict=True):
                labels[index] = label
        self.results.extend(zip(distances, labels, strict=True))

    def compute_metrics(self, results: list[tuple[float, int | None]]) -> dict[str, float]:
        """Average the distances over all clouds and per class.

        Args:
            results: Distance and label of every cloud, of all processes.

        Returns:
            Distances by ``mean`` and class name.
        """
        by_class = defaultdict(list)
        for distance, label in results:
            by_class[label].append(1000 * distance)
        metrics = dict(mean=sum(map(sum, by_class.values())) / len(results))
        if self.per_class:
            names = self.dataset_meta['classes']
            labels = sorted(label for label in by_class if label is not None)
            metrics.update((names[label], sum(by_class[label]) / len(by_class[label])) for label in labels)
        return metrics
