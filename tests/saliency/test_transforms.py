"""Crops, and random sizes of batches."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample

import rescaps_plugin.saliency  # noqa: F401
from tests.saliency.distributed_run import SIZES, draw_sizes, evaluate


@pytest.fixture(autouse=True)
def own_run(monkeypatch):
    """Isolate the message hub of the run."""
    init_default_scope('mmseg')
    monkeypatch.setattr(MessageHub, '_instance_dict', MessageHub._instance_dict.copy())
    MessageHub.get_instance(f'run-{len(MessageHub._instance_dict)}')


def build(**options):
    return MODELS.build(dict(type='SaliencyDataPreProcessor', **options))


def batch(*shapes):
    """Images whose right half is white and salient."""
    inputs, samples = [], []
    for height, width in shapes:
        image = torch.zeros(3, height, width, dtype=torch.uint8)
        image[..., width // 2 :] = 255
        sample = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        sample.gt_sem_seg = PixelData(data=(image[:1] == 255).long())
        inputs.append(image)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 0.99), st.integers(0, 2**32 - 1))
def test_crop_is_bounded_and_equal_for_image_and_mask(height, width, ratio, seed):
    np.random.seed(seed)
    image = np.arange(height * width).reshape(height, width)
    crop = TRANSFORMS.build(dict(type='RandomBorderCrop', max_ratio=ratio))
    results = crop(dict(img=image, gt_seg_map=image.copy(), seg_fields=['gt_seg_map']))
    np.testing.assert_array_equal(results['img'], results['gt_seg_map'])
    assert results['img_shape'] == results['img'].shape
    for size, kept in zip((height, width), results['img'].shape, strict=True):
        assert max(1, size - size * ratio) <= kept <= size
    # The kept part is contiguous.
    row, column = divmod(results['img'][0, 0], width)
    np.testing.assert_array_equal(
        results['img'], image[row:, column:][: results['img'].shape[0], : results['img'].shape[1]]
    )


def test_crop_covers_its_range():
    np.random.seed(0)
    image = np.arange(64).reshape(8, 8)
    crop = TRANSFORMS.build(dict(type='RandomBorderCrop', max_ratio=1 / 8))
    pieces = [crop(dict(img=image))['img'] for _ in range(100)]
    assert {piece.shape for piece in pieces} == {(8, 8), (7, 8), (8, 7), (7, 7)}
    assert {piece[0, 0] for piece in pieces} == {0, 1, 8, 9}


def test_crop_ratio_is_checked():
    with pytest.raises(ValueError, match='max_ratio must be at least 0 and below 1, not 1'):
        TRANSFORMS.build(dict(type='RandomBorderCrop', max_ratio=1))


def test_a_batch_has_one_of_the_sizes():
    preprocessor = build(train_sizes=[*SIZES, (20, 30)], mean=[0] * 3, std=[255] * 3)
    sizes = set()
    for _ in range(40):
        made = preprocessor(batch((30, 60), (41, 20)), training=True)
        size = tuple(made['inputs'].shape[2:])
        sizes.add(size)
        for sample in made['data_samples']:
            assert tuple(sample.gt_sem_seg.shape) == size == tuple(sample.img_shape)
            mask = sample.gt_sem_seg.data
            assert mask.dtype == torch.int64 and set(mask.unique().tolist()) == {0, 1}
            # Halves stay halves, and images and masks stay aligned.
            assert mask.float().mean() == pytest.approx(0.5, abs=1 / size[1])
        error = (made['inputs'][0].mean(dim=0) - made['data_samples'][0].gt_sem_seg.data[0]).abs()
        assert error.mean() < 0.05
    assert sizes == {*((side, side) for side in SIZES), (20, 30)}


def test_sizes_depend_on_seed_and_iteration():
    """Also after a resume, and with another seed."""
    whole = draw_sizes(7, range(30))
    assert draw_sizes(7, range(12, 30)) == whole[12:]
    assert draw_sizes(8, range(30)) != whole
    assert len(set(whole)) == 4


def test_probabilities():
    preprocessor = build(train_sizes=SIZES, probabilities=[0, 0.2, 0, 0.8])
    drawn = [preprocessor.draw_size()[0] for _ in range(200)]
    assert set(drawn) == {32, 48} and 130 < drawn.count(48) < 190


def test_evaluation_resizes_images_but_not_masks():
    made = build(train_sizes=SIZES, test_size=36)(batch((30, 60), (41, 20)))
    assert made['inputs'].shape == (2, 3, 36, 36)
    assert [tuple(sample.gt_sem_seg.shape) for sample in made['data_samples']] == [(30, 60), (41, 20)]
    assert [sample.ori_shape for sample in made['data_samples']] == [(30, 60), (41, 20)]


def test_without_sizes_it_equals_mmsegs_preprocessor():
    options = dict(mean=[1, 2, 3], std=[4, 5, 6], bgr_to_rgb=True)
    theirs = MODELS.build(dict(type='SegDataPreProcessor', size_divisor=1, **options))
    for training in (True, False):
        shapes = ((30, 60), (41, 20)) if training else ((30, 60), (30, 60))
        ours, expected = (each(batch(*shapes), training)['inputs'] for each in (build(**options), theirs))
        torch.testing.assert_close(ours, expected)


def test_large_images_are_antialiased():
    """Alternating columns become grey."""
    stripes = torch.zeros(3, 400, 400, dtype=torch.uint8)
    stripes[..., ::2] = 255
    made = build(test_size=20)(dict(inputs=[stripes]))['inputs']
    assert (made[..., 2:-2] - 127.5).abs().max() < 3


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(train_sizes=[32, 0]), r'train_sizes must be sides or \(height, width\) pairs, not 0'),
        (dict(test_size=(3, 4, 5)), r'test_size must be .*, not \(3, 4, 5\)'),
        (dict(train_sizes=[32, 64], probabilities=[1.0]), 'probabilities must be 2 numbers that add up to 1'),
        (dict(train_sizes=[32, 64], probabilities=[0.5, 0.6]), 'probabilities must be 2 numbers'),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.slow
def test_two_processes_draw_equal_sizes_and_count_samples_once(tmp_path, repository):
    script = Path(__file__).with_name('distributed_run.py')
    environment = {**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1'}
    processes = [
        subprocess.Popen([sys.executable, script, tmp_path], env={**environment, 'RANK': str(rank)}) for rank in (0, 1)
    ]
    assert [process.wait() for process in processes] == [0, 0]
    (first, metrics), (second, same) = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert first == second and len(set(first)) == 4
    assert metrics == same == pytest.approx(evaluate(range(5), 5))
