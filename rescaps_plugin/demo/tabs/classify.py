"""Tab *Classify*."""

from __future__ import annotations

import gradio as gr
import numpy as np

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.demo.classify import (
    AXES,
    View,
    compute_scores,
    draw_capsule_maps,
    follow,
    name_classes,
    show_input,
)
from rescaps_plugin.demo.drawings import INK_SIZES, place_ink
from rescaps_plugin.demo.examples import list_gallery, list_images
from rescaps_plugin.demo.figures import draw_bars, draw_curves
from rescaps_plugin.demo.handlers import handler, make_gallery, make_upload, show_pictures
from rescaps_plugin.demo.models import Models, list_by_data
from rescaps_plugin.demo.uploads import check_size

# Classes in the figure of curves.
SHOWN_CLASSES = 3
# Gradio has no option for the tool that is chosen at the start.
TAKE_BRUSH = """() => {
    const take = () => {
        const brush = document.querySelector('#sketch button[aria-label="Brush"]');
        brush ? brush.click() : setTimeout(take, 200);
    };
    take();
}"""


def build(models: Models) -> tuple:
    """Add the components of the tab to the page under construction.

    Args:
        models: The published models.

    Returns:
        Handler, inputs and outputs that fill the tab.
    """
    groups = list_by_data('classification')
    first = next((data for data in INK_SIZES if data in groups), next(iter(groups)))
    image, axis = gr.State(_start(first)), gr.State('turn')

    gr.Markdown('Draw a digit, choose an example or upload a picture; then turn, shift and scale it.')
    data = gr.Radio(list(groups), value=first, label='Models trained on')
    with gr.Row():
        with gr.Column(min_width=300):
            with gr.Column(visible=_show(first in INK_SIZES)) as drawing:
                sketch = gr.Sketchpad(
                    label='Draw a digit',
                    type='numpy',
                    image_mode='L',
                    canvas_size=(320, 320),
                    height=420,
                    layers=False,
                    transforms=(),
                    sources=(),
                    brush=gr.Brush(default_size=22, colors=['#000000'], color_mode='fixed'),
                    elem_id='sketch',
                )
                draw = gr.Button('Classify the drawing', variant='primary')
            with gr.Column(visible=first not in INK_SIZES) as picture:
                upload = make_upload('A picture', elem_id='classify-upload')
            examples = make_gallery(
                list_gallery(first), elem_classes=['examples', 'small'], elem_id='classify-examples'
            )
        with gr.Column(min_width=300):
            shown = gr.HTML(elem_classes='pixels', elem_id='classify-input')
            bars = gr.Plot(show_label=False, elem_id='classify-bars')
    gr.Markdown(
        '### Equivariance\nNear the start the activation of the class changes little, and the pose of its capsule more.'
    )
    with gr.Row():
        with gr.Column(min_width=300):
            starts = View()
            sliders = [
                gr.Slider(
                    float(values[0]),
                    float(values[-1]),
                    getattr(starts, name),
                    step=0.05 if name == 'scale' else 1,
                    label=title.capitalize(),
                    elem_id=f'slider-{name}',
                )
                for name, (title, values) in AXES.items()
            ]
            reset = gr.Button('Back to the start', size='sm')
        with gr.Column(min_width=300):
            curves = gr.Plot(show_label=False, elem_id='classify-curves')
    with gr.Accordion('Capsule maps of each block', open=True):
        gr.Markdown('Activation maps of capsule types: black is 0, the brightest is the largest of the block.')
        maps = gr.HTML(elem_classes='pixels', elem_id='maps')

    results = [shown, bars, curves, maps]
    inputs = [data, image, axis, *sliders]

    @handler
    def show(data: str, image: np.ndarray | str | None, axis: str, *values: float) -> tuple:
        if image is None:
            return (None,) * 4
        view, predictor = View(*values), models[groups[data][0]]
        scores = compute_scores(models, data, image, view)
        classes = name_classes(predictor, len(next(iter(scores.values()))))
        found = follow(predictor, image, view, axis)
        ranked = np.argsort(-found.activations.max(axis=0), kind='stable')
        lines = [found.best, *(label for label in ranked if label != found.best)][:SHOWN_CLASSES]
        figure = draw_curves(
            found.values,
            {classes[label]: found.activations[:, label] for label in lines},
            found.pose,
            getattr(view, axis),
            AXES[axis][0],
        )
        return (
            show_pictures({'What the network reads': show_input(predictor, image, view)}, 140),
            draw_bars(classes, scores, 'Class activations'),
            figure,
            show_pictures(draw_capsule_maps(predictor, image, view), 380),
        )

    @handler
    def take_drawing(data: str, drawn: dict | None) -> np.ndarray:
        if drawn is None or drawn['composite'] is None:
            raise UserError('Nothing is drawn: draw a digit first.')
        return place_ink(255 - drawn['composite'], data)

    @handler
    def take_file(path: str) -> str:
        check_size(path)
        return path

    def take_example(data: str, event: gr.SelectData) -> np.ndarray:
        return list_images(data)[event.index].image

    def change_data(data: str) -> tuple:
        drawn = data in INK_SIZES
        gallery = list_gallery(data)
        return (
            gr.update(visible=_show(drawn)),
            gr.update(visible=not drawn),
            None,
            gr.update(value=gallery, visible=bool(gallery)),
            _start(data),
        )

    def go_back() -> list[float]:
        return [getattr(starts, name) for name in AXES]

    for taken in (
        draw.click(take_drawing, [data, sketch], image),
        upload.upload(take_file, upload, image),
        examples.select(take_example, data, image),
    ):
        taken.success(go_back, None, sliders).success(show, inputs, results)
    data.input(change_data, data, [drawing, picture, upload, examples, image]).then(go_back, None, sliders).then(
        show, inputs, results
    )
    sketch.clear(js=TAKE_BRUSH)
    reset.click(go_back, None, sliders).then(show, inputs, results)
    for name, slider in zip(AXES, sliders, strict=True):
        slider.input(lambda name=name: name, None, axis, show_progress='hidden').then(
            show, inputs, results, trigger_mode='always_last', show_progress='hidden'
        )
    return show, inputs, results


def _show(visible: bool) -> bool | str:
    """Return the visibility of a component that keeps its state while it is hidden."""
    return visible or 'hidden'


def _start(data: str) -> np.ndarray | None:
    """Return the image that is shown before the user chooses one."""
    examples = list_images(data)
    return examples[len(examples) // 3].image if examples else None
