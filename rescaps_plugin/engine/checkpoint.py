"""Former name of :mod:`rescaps_plugin.training` in the ``custom_imports`` of configs; removed in the next release."""

import warnings

import rescaps_plugin.training  # noqa: F401  (registers the hooks)

warnings.warn(
    "custom_imports: 'rescaps_plugin.engine.checkpoint' is now 'rescaps_plugin.training'.",
    DeprecationWarning,
    stacklevel=2,
)
