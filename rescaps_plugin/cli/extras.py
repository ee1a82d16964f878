"""Packages that only some parts of the project need."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from rescaps_plugin.cli.errors import UserError

# Extras of this project that bring each package that tools and configs import before they do anything.
EXTRAS = {
    'mmengine': ('classification', 'saliency', 'pointcloud', 'detection'),
    'mmcv': ('classification', 'saliency', 'detection'),
    'mmpretrain': ('classification', 'saliency'),
    'mmseg': ('saliency',),
    'matplotlib': ('classification', 'saliency', 'pointcloud'),
    'scipy': ('classification', 'pointcloud'),
}


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
        raise UserError(describe_missing(package, extra))
    return import_module(module)


def explain_import_error(error: BaseException | None) -> str | None:
    """Say what installs the package that a failed import wants.

    Args:
        error: The error, or one that was raised while it was handled: mmengine hides the package's name behind two.

    Returns:
        One line; None if no package of :data:`EXTRAS` is missing.
    """
    while error is not None:
        package = (error.name or '').partition('.')[0] if isinstance(error, ModuleNotFoundError) else ''
        if package in EXTRAS and find_spec(package) is None:
            return describe_missing(package, *EXTRAS[package])
        error = error.__cause__ or error.__context__
    return None


def describe_missing(package: str, *extras: str) -> str:
    """Say that a package is missing, and what installs it.

    Args:
        package: Name of the package.
        *extras: Extras of this project, each of which brings it.
    """
    return f'{package} is not installed: {describe_install(*extras)} brings it.'


def describe_install(*extras: str) -> str:
    """Return the command that installs any one of some extras. The project is not on PyPI, so it is one for a clone."""
    return ' or '.join(f"pip install '.[{extra}]'" for extra in extras) + ' in a clone of rescaps'
