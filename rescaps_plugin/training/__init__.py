"""Training: runner, resume, checkpoints, divergence guard, mixed precision and distributed set-up.

Imported by a config, it registers the hooks that save checkpoints as plain data::

    custom_imports = dict(imports=['rescaps_plugin.training', 'rescaps_plugin.classification'])
"""

from rescaps_plugin.training.checkpoint_loader import MatchCheckpointHook
from rescaps_plugin.training.distributed import ResumableFSDPStrategy
from rescaps_plugin.training.plain_checkpoint import PlainCheckpointHook

__all__ = ['MatchCheckpointHook', 'PlainCheckpointHook', 'ResumableFSDPStrategy']
