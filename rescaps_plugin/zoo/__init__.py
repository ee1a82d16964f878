"""Published models: trained weights that load offline, by name.

from rescaps_plugin import zoo

zoo.list_models(task='saliency')
result = zoo.load('icon-rpr_efficientnet-lite0_ecssd').predict('photo.jpg')
result = zoo.load('model.onnx').predict('photo.jpg')  # a file of tools/export.py
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING

from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.export.formats import is_exported
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


def load(name: str, device: str = 'cpu', batch_size: int | None = None, runtime: str | None = None) -> Predictor:
    """Load a published model, or a file of ``tools/export.py``, for prediction.

    Args:
        name: Name of the model, or its name in timm; or path of an ONNX or OpenVINO file.
        device: Where it runs. Defaults to ``'cpu'``.
        batch_size: Images or clouds per batch; None is the default of the task. Defaults to None.
        runtime: ``'torch'``, ``'onnx'`` or ``'openvino'``. Defaults to None: PyTorch, or what runs the file.

    Returns:
        An object with a method ``predict``.

    Raises:
        PublishedWeightsError: There is no such model.
        UserError: Its file is missing or damaged, or a package or the device is missing.
        ValueError: ``batch_size`` is not positive, or the runtime is unknown.
    """
    model = None if is_exported(name) else find(name)
    import_extra('mmengine', model.task if model else 'classification')
    # Imported here, so that the other functions need no extra.
    from rescaps_plugin.export.exported import read_config

    config, checkpoint = model.arguments if model else (str(name), str(name))
    cfg = read_config(config)
    title, task = next(item for item in TASKS.items() if item[1].scope == cfg.default_scope)
    import_extra(task.scope, title)
    predictor = resolve_name(task.predictor)
    return predictor(cfg, checkpoint, device=device, batch_size=batch_size, runtime=runtime)
