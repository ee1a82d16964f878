"""What the command-line tools share: configs, checkpoints, distributed set-up, mixed precision, compatibility.

Import the module you need; this package imports none of them, so that ``rescaps_plugin.engine.compat`` costs nothing.
"""
