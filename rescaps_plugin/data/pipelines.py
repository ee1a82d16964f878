"""Find the transforms of a pipeline that load image files, and have the files checked."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmengine.registry import TRANSFORMS

IMAGE_LOADERS = ('LoadImageFromFile', 'LoadCheckedImageFromFile')


def loads_image(step: Mapping) -> bool:
    """Whether a transform, given by its config, loads an image file: by MMCV's transform, or by the one that checks."""
    return _name(step) in IMAGE_LOADERS


def check_images(cfg: Any) -> Any:
    """Return a config that loads image files by ``LoadCheckedImageFromFile`` where it does so by MMCV's transform.

    Call it in the default scope of the config. A ``LoadImageFromFile`` that a library has of its own stays.

    Args:
        cfg: Config of a run, a data loader, a data set, a pipeline or a transform; it is not changed.

    Returns:
        A copy.
    """
    cfg = deepcopy(cfg)
    _check_images(cfg)
    return cfg


def _check_images(value: Any) -> None:
    if isinstance(value, (dict, Config)):
        if 'type' in value and _is_mmcv_loader(value):
            # Registers the type. Imported here because point clouds do without MMCV.
            from rescaps_plugin.data.transforms import LoadCheckedImageFromFile

            value['type'] = LoadCheckedImageFromFile.__name__
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for part in value:
            _check_images(part)


def _is_mmcv_loader(step: Mapping) -> bool:
    if _name(step) != 'LoadImageFromFile':
        return False
    from mmcv.transforms import LoadImageFromFile

    kind = step['type']
    if isinstance(kind, str):
        with TRANSFORMS.switch_scope_and_registry(step.get('_scope_')) as registry:
            kind = registry.get(kind)
    return kind is LoadImageFromFile


def _name(step: Mapping) -> str:
    """Return the name of a transform's class without its scope."""
    kind = step['type']
    return (kind if isinstance(kind, str) else getattr(kind, '__name__', '')).rpartition('.')[2]
