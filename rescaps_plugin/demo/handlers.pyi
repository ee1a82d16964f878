"""What event handlers and components of all tabs share."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import gradio as gr
import numpy as np

from rescaps_plugin.cli.errors import UserError

# One computation at a time: it uses all cores, and hooks and NumPy's global generator belong to one alone.
_COMPUTING = Lock()

def handler(compute: Callable) -> Callable:
    """Decorate an event handler: computations of several users run one after another, and show errors in the page."""

    @functools.wraps(compute)
    def handle(*args: Any) -> Any:
        try:
            with _COMPUTING:
                return compute(*args)
        except (UserError, OSError) as error:
            raise gr.Error(_without_folder(str(error)), duration=None, print_exception=False) from error

    return handle

def _without_folder(message: str) -> str:
    """Leave the folder of uploaded files out of a message."""
    return re.sub(re.escape(os.environ['GRADIO_TEMP_DIR']) + r'/\w+/', '', message)

class UploadedImage(gr.Image):
    """An image whose value is the path of the uploaded file, as it is: handlers check it, and name what is wrong."""

    def get_block_name(self) -> str:
        return 'image'

    def preprocess(self, payload: Any) -> str | None:
        return payload.path if payload and payload.path else super().preprocess(payload)
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component

def make_gallery(images: Sequence[tuple[np.ndarray, str]], label: str, **kwargs: Any) -> gr.Gallery:
    """Create a gallery of examples to choose from."""
    options = dict(columns=5, height='auto', object_fit='contain', allow_preview=False, interactive=False, buttons=[])
    return gr.Gallery(list(images), label=label, format='png', elem_classes='examples', **options | kwargs)
