"""Tab *Point clouds*."""

from __future__ import annotations

import gradio as gr
import numpy as np

from rescaps_plugin.demo.clouds import Shape, reconstruct, swap
from rescaps_plugin.demo.examples import list_clouds
from rescaps_plugin.demo.figures import draw_cloud
from rescaps_plugin.demo.handlers import handler
from rescaps_plugin.demo.models import Models, list_names
from rescaps_plugin.pointcloud.files import SUFFIXES

OWN = 'your file'


def build(models: Models) -> tuple:
    """Add the components of the tab to the page under construction.

    Args:
        models: The published models.

    Returns:
        Handler, inputs and outputs that fill the tab.
    """
    names = list_names('pointcloud')
    titles = list(list_clouds())
    file = gr.State()

    gr.Markdown(
        'An autoencoder encodes a shape as latent capsules, and every capsule draws points, in a colour of its own. '
        'Drag a shape to turn it.'
    )
    with gr.Row():
        model = gr.Dropdown(names, value=names[0], label='Autoencoder', min_width=260)
        one = gr.Dropdown(titles, value=titles[3], label='Shape A', min_width=140, elem_id='shape-a')
        other = gr.Dropdown(titles, value=titles[-1], label='Shape B', min_width=140)
    upload = gr.UploadButton(
        'Upload a cloud or mesh as shape A', file_types=[*SUFFIXES], type='filepath', elem_id='cloud-upload'
    )
    with gr.Row():
        given = gr.Plot(label='Shape A', min_width=280, elem_id='cloud-input')
        rebuilt = gr.Plot(label='Reconstruction of A', min_width=280, elem_id='cloud-output')
    gr.Markdown('### Swap capsules\nThe chosen capsules of A and B change places. Their points are in colour.')
    chosen = gr.Dropdown([], value=[], multiselect=True, label='Capsules', elem_id='capsules')
    with gr.Row():
        first = gr.Plot(label='A with capsules of B', min_width=280, elem_id='swap-a')
        second = gr.Plot(label='B with capsules of A', min_width=280)

    def find(model: str, title: str, file: str | None) -> Shape:
        return reconstruct(models[model], file if title == OWN else list_clouds()[title], title)

    def draw_swapped(model: str, one: Shape, other: Shape, chosen: list[int]) -> tuple:
        clouds = swap(models[model], one, other, chosen)
        marked = np.isin(one.capsules, chosen)
        return tuple(draw_cloud(cloud, one.colors, marked) for cloud in clouds)

    @handler
    def show(model: str, one: str, other: str, chosen: list[int], file: str | None) -> tuple:
        shape, second = find(model, one, file), find(model, other, file)
        count = len(shape.latent)
        chosen = [each for each in chosen if each < count] or [*range(count // 4)]
        return (
            draw_cloud(shape.points, shape.input_colors),
            draw_cloud(shape.reconstruction, shape.colors),
            gr.update(choices=[*range(count)], value=chosen),
            *draw_swapped(model, shape, second, chosen),
        )

    @handler
    def show_swapped(model: str, one: str, other: str, chosen: list[int], file: str | None) -> tuple:
        return draw_swapped(model, find(model, one, file), find(model, other, file), chosen)

    @handler
    def take_file(model: str, path: str) -> tuple:
        reconstruct(models[model], path)  # a file that cannot be used is not taken
        return path, *(gr.update(choices=[*titles, OWN], **value) for value in ({'value': OWN}, {}))

    inputs = [model, one, other, chosen, file]
    results = [given, rebuilt, chosen, first, second]
    upload.upload(take_file, [model, upload], [file, one, other]).success(show, inputs, results)
    gr.on([model.input, one.input, other.input], show, inputs, results)
    chosen.input(show_swapped, inputs, [first, second], trigger_mode='always_last')
    return show, inputs, results
