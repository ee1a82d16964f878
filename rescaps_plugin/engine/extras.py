"""Packages that only some parts of the project need."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from rescaps_plugin.engine.errors import UserError


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module of an optional dependency.

    Args:
        module: Name of the module, such as ``'h5py'``.
        extra: Extra of this project that brings it, such as ``'pointcloud'``.

    Returns:
        The module.

    Raises:
        UserError: Its package is not installed; says what installs it.
    """
    package = module.partition('.')[0]
    if find_spec(package) is None:
        raise UserError(f"{package} is not installed: pip install 'rescaps[{extra}]' brings it.")
    return import_module(module)
