"""Optional dependencies, and messages that tell how to install them."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.compat.requirements import explain_outdated

# Extras of this project that install each package that tools and configs import at start.
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
        extra: Extra of this project that installs it, such as ``'pointcloud'``.

    Returns:
        The module.

    Raises:
        UserError: The package is not installed; tells how to install it.
    """
    package = module.partition('.')[0]
    if find_spec(package) is None:
        raise UserError(describe_missing(package, extra))
    return import_module(module)


def explain_import_error(error: BaseException | None) -> str | None:
    """Explain a failed import of an optional dependency.

    Args:
        error: The error, or one raised while it was handled: mmengine wraps it in two others.

    Returns:
        A line that tells how to install the package; None if no package of :data:`EXTRAS` is missing or outdated.
    """
    while error is not None:
        package = (error.name or '').partition('.')[0] if isinstance(error, ImportError) else ''
        if package in EXTRAS:
            if find_spec(package) is None:
                return describe_missing(package, *EXTRAS[package])
            outdated = explain_outdated(*EXTRAS[package])
            if outdated is not None:
                return outdated
        error = error.__cause__ or error.__context__
    return None


def describe_missing(package: str, *extras: str) -> str:
    """Return a message that a package is missing, and what installs it.

    Args:
        package: Name of the package.
        *extras: Extras of this project, each of which installs it.
    """
    return f'{package} is not installed: {describe_install(*extras)} brings it.'


def describe_install(*extras: str) -> str:
    """Return the command that installs any of some extras, in a clone: the project is not on PyPI."""
    return ' or '.join(f"pip install '.[{extra}]'" for extra in extras) + ' in a clone of rescaps'
