"""Capsule networks with residual pose routing for timm and OpenMMLab.

Importing the package registers its networks in timm and lets OpenMMLab's libraries run on mmcv-lite. A config registers
the rest by ``custom_imports = dict(imports=['rescaps_plugin.classification'])``.
"""

from rescaps_plugin.compat.openmmlab import install
from rescaps_plugin.compat.requirements import explain_outdated

try:
    from rescaps_plugin import layers, losses, models
except ImportError as error:
    outdated = explain_outdated()
    if outdated is None:
        raise
    raise ImportError(outdated) from error

__version__ = '0.1.0'
__all__ = ['layers', 'losses', 'models']

install()
