"""Training and its checkpoints: runner, resume, safe reading and writing, divergence guard, mixed precision, processes.

Imported by a config, it registers the hooks by which checkpoints are plain data::

    custom_imports = dict(imports=['rescaps_plugin.training', 'rescaps_plugin.classification'])
"""

from rescaps_plugin.training.checkpoints import MatchCheckpointHook
from rescaps_plugin.training.plain_checkpoint import PlainCheckpointHook

__all__ = ['MatchCheckpointHook', 'PlainCheckpointHook']
