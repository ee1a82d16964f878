"""Transforms of pipelines that load image files, and the checks of those files."""

from copy import deepcopy

import pytest

pytest.importorskip('mmpretrain')

from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope
from mmpretrain.registry import TRANSFORMS as MMPRETRAIN_TRANSFORMS

from rescaps_plugin.data.pipelines import check_images, loads_image
from rescaps_plugin.data.transforms import LoadCheckedImageFromFile


@pytest.mark.parametrize('scope', ['mmengine', 'mmpretrain'])
@pytest.mark.parametrize('kind', ['LoadImageFromFile', 'mmpretrain.LoadImageFromFile', LoadImageFromFile])
def test_mmcvs_transform_is_replaced(scope, kind):
    step = dict(type=kind, color_type='grayscale')
    cfg = Config(dict(train_dataloader=dict(dataset=dict(datasets=[dict(pipeline=[step, dict(type='PackInputs')])]))))
    with DefaultScope.overwrite_default_scope(scope):
        before = deepcopy(cfg)
        checked = check_images(cfg)
        assert cfg.train_dataloader == before.train_dataloader
        loader, pack = checked.train_dataloader.dataset.datasets[0].pipeline
        assert pack == dict(type='PackInputs')
        assert loads_image(step) and loads_image(loader) and not loads_image(pack)
        loader = TRANSFORMS.build(loader)
    assert type(loader) is LoadCheckedImageFromFile and loader.color_type == 'grayscale'


def test_transform_of_that_name_in_another_library_stays(monkeypatch):
    class Own:
        pass

    MMPRETRAIN_TRANSFORMS.import_from_location()
    monkeypatch.setitem(MMPRETRAIN_TRANSFORMS.module_dict, 'LoadImageFromFile', Own)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='mmengine.LoadImageFromFile'), dict(type=Own)]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        own, mmcv, kind = check_images(pipeline)
    assert own == pipeline[0] and kind == pipeline[2]
    assert mmcv == dict(type='LoadCheckedImageFromFile')
