"""Plots of measurements on classifiers."""

import numpy as np
import pytest
from PIL import Image

pytest.importorskip('matplotlib')
from rescaps_plugin.analysis.drawing import draw_curves  # noqa: E402


@pytest.mark.parametrize('names', [('a', 'b'), ('rescaps-small_affnist', 'resnet18-cifar-small_affnist', 'capsnet')])
def test_legend_fits_into_a_picture_of_one_panel(tmp_path, names):
    path = tmp_path / 'curves.png'
    draw_curves({'panel': {name: ((0, 1), (50, 60)) for name in names}}, path, 'x', ['accuracy, %'])
    picture = np.asarray(Image.open(path).convert('L'))
    legend = picture[-80:]
    assert (legend[:, :3] == 255).all() and (legend[:, -3:] == 255).all()
    assert (legend < 255).any()
