"""``tools/baselines.py`` on data with known results."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.losses import chamfer_distance
from tests.tools.saliency import SIZES, write_detector, write_images

for package in ('sklearn', 'mmpretrain', 'mmseg', 'py_sod_metrics'):
    pytest.importorskip(package)

from rescaps_plugin.classification import baselines  # noqa: E402
from rescaps_plugin.pointcloud import baselines as pointcloud_baselines  # noqa: E402
from rescaps_plugin.pointcloud.baselines import fit_constant, histograms, read_set  # noqa: E402


@pytest.fixture
def main(load_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_tool('baselines').main


def read(capsys):
    """Return the metrics that were printed, by baseline."""
    lines = [line.split(': ') for line in capsys.readouterr().out.splitlines() if ': ' in line]
    return {
        name: {metric: float(value) for metric, value in map(str.rsplit, metrics.split(', '))}
        for name, metrics in lines
    }


def test_images(main, repository, capsys):
    main([str(repository / 'configs' / 'rescaps' / 'digits.py')])
    printed = read(capsys)
    # Digits are spread evenly, so that no class is much more frequent than a tenth.
    assert printed['most frequent class']['accuracy/top1'] == pytest.approx(10, abs=2)
    plain, augmented = (
        printed[f'linear classifier of {kind}']['accuracy/top1'] for kind in ('pixels', 'augmented pixels')
    )
    assert 92 < plain < 99 and 85 < augmented < plain


def test_saliency_of_equal_masks_is_perfect(main, tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    write_images(tmp_path / 'Boxes')
    # All masks have the same shape relative to the image.
    for name, (height, width) in SIZES.items():
        mask = np.zeros((height, width), np.uint8)
        mask[: height // 2] = 255
        Image.fromarray(mask).save(tmp_path / 'Boxes' / 'masks' / f'{name}.png')
    config, _ = write_detector(tmp_path, tmp_path / 'Boxes')
    with open(config, 'a') as file:
        file.write('train_dataloader = test_dataloader\n')
    main([config])
    (metrics,) = read(capsys).values()
    assert metrics['Boxes/maxF'] > 0.97 and metrics['Boxes/MAE'] < 0.03


def test_clouds(main, repository, capsys):
    config = str(repository / 'configs' / 'pointcaps' / 'pointcaps-rpr_digitclouds.py')
    few = [
        f'{phase}_dataloader.dataset.{key}' for phase in ('train', 'test') for key in ('indices=60', 'num_points=64')
    ]
    main([config, '--cfg-options', *few])
    printed = read(capsys)
    again, constant = (
        printed[name]['chamfer/mean'] for name in ('another draw of the same shapes', 'one cloud for all')
    )
    assert 0 < again < constant
    assert printed['linear SVM of histograms']['accuracy'] > 30
    main([config, '--seed', '1', '--cfg-options', *few])
    assert read(capsys)['another draw of the same shapes']['chamfer/mean'] != again


def test_clouds_that_have_no_other_draw(tmp_path, monkeypatch, repository, caplog):
    """Clouds of 64 points, and num_points of as many."""
    h5py = pytest.importorskip('h5py')
    for split in ('train', 'test'):
        with h5py.File(tmp_path / f'{split}.h5', 'w') as file:
            file['data'] = np.random.RandomState(0).rand(20, 64, 3).astype(np.float32)
            file['label'] = np.arange(20) % 2
    monkeypatch.setattr(pointcloud_baselines, 'STEPS', 2)
    cfg = Config.fromfile(repository / 'configs/pointcaps/pointcaps-rpr_digitclouds.py')
    for split in ('train', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        cfg[f'{split}_dataloader'].dataset = dict(
            type='ShapeNetCore', data_root=str(tmp_path), split=split, num_points=64, pipeline=dataset.pipeline
        )
    names = [name for name, _ in pointcloud_baselines.score_baselines(cfg, Namespace(seed=0))]
    assert names == ['one cloud for all', 'linear SVM of histograms']


def test_constant_of_equal_clouds_is_near_them():
    random = torch.Generator().manual_seed(0)
    cloud, other = torch.rand(2, 1, 24, 3, generator=random) - 0.5
    constant = fit_constant(cloud.expand(50, -1, -1), 0)
    # Points that start in one place leave others without one of their own.
    assert chamfer_distance(constant[None], cloud) < 0.1 * chamfer_distance(other, cloud)


def test_histograms_count_points():
    clouds = torch.tensor([[[-1.0, -1, -1], [-0.99, -0.99, -0.99], [1, 1, 1]], [[0.1, 0.1, 0.1]] * 3])
    first, second = histograms(clouds)
    assert first[0] == 2 and first[-1] == 1 and first.sum() == 3
    assert second[4 * 64 + 4 * 8 + 4] == 3 and second.sum() == 3


def test_clouds_of_several_sizes():
    with pytest.raises(UserError, match='clouds need one number of points, here from 2 to 5; set num_points'):
        read_set([dict(inputs=torch.zeros(points, 3)) for points in (5, 2, 3)])


def test_images_of_several_sizes(main, tmp_path):
    for index, size in enumerate([(8, 8), (9, 9)]):
        for split in ('train', 'test'):
            for label in 'ab':
                path = tmp_path / 'data' / split / label / f'{index}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new('RGB', size).save(path)
    (tmp_path / 'config.py').write_text("""
default_scope = 'mmpretrain'
custom_imports = dict(imports=['rescaps_plugin.classification'])
model = dict(type='ImageClassifier')
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(type='CustomDataset', data_root='data/train', pipeline=pipeline))
test_dataloader = dict(dataset=dict(type='CustomDataset', data_root='data/test', pipeline=pipeline))
test_evaluator = dict(type='Accuracy')
""")
    with pytest.raises(SystemExit, match='error: a linear classifier needs images of one size; add a Resize'):
        main(['config.py'])


def test_too_many_images(main, repository, monkeypatch):
    monkeypatch.setattr(baselines, 'LIMIT', 256 * 400)
    config = str(repository / 'configs' / 'rescaps' / 'digits.py')
    with pytest.raises(SystemExit, match=r'error: 1437 images of 256 values are too many .* up to 102400 values'):
        main([config])
    main([config, '--cfg-options', 'train_dataloader.dataset.indices=400'])


def test_mistakes(main, repository):
    with pytest.raises(SystemExit, match=r'error: config nope\.py does not exist'):
        main(['nope.py'])
    config = str(repository / 'configs' / 'rescaps' / 'digits.py')
    with pytest.raises(SystemExit, match='has no train_dataloader'):
        main([config, '--cfg-options', 'train_dataloader=None'])
    with pytest.raises(SystemExit, match="has default_scope 'x'; it may be mmpretrain, mmseg, mmengine"):
        main([config, '--cfg-options', 'default_scope=x'])
