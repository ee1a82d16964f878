"""Plots of saliency maps: readable titles and names."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from rescaps_plugin.cli.tables import show
from rescaps_plugin.saliency.drawing import draw_curves, draw_grid

CURVES = {name: np.linspace(0, 1, 256) for name in ('recall', 'precision', 'threshold', 'f', 'e')}


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Saved figures, in order."""
    figures = []
    save = Figure.savefig

    def savefig(figure: Figure, *args, **kwargs) -> None:
        save(figure, *args, **kwargs)
        figures.append(figure)

    monkeypatch.setattr(Figure, 'savefig', savefig)
    return figures


@pytest.mark.parametrize(
    'names',
    [
        ('icon-rpr_efficientnet-lite0_ecssd', 'tspoanet-rpr_efficientnet-lite0_ecssd'),
        ('tspoanet-em_efficientnet-lite0_ecssd', 'a_name_without_hyphens_or_spaces_at_all'),
    ],
)
def test_titles_of_adjacent_columns_do_not_overlap(drawn, tmp_path, names):
    pictures = [np.zeros((30, 40), np.uint8)] * 2
    draw_grid(dict.fromkeys(('image', 'mask', *names), pictures), tmp_path / 'grid.png')
    (figure,) = drawn
    figure.set_dpi(150)
    figure.draw_without_rendering()
    titles = [axis.title for axis in figure.axes if axis.get_title()]
    assert [title.get_text().replace('\n', '') for title in titles] == ['image', 'mask', *names]
    boxes = sorted((title.get_window_extent() for title in titles), key=lambda box: box.x0)
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert boxes[0].x0 >= 0 and boxes[-1].x1 <= figure.bbox.width


@pytest.mark.parametrize('name', ['price_$5_$6.png', '$', r'\\frac{$x$', '$\\notacommand$', 'x' * 250, '图\x1b[31m'])
def test_names_are_drawn_literally(drawn, tmp_path, name):
    """Matplotlib parses text between dollar signs as a formula, and fails on invalid ones."""
    pictures = [np.zeros((30, 40), np.uint8)]
    notes = {name: [f'{name[:20]}']}
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph')
        draw_grid({name[:60]: pictures}, tmp_path / 'grid.png', [name], notes)
        draw_curves({name[:20]: CURVES}, tmp_path / 'curves.png', name[:20])
    label = drawn[0].axes[0].get_ylabel()
    assert len(label) <= 24 and label[:5] == show(name)[:5]
    assert [text.get_text() for text in drawn[1].axes[0].get_legend().get_texts()] == [name[:20]]
