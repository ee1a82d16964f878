"""Figures of README.md and of the site, which docs/figures.py draws."""

import runpy
import warnings

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('mmseg')


@pytest.mark.parametrize('name', ['rpr.png', pytest.param('overview.webp', marks=pytest.mark.slow)])
def test_figure_is_the_one_in_the_repository(name, repository, tmp_path):
    draw = runpy.run_path(str(repository / 'docs/figures.py'))['FIGURES'][name]
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        draw(tmp_path / name)
    drawn, stored = (Image.open(folder / name) for folder in (tmp_path, repository / 'docs/images'))
    assert drawn.mode == stored.mode == 'RGBA' and drawn.size == stored.size
    difference = np.abs(np.asarray(drawn, float) - np.asarray(stored, float))
    # Machines differ slightly at every edge; another text differs strongly in a few places.
    assert difference.mean() < 1 and (difference > 64).mean() < 2e-4
    assert (tmp_path / name).stat().st_size < 150_000


def test_every_stored_figure_has_a_function(repository):
    figures = runpy.run_path(str(repository / 'docs/figures.py'))['FIGURES']
    others = {'demo.png', 'digit.png'}  # a screenshot, and the image that the commands of the pages predict
    assert {path.name for path in (repository / 'docs/images').iterdir()} - others == set(figures)
