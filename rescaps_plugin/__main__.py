"""Run a script of another project with the plugin imported first, so that it knows the plugin's names.

    python -m rescaps_plugin SCRIPT [ARGS]
    python -m rescaps_plugin -m MODULE [ARGS]

For example timm's training script, whose losses read logits, on one process or on four:

    python -m rescaps_plugin train.py data/images --model rescaps_small --num-classes 3 --model-kwargs output=logit
    torchrun --nproc-per-node=4 -m rescaps_plugin train.py data/images --model rescaps_small --model-kwargs output=logit

It takes other sizes of images by ``--model-kwargs output=logit img_size=48``, and trains the networks for grey images
(``capsnet_tiny``, ``rescaps_mnist``, ...) with ``--in-chans 1 --input-img-mode L``.
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
