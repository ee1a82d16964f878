"""Compatibility of OpenMMLab's libraries with mmcv-lite and with current setuptools.

``import mmseg.models`` imports ``mmcv.ops``, which imports the compiled module ``mmcv._ext``; mmcv-lite has none.
:func:`install` provides :mod:`rescaps_plugin.compat.mmcv_ext` instead if there is no compiled one.
:func:`find_packages` lets MMEngine read configs of other packages if setuptools has no ``pkg_resources``.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


class MMCVExtFinder(MetaPathFinder):
    """Find ``mmcv._ext`` in this package. It is the last finder, so that a compiled module takes precedence."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the stand-in for ``mmcv._ext``, and None for every other module."""
        if fullname != 'mmcv._ext':
            return None
        return spec_from_file_location(fullname, Path(__file__).with_name('mmcv_ext.py'))


def install() -> None:
    """Install the stand-in for ``mmcv._ext``, once. It is loaded when that module is first imported."""
    if not any(isinstance(finder, MMCVExtFinder) for finder in sys.meta_path):
        sys.meta_path.append(MMCVExtFinder())
        complete_transformer()


def complete_transformer() -> None:
    """Add ``MultiScaleDeformableAttention`` to ``mmcv.cnn.bricks.transformer`` if that was imported earlier.

    The module imports the class from ``mmcv.ops`` only if possible, and ``mmseg.models`` imports it from the module.
    """
    transformer = sys.modules.get('mmcv.cnn.bricks.transformer')
    if transformer is not None and not hasattr(transformer, 'MultiScaleDeformableAttention'):
        from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention

        transformer.MultiScaleDeformableAttention = MultiScaleDeformableAttention


@contextmanager
def find_packages() -> Iterator[None]:
    """Let MMEngine resolve ``_base_ = 'mmpretrain::...'`` and imported base configs without ``pkg_resources``.

    MMEngine locates packages by ``pkg_resources``, which setuptools 81 removed. If it is missing, the config reader
    gets lookups by Python's import system.
    """
    if find_spec('pkg_resources'):
        yield
        return
    from mmengine.config import config
    from mmengine.config.utils import MODULE2PACKAGE

    modules = {package: module for module, package in MODULE2PACKAGE.items()}

    def is_installed(package: str) -> bool:
        return find_spec(modules.get(package, package)) is not None

    def get_installed_path(package: str) -> str:
        return str(Path(find_spec(modules.get(package, package)).origin).parent)

    replaced = config.is_installed, config.get_installed_path
    config.is_installed, config.get_installed_path = is_installed, get_installed_path
    try:
        yield
    finally:
        config.is_installed, config.get_installed_path = replaced
