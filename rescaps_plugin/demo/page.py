"""The page: its tabs and its look."""

from __future__ import annotations

import gradio as gr

import rescaps_plugin
from rescaps_plugin.demo.models import Models
from rescaps_plugin.demo.tabs import attack, classify, clouds, saliency

TABS = {
    'Classify': classify,
    'Salient objects': saliency,
    'Point clouds': clouds,
    'Attack': attack,
}
# Uploaded and written files are removed after a day, in seconds.
DAY = 24 * 3600
CSS = """
.gradio-container {width: 100%; max-width: 1100px !important; margin: 0 auto !important}
.examples .grid-wrap {min-height: 0 !important; max-height: none !important; overflow: visible !important}
.examples .grid-container {grid-template: none / repeat(5, minmax(0, 1fr)) !important; grid-auto-rows: auto !important}
.examples .grid-container {padding-top: 0 !important}
.photos .grid-container {grid-template: none / repeat(2, minmax(0, 1fr)) !important}
.examples .thumbnail-item {width: 100%; min-width: 0; height: auto; aspect-ratio: 1}
.small .caption-label {display: none}
.small img, .pixels img {image-rendering: pixelated}
.cut-out img {background: repeating-conic-gradient(#d5d9e0 0 25%, #fff 0 50%) 0 0 / 20px 20px}
.pictures {display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(var(--least), 100%), 1fr))}
.pictures figure {margin: 0}
.pictures img {width: 100%; border-radius: 4px}
.pictures figcaption {text-align: center; font-size: 85%; opacity: 0.75}
"""


def create_theme() -> gr.themes.Base:
    """Create the theme: with the fonts of the system, as Gradio's come from the network."""
    return gr.themes.Soft(
        primary_hue='orange',
        neutral_hue='slate',
        font=['system-ui', 'sans-serif'],
        font_mono=['monospace'],
    )


def create_page(models: Models, local: bool) -> gr.Blocks:
    """Create the page.

    Args:
        models: The published models.
        local: Whether only this machine can open the page.
    """
    privacy = (
        'on this machine. Nothing that you upload leaves it.'
        if local
        else 'on the machine that serves this page. What you upload is sent to it, and is deleted there after a day.'
    )
    with gr.Blocks(title='rescaps', analytics_enabled=False, delete_cache=(3600, DAY)) as page:
        gr.Markdown(
            '# rescaps\nCapsule networks with residual pose routing: the published models of version '
            f'{rescaps_plugin.__version__}, {privacy}'
        )
        for title, tab in TABS.items():
            with gr.Tab(title) as opened:
                first = tab.build(models)
            # Hidden figures cannot be laid out, so a tab is filled when it is opened.
            if first is not None:
                (page.load if tab is classify else opened.select)(*first)
        page.load(js=classify.TAKE_BRUSH)
    return page
