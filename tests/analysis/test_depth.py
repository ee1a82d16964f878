"""Gradients by depth."""

import pytest

pytest.importorskip('mmpretrain')

from mmpretrain.registry import MODELS

from rescaps_plugin.analysis.depth import METHODS, gradient_ratio, late_gradient_ratio, make_model
from rescaps_plugin.cli.config import load_config
from rescaps_plugin.layers import ResidualPoseRouting


def test_gradient_ratios():
    run = dict(norms=[[4.0, 1.0], [9.0, 1.0], [1.0, 2.0], [3.0, 2.0], [5.0, 2.0], [0.0, 0.0]])
    assert gradient_ratio(run['norms'][0]) == 4
    # The second half without the step that has no gradient: 1.5 and 2.5.
    assert late_gradient_ratio(run) == 2
    assert late_gradient_ratio(dict(norms=[[0.0, 0.0]])) is None


@pytest.mark.parametrize('method', [method for method in METHODS if METHODS[method].network])
def test_transforms_are_drawn_at_the_scale_of_the_method(method, repository):
    """Without the identity, entries of variance 1/4 keep the norm of 4x4 poses; other methods draw them small."""
    cfg = load_config(str(repository / 'configs/rescaps/digits.py'))
    model = MODELS.build(make_model(cfg, method, 2, 8, 2)[0])
    stds = [layer.weight.std().item() for layer in model.modules() if isinstance(layer, ResidualPoseRouting)]
    assert stds == pytest.approx([0.5 if method == 'scaled-no-norm' else 0.1] * len(stds), rel=0.15) and len(stds) > 2
