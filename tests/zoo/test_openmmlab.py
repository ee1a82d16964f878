"""Published models in OpenMMLab's ways: names, load_from, inferencers, training further."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from mmpretrain import ImageClassificationInferencer, get_model, list_models

import rescaps_plugin.classification  # noqa: F401  (registers models in mmpretrain)
from rescaps_plugin import zoo
from rescaps_plugin.data.digits import load_digits
from rescaps_plugin.models.published import find_published, read_index, read_published
from rescaps_plugin.saliency import MMSegInferencer
from rescaps_plugin.training.checkpoint_loader import load_from_source
from rescaps_plugin.training.checkpoint_reader import CheckpointError

CLASSIFIERS = [model for model in read_index() if model.task == 'classification']


@pytest.fixture
def photo():
    """A red disc on grey, uint8 ``[90, 120, 3]``, BGR."""
    rows, columns = np.mgrid[:90, :120]
    image = np.full((90, 120, 3), 128, np.uint8)
    image[(rows - 45) ** 2 + (columns - 60) ** 2 < 400] = (30, 30, 220)
    return image


@pytest.mark.usefixtures('offline')
def test_mmseg_inferencer_knows_the_names(photo):
    inferencer = MMSegInferencer('icon-rpr_efficientnet-lite0_ecssd', device='cpu')
    found = inferencer(photo)['predictions']
    saliency = zoo.load('icon-rpr_efficientnet-lite0_ecssd').predict(photo[..., ::-1]).saliency
    assert np.array_equal(found, saliency > 0.5) and saliency.dtype == np.float32
    assert saliency[45, 60] > 0.9 and saliency[5, 5] < 0.1
    with pytest.raises(
        ValueError, match=r"Cannot find model: icon-rpr in mmseg; no published model .*'icon-rpr'. Close"
    ):
        MMSegInferencer('icon-rpr')


@pytest.mark.usefixtures('offline')
def test_cutouts_by_name(photo):
    result = zoo.load('icon-rpr_efficientnet-lite0_ecssd').predict([photo[..., ::-1]])[0]
    cutout = np.asarray(result.cutout())
    assert cutout.shape == (90, 120, 4) and np.array_equal(cutout[..., :3], photo[..., ::-1])
    assert np.abs(cutout[..., 3] / 255 - result.saliency).max() <= 0.5 / 255 + 1e-6


@pytest.mark.usefixtures('offline')
@pytest.mark.parametrize('model', CLASSIFIERS, ids=lambda model: model.name)
def test_mmpretrain_knows_the_names(model):
    assert model.name in list_models() and model.name in list_models(task='Image Classification')
    built = get_model(model.name, pretrained=True)
    state = built.state_dict()
    assert all(torch.equal(state[name], value) for name, value in read_published(model).items())
    assert tuple(ImageClassificationInferencer(model.name).classes) == model.labels


def test_inferencer_reads_digits():
    images, labels = (each[:40] for each in load_digits('test', 'classification'))
    inferencer = ImageClassificationInferencer('rescaps-tiny_digits')
    images = [np.dstack([np.uint8(np.rint(image * 255 / 16))] * 3) for image in images]
    found = [result['pred_class'] for result in inferencer(images, batch_size=8)]
    assert np.mean([int(name) == label for name, label in zip(found, labels, strict=True)]) > 0.97


def test_scheme(caplog):
    caplog.set_level('INFO')
    logger = logging.getLogger('test_scheme')
    checkpoint = CheckpointLoader.load_checkpoint('rescaps://rescaps-tiny_digits', 'cpu', logger)
    assert checkpoint['meta']['dataset_meta']['classes'] == tuple('0123456789')
    assert checkpoint['state_dict'].keys() == read_published(find_published('rescaps-tiny_digits')).keys()
    assert 'by published backend' in caplog.text  # MMEngine takes it from the name of the function
    with pytest.raises(CheckpointError, match=r'checkpoint rescaps://rescaps-tiny: no published model .* Close: resc'):
        CheckpointLoader.load_checkpoint('rescaps://rescaps-tiny')
    with pytest.raises(CheckpointError, match='recaps:// is not one of rescaps, http, '):
        load_from_source('recaps://rescaps-tiny_digits')


@pytest.mark.parametrize('domain', ['classification', 'saliency', 'pointcloud', 'swap'])
def test_custom_imports_register_the_scheme(domain):
    code = (
        f'import rescaps_plugin.{domain}; from mmengine.runner import CheckpointLoader; '
        "assert 'state_dict' in CheckpointLoader.load_checkpoint('rescaps://rescaps-tiny_digits')"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_segmentation_inferencer_refuses_classifiers():
    with pytest.raises(ValueError, match='model must be a detector; the published rescaps-tiny_digits is for classif'):
        MMSegInferencer('rescaps_tiny.digits', device='cpu')


def test_training_starts_from_published_weights(run_tool, repository, tmp_path):
    """One epoch with another number of classes: the trunk is loaded, the head is new."""
    finished = run_tool(
        'train',
        repository / 'configs/rescaps/digits.py',
        '--work-dir',
        tmp_path / 'work',
        '--seed',
        '0',
        '--cfg-options',
        'load_from=rescaps://rescaps-tiny_digits',
        'model.head.num_classes=12',
        'data_preprocessor.num_classes=12',
        'train_cfg.max_epochs=1',
        'optim_wrapper.optimizer.lr=0.001',
        OMP_NUM_THREADS='2',
    )
    assert finished.returncode == 0, finished.stderr
    (log,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    accuracy = [json.loads(line) for line in log.read_text().splitlines() if 'accuracy/top1' in line]
    assert accuracy[0]['accuracy/top1'] > 80  # without load_from 10 after the first epoch
