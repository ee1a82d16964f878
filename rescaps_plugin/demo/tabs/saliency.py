"""Tab *Salient objects*."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gradio as gr
import numpy as np

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.demo.examples import list_photographs
from rescaps_plugin.demo.handlers import handler, make_gallery, make_upload, show_pictures
from rescaps_plugin.demo.models import Models, list_names
from rescaps_plugin.demo.saliency import detect, shrink


def build(models: Models) -> None:
    """Add the components of the tab to the page under construction.

    Args:
        models: The published models.
    """
    names = list_names('saliency')
    photographs = list_photographs()

    gr.Markdown('Find the object that stands out in a photo, and cut it out.')
    with gr.Row():
        with gr.Column(min_width=300):
            photo = make_upload('A photo', elem_id='photo')
            refine = gr.Checkbox(label='Refine the edge of the cut-out (takes longer)')
            find = gr.Button('Find the object', variant='primary')
        gallery = make_gallery(
            [(shrink(each), title) for title, each in photographs.items()],
            elem_classes=['examples', 'photos'],
            elem_id='photos',
        )
    results = []
    for name in names:
        title = gr.Markdown(f'### {name}')
        with gr.Row():
            pictures = [
                gr.Image(label=label, format='png', buttons=['fullscreen'], min_width=220, elem_classes=label.lower())
                for label in ('Map', 'Overlay', 'Cut-out')
            ]
        download = gr.DownloadButton('Download the cut-out (PNG)', interactive=False)
        with gr.Accordion('Side outputs of the head', open=False):
            sides = gr.HTML()
        results += [title, *pictures, download, sides]

    @handler
    def show(path: str | None, refine: bool, progress=gr.Progress()) -> list:  # noqa: B008
        if path is None:
            raise UserError('There is no photo: upload, paste or take one, or choose an example.')
        shown = []
        for index, name in enumerate(names):
            progress(index / len(names), desc=f'Loading {name}' if name not in models else name)
            found = detect(models[name], path, refine)
            file = Path(tempfile.mkdtemp(dir=Path(path).parent), f'{Path(path).stem}-cutout.png')
            found.cutout.save(file)
            shown += [
                f'### {name}\n{1000 * found.seconds:.0f} ms for the map',
                found.map,
                found.overlay,
                shrink(np.asarray(found.cutout)),
                gr.update(value=file, interactive=True),
                show_pictures(found.sides, 140),
            ]
        return shown

    def take_example(event: gr.SelectData) -> object:
        return [*photographs.values()][event.index]

    inputs = [photo, refine]
    gallery.select(take_example, None, photo).success(show, inputs, results)
    photo.upload(show, inputs, results)
    find.click(show, inputs, results)
