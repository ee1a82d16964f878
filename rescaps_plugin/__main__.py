"""Run a script of another project with the plugin imported first, so that it knows the plugin's names.

    python -m rescaps_plugin SCRIPT [ARGS]
    python -m rescaps_plugin -m MODULE [ARGS]

For example timm's training script, on one process or on four:

    python -m rescaps_plugin pytorch-image-models/train.py data/images --model rescaps_small --num-classes 3
    torchrun --nproc-per-node=4 -m rescaps_plugin pytorch-image-models/train.py data/images --model rescaps_small
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run what the command line names as ``__main__``, with its own ``sys.argv`` and ``sys.path``."""
    match sys.argv[1:]:
        case ['-m', module, *arguments]:
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name='__main__', alter_sys=True)
        case [script, *arguments] if not script.startswith('-'):
            if not Path(script).exists():
                sys.exit(f'error: script {script} does not exist.')
            sys.argv = [script, *arguments]
            sys.path[0] = str(Path(script).resolve().parent)
            runpy.run_path(script, run_name='__main__')
        case ['-h' | '--help']:
            print(__doc__)
        case _:
            sys.exit('error: name a script, or -m and a module: python -m rescaps_plugin (SCRIPT | -m MODULE) [ARGS]')


if __name__ == '__main__':
    main()
