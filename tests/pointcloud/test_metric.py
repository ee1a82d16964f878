"""ChamferMetric on clouds with known distances."""

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

import rescaps_plugin.pointcloud  # noqa: F401
from rescaps_plugin.losses import chamfer_distance

CLASSES = ('bed', 'chair', 'table')


def evaluate(shifts, labels, size, batch=2, **options):
    """Clouds of one point, each with a displaced prediction."""
    evaluator = Evaluator(dict(type='ChamferMetric', **options))
    evaluator.dataset_meta = dict(classes=CLASSES)
    for start in range(0, len(shifts), batch):
        samples = []
        for shift, label in zip(shifts[start : start + batch], labels[start : start + batch], strict=True):
            sample = BaseDataElement(pred_points=torch.tensor([[shift, 0.0, 0.0]]), gt_label=torch.tensor([label]))
            samples.append(sample)
        evaluator.process(samples, dict(inputs=torch.zeros(len(samples), 1, 3)))
    return evaluator.evaluate(size)


def test_mean_and_classes_are_in_thousandths():
    metrics = evaluate([0.1, 0.2, 0.3], [2, 0, 2], 3)
    # Both directions: twice the square.
    assert metrics == pytest.approx({'chamfer/mean': 280 / 3, 'chamfer/bed': 80, 'chamfer/table': 100})


def test_mean_alone():
    assert evaluate([0.1, 0.2], [0, 1], 2, per_class=False) == pytest.approx({'chamfer/mean': 50})


def test_samples_repeated_by_a_distributed_sampler_are_not_counted():
    assert evaluate([0.1, 0.2, 9.0], [0, 1, 1], 2)['chamfer/mean'] == pytest.approx(50)


def test_clouds_of_different_sizes():
    generator = torch.Generator().manual_seed(0)
    sizes = [(5, 4), (3, 4), (5, 4), (5, 2)]
    clouds = [[torch.rand(size, 3, generator=generator) for size in pair] for pair in sizes]
    evaluator = Evaluator(dict(type='ChamferMetric', per_class=False))
    samples = [BaseDataElement(pred_points=predicted) for _, predicted in clouds]
    evaluator.process(samples, dict(inputs=[points for points, _ in clouds]))
    expected = [chamfer_distance(predicted[None], points[None]).item() for points, predicted in clouds]
    assert [distance for distance, _ in evaluator.metrics[0].results] == pytest.approx(expected)
