"""Pictures of saliency maps as their readers see them."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from rescaps_plugin.saliency.drawing import draw_grid


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """Figures that were saved, in order."""
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
def test_titles_of_neighbours_stay_apart(drawn, tmp_path, names):
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
