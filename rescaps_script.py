"""Start the console script ``rescaps``.

Outside the package, whose import takes seconds for torch and timm: ``rescaps --help`` answers at once.
"""

import runpy
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Run ``rescaps_plugin/cli/main.py`` without importing ``rescaps_plugin``."""
    package = find_spec('rescaps_plugin').submodule_search_locations[0]
    runpy.run_path(str(Path(package, 'cli', 'main.py')), run_name='__main__')
