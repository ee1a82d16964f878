"""Drawn predictions of samples with and without files."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, VISUALIZERS
from mmseg.structures import SegDataSample
from PIL import Image

import rescaps_plugin.saliency  # noqa: F401


@pytest.fixture
def paint(tmp_path):
    """Draw an empty prediction; return the drawn picture without the half of the mask."""
    init_default_scope('mmseg')

    def call(inputs, size, **meta):
        visualizer = VISUALIZERS.build(
            dict(
                type='SegLocalVisualizer',
                name=f'painted {tmp_path}',
                vis_backends=[dict(type='LocalVisBackend')],
                save_dir=str(tmp_path),
                alpha=0.0,
            )
        )
        visualizer.dataset_meta = dict(classes=('background', 'salient'), palette=[[0, 0, 0], [255, 255, 255]])
        hook = HOOKS.build(dict(type='SaliencyVisualizationHook', draw=True, interval=1))
        hook._visualizer = visualizer
        sample = SegDataSample(metainfo=meta)
        sample.pred_sem_seg = PixelData(data=torch.zeros(1, *size, dtype=torch.long))
        hook.after_train_iter(SimpleNamespace(iter=0), 0, dict(inputs=[inputs]), dict(loss=torch.tensor(1.0)))
        hook.after_test_iter(SimpleNamespace(iter=0), 0, dict(inputs=[inputs]), [sample])
        (path,) = tmp_path.glob('vis_data/vis_image/test_*.png')
        return np.asarray(Image.open(path).convert('RGB')), path.name

    return call


@pytest.mark.parametrize('meta', [{}, dict(img_path='SyntheticSOD-test-0000')])
def test_red_image_without_a_file(paint, meta):
    """The loaded BGR image, at the size of its map."""
    inputs = torch.tensor([10, 20, 230], dtype=torch.uint8)[:, None, None].expand(3, 20, 24)
    picture, name = paint(inputs, (40, 48), **meta)
    assert picture.shape == (40, 48, 3) and picture[-1, -1].tolist() == [230, 20, 10]
    assert name == f'test_{meta.get("img_path", "0-0")}_0.png'


def test_red_image_of_a_file(paint, tmp_path):
    Image.new('RGB', (48, 40), (230, 20, 10)).save(tmp_path / 'red.png')
    picture, name = paint(torch.zeros(3, 20, 24, dtype=torch.uint8), (40, 48), img_path=str(tmp_path / 'red.png'))
    assert picture.shape == (40, 48, 3) and picture[-1, -1].tolist() == [230, 20, 10]
    assert name == 'test_red.png_0.png'
