"""Published models: trained weights that load offline, by name.

from rescaps_plugin import zoo

zoo.list_models(task='saliency')
result = zoo.load('icon-rpr_efficientnet-lite0_ecssd').predict('photo.jpg')
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.models.published import find_published as find
from rescaps_plugin.models.published import read_index
from rescaps_plugin.zoo.tasks import TASKS

if TYPE_CHECKING:
    from rescaps_plugin.export.predictor import Predictor

__all__ = ['find', 'list_models', 'load']


def list_models(task: str | None = None) -> list[str]:
    """Return the names of the published models.

    Args:
        task: ``'classification'``, ``'saliency'`` or ``'pointcloud'``; None for all. Defaults to None.

    Raises:
        ValueError: There is no such task.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f'task must be one of {tuple(TASKS)} or None, got {task!r}')
    return [model.name for model in read_index() if task in (None, model.task)]


def load(name: str, device: str = 'cpu', batch_size: int | None = None, runtime: str = 'torch') -> Predictor:
    """Load a published model for prediction.

    Args:
        name: Its name, or its name in timm.
        device: Where it runs. Defaults to ``'cpu'``.
        batch_size: Images or clouds per batch; None is the default of the task. Defaults to None.
        runtime: ``'torch'``, ``'onnx'`` or ``'openvino'``. Defaults to ``'torch'``.

    Returns:
        An object with a method ``predict``.

    Raises:
        PublishedWeightsError: There is no such model.
        UserError: Its file is missing or damaged, or a package or the device is missing.
        ValueError: ``batch_size`` is not positive, or the runtime is unknown.
    """
    model = find(name)
    task = TASKS[model.task]
    import_extra(task.scope, model.task)
    # Imported here, so that the other functions need no extra.
    from rescaps_plugin.cli.config import load_config

    config, checkpoint = model.arguments
    predictor = resolve_name(task.predictor)
    return predictor(load_config(config), checkpoint, device=device, batch_size=batch_size, runtime=runtime)
