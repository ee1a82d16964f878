"""What OpenMMLab's libraries still expect of their surroundings, given to them where it is gone.

``import mmseg.models`` imports ``mmcv.ops``, which imports the compiled module ``mmcv._ext``; mmcv-lite has none.
:func:`install` makes :mod:`rescaps_plugin.compat.mmcv_ext` answer for it where no compiled one exists.
:func:`find_packages` lets MMEngine read configs of other packages where setuptools has no ``pkg_resources`` any more.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType


class MMCVExtFinder(MetaPathFinder):
    """Find ``mmcv._ext`` in this package. Python asks finders in turn, and this one comes last: a real one wins."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the stand-in's spec for ``mmcv._ext`` and None for every other module."""
        if fullname != 'mmcv._ext':
            return None
        return spec_from_file_location(fullname, Path(__file__).with_name('mmcv_ext.py'))


def install() -> None:
    """Install the stand-in for ``mmcv._ext``, once. Nothing is imported until somebody asks for that module."""
    if not any(isinstance(finder, MMCVExtFinder) for finder in sys.meta_path):
        sys.meta_path.append(MMCVExtFinder())
        complete_transformer()


def complete_transformer() -> None:
    """Return ``mmcv.cnn.bricks.transformer`` the operator that it went without, if it was imported before.

    It takes ``MultiScaleDeformableAttention`` from ``mmcv.ops`` where that can be imported. ``mmseg.models`` imports it
    from there.
    """
    transformer = sys.modules.get('mmcv.cnn.bricks.transformer')
    if transformer is not None and not hasattr(transformer, 'MultiScaleDeformableAttention'):
        from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention

        transformer.MultiScaleDeformableAttention = MultiScaleDeformableAttention


def find_packages() -> None:
    """Let MMEngine resolve ``_base_ = 'mmpretrain::...'`` and imported base configs without ``pkg_resources``.

    MMEngine asks ``pkg_resources`` whether a package is installed and where; setuptools 81 dropped that module. Where
    it is gone, the config reader is given lookups by Python's own import system.
    """
    if find_spec('pkg_resources'):
        return
    from mmengine.config import config
    from mmengine.config.utils import MODULE2PACKAGE

    modules = {package: module for module, package in MODULE2PACKAGE.items()}

    def is_installed(package: str) -> bool:
        return find_spec(modules.get(package, package)) is not None

    def get_installed_path(package: str) -> str:
        return str(Path(find_spec(modules.get(package, package)).origin).parent)

    config.is_installed = is_installed
    config.get_installed_path = get_installed_path
