"""Tasks of published models, by the name of the extra that each needs, and their metrics."""

from typing import NamedTuple


class Task(NamedTuple):
    """A task.

    Args:
        scope: ``default_scope`` of its configs, the package that their models are built with.
        title: Name in metafiles.
        pipeline: ``pipeline_tag`` of model cards on Hugging Face's hub.
        predictor: Class that predicts with its models, as ``'package.module:name'``.
        exporter: Class that exports them, in the same form.
    """

    scope: str
    title: str
    pipeline: str
    predictor: str
    exporter: str


TASKS = {
    'classification': Task(
        'mmpretrain',
        'Image Classification',
        'image-classification',
        'rescaps_plugin.classification.predictor:ClassPredictor',
        'rescaps_plugin.classification.exporter:ClassifierExporter',
    ),
    'saliency': Task(
        'mmseg',
        'Salient Object Detection',
        'image-segmentation',
        'rescaps_plugin.saliency.predictor:SaliencyPredictor',
        'rescaps_plugin.saliency.exporter:DetectorExporter',
    ),
    'pointcloud': Task(
        'mmengine',
        'Point Cloud Reconstruction',
        'feature-extraction',
        'rescaps_plugin.pointcloud.predictor:CloudPredictor',
        'rescaps_plugin.pointcloud.exporter:AutoencoderExporter',
    ),
}

# Exporters by the ``default_scope`` of configs.
EXPORTERS = {task.scope: task.exporter for task in TASKS.values()}


def describe_metric(name: str, value: float) -> tuple[str, str]:
    """Return the title of a metric and its value as text, in the units of the project's pages.

    Args:
        name: Name in the results of a test, such as ``'accuracy/top1'``.
        value: The value.
    """
    kind = name.rpartition('/')[2]
    if name.startswith('accuracy/top'):
        return f'Top {kind.removeprefix("top")} Accuracy', f'{value:.2f}'
    if name.startswith('chamfer/'):
        return 'Chamfer Distance x 1000' + ('' if kind == 'mean' else f', {kind}'), f'{value:.2f}'
    return kind, f'{value:.3f}'
