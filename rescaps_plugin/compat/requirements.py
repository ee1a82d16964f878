"""Explain failed imports by installed packages whose versions do not fit this package."""

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement


def explain_outdated(*extras: str) -> str | None:
    """Return which installed package has another version than this one needs, and how to install one that fits.

    Args:
        *extras: Extras of this package, whose requirements are compared too.

    Returns:
        One line; None if all versions fit. Packages that are not installed at all are ignored, as is everything if this
        package is not installed itself (its folder is on the path).
    """
    try:
        requirements = [Requirement(line) for line in requires('rescaps') or ()]
    except PackageNotFoundError:
        return None
    for each in requirements:
        if each.marker and not any(each.marker.evaluate({'extra': extra}) for extra in extras):
            continue
        try:
            installed = version(each.name)
        except PackageNotFoundError:
            continue
        if not each.specifier.contains(installed, prereleases=True):
            needed = f'{each.name}{each.specifier}'
            return f"rescaps needs {needed}, but {each.name} {installed} is installed: pip install '{needed}'"
    return None
