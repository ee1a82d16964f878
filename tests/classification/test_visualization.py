"""Drawn predictions of MMPretrain's hook have the colours of the images."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import HOOKS
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image

import rescaps_plugin.classification  # noqa: F401


@pytest.mark.parametrize(
    ('pixel', 'pipeline', 'shown'),
    [
        ((10, 20, 230), [dict(type='LoadImageFromFile')], (230, 20, 10)),
        ((230, 20, 10), [], (230, 20, 10)),
        ((90, 7), [], (90, 90, 90)),
    ],
    ids=['file', 'array', 'two channels'],
)
def test_colours(tmp_path, pixel, pipeline, shown):
    cfg = Config(dict(model=dict(), test_dataloader=dict(dataset=dict(pipeline=pipeline))))
    UniversalVisualizer.get_instance(f'drawn {tmp_path}')  # the hook draws with the last one
    hook = HOOKS.build(dict(type='InputVisualizationHook', enable=True, interval=1, out_dir=str(tmp_path)))
    hook.before_run(SimpleNamespace(cfg=cfg))
    image = torch.tensor(pixel, dtype=torch.uint8)[:, None, None].expand(-1, 64, 64)
    sample = DataSample().set_pred_label(1).set_pred_score(torch.tensor([0.1, 0.9]))
    hook.after_test_iter(None, 0, dict(inputs=image[None]), [sample])
    picture = np.asarray(Image.open(tmp_path / '0_0.png').convert('RGB')).astype(int)
    assert (abs(picture[-8:, -8:] - shown) < 3).all()
