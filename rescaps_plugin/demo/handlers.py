"""What event handlers and components of all tabs share."""

from __future__ import annotations

import base64
import functools
import html
import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

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


def make_upload(label: str, **options: Any) -> gr.Image:
    """Create a component to upload, paste or take a picture.

    Its value is the path of the file as it was uploaded: handlers check it, and name what is wrong.
    """
    sources = ['upload', 'clipboard', 'webcam']
    upload = gr.Image(label=label, type='filepath', sources=sources, buttons=[], height=300, **options)
    # Gradio would open the file, and fail with a message of its own. Not in a subclass, beside which it writes a .pyi
    # file; lost when an event changes other properties than the value, of which it makes a copy.
    upload.preprocess = lambda payload: payload.path if payload else None
    return upload


def make_gallery(images: Sequence[tuple[np.ndarray, str]], **options: Any) -> gr.Gallery:
    """Create a gallery of examples to choose from, titled images."""
    return gr.Gallery(
        list(images),
        show_label=False,
        format='png',
        height='auto',
        object_fit='contain',
        allow_preview=False,
        interactive=False,
        buttons=[],
        **options,
    )


def show_pictures(pictures: Mapping[str, np.ndarray], width: int) -> str:
    """Return HTML of pictures with captions, side by side as far as there is room.

    Args:
        pictures: uint8 pictures ``[h, w]`` or ``[h, w, 3]``, RGB, by caption.
        width: Least width of one, in pixels.
    """
    figures = []
    for caption, picture in pictures.items():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, 'PNG')
        source = base64.b64encode(file.getvalue()).decode()
        text = html.escape(caption)
        figures.append(
            f'<figure><img src="data:image/png;base64,{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'
        )
    style = f'--least: {width}px; max-width: {round(1.6 * width * len(figures))}px'
    return f'<div class="pictures" style="{style}">{"".join(figures)}</div>'
