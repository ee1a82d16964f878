"""Copy configs, tools and the model index into the built package as ``rescaps_plugin/.mim``, as OpenMMLab packages do.

All other settings of the package are in ``setup.cfg``.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildPyWithMim(build_py):
    """Build the package, then copy the ``.mim`` files into it; an editable install finds them in the repository."""

    def run(self):
        """Build and copy."""
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, 'rescaps_plugin', '.mim')
        shutil.rmtree(mim, ignore_errors=True)
        for folder in ('configs', 'tools'):
            shutil.copytree(folder, mim / folder, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy('model-index.yml', mim)


setup(cmdclass={'build_py': BuildPyWithMim})
