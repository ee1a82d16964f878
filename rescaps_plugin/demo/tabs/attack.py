"""Tab *Attack*."""

from __future__ import annotations

import gradio as gr

from rescaps_plugin.analysis.robustness.attacks import TITLES
from rescaps_plugin.demo.attack import STEPS, attack
from rescaps_plugin.demo.classify import name_classes
from rescaps_plugin.demo.examples import list_gallery, list_images
from rescaps_plugin.demo.figures import draw_bars
from rescaps_plugin.demo.handlers import handler, make_gallery, show_pictures
from rescaps_plugin.demo.models import Models, list_by_data

METHODS = ('fgsm', 'pgd', 'noise')


def build(models: Models) -> tuple:
    """Add the components of the tab to the page under construction.

    Args:
        models: The published models.

    Returns:
        Handler, inputs and outputs that fill the tab.
    """
    groups = {data: names for data, names in list_by_data('classification').items() if list_images(data)}
    first = [*groups][-1]
    chosen = gr.State(0)

    gr.Markdown(
        'Change every pixel by at most epsilon, so that the model errs: by one step along the gradient (FGSM), by '
        f'{STEPS} steps (PGD), or at random for comparison.'
    )
    with gr.Row():
        data = gr.Radio([*groups], value=first, label='Models trained on', min_width=300)
        model = gr.Dropdown(groups[first], value=groups[first][0], label='Model to attack', min_width=200)
    with gr.Row():
        with gr.Column(min_width=300):
            examples = make_gallery(list_gallery(first), elem_classes=['examples', 'small'], elem_id='attack-examples')
        with gr.Column(min_width=300):
            method = gr.Radio([(TITLES[each], each) for each in METHODS], value='fgsm', label='Attack')
            epsilon = gr.Slider(0, 0.4, 0.1, step=0.01, label='Epsilon, of the range of a pixel', elem_id='epsilon')
    pictures = gr.HTML(elem_classes='pixels', elem_id='attack-pictures')
    with gr.Row():
        before = gr.Plot(show_label=False, min_width=280, elem_id='attack-before')
        after = gr.Plot(show_label=False, min_width=280, elem_id='attack-after')

    @handler
    def show(data: str, model: str, chosen: int, method: str, epsilon: float) -> tuple:
        example = list_images(data)[chosen]
        result = attack(models, model, example.image, example.label, method, epsilon)
        classes = name_classes(models[model], len(result.before[model]))
        captions = 'before', 'after', 'change (grey: none)'
        return (
            show_pictures(dict(zip(captions, result.pictures, strict=True)), 90),
            draw_bars(classes, result.before, 'Scores before'),
            draw_bars(classes, result.after, 'Scores after'),
        )

    def choose(event: gr.SelectData) -> int:
        return event.index

    def change_data(data: str) -> tuple:
        names = groups[data]
        return list_gallery(data), gr.update(choices=names, value=names[0]), 0

    inputs = [data, model, chosen, method, epsilon]
    results = [pictures, before, after]
    examples.select(choose, None, chosen).then(show, inputs, results)
    data.input(change_data, data, [examples, model, chosen]).then(show, inputs, results)
    gr.on([model.input, method.input], show, inputs, results)
    epsilon.input(show, inputs, results, trigger_mode='always_last')
    return show, inputs, results
