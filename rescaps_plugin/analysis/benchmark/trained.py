"""Trained models as candidates of a benchmark."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rescaps_plugin.export.exporter import Exporter


def open_exporter(config: str, checkpoint: str, device: str) -> Exporter:
    """Open a trained model with its data sets and its metrics.

    Args:
        config: Path of the config, or ``package::path``.
        checkpoint: Path or URL.
        device: Where the model runs.

    Returns:
        Its exporter.

    Raises:
        UserError: The config, checkpoint or data cannot be used.
    """
    # Imported here, so that a comparison of timm models does not need mmengine.
    from rescaps_plugin.training.trained_model import call_by_scope
    from rescaps_plugin.zoo.tasks import EXPORTERS

    given = dict(config=config, checkpoint=checkpoint, device=device, cfg_options=None, trust_checkpoint=False)
    # Nothing is written by the exporter itself.
    file = dict(format='torchscript', out=Path(gettempdir(), 'model.pt'), dynamic_batch=True, input_size=None)
    return call_by_scope(Namespace(**given, **file, check=False, int8=False), EXPORTERS)
