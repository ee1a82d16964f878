"""SODMetric compared with direct use of PySODMetrics, and on maps with known scores."""

import os
import threading
from pathlib import Path

import numpy as np
import py_sod_metrics as sod
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from PIL import Image

import rescaps_plugin.saliency  # noqa: F401
from rescaps_plugin.saliency.metric import METRIC_NAMES, saliency_of, score_map, spare_cores, summarise

ECSSD_MASKS = Path('data/ECSSD/ground_truth_mask')


def by_hand(maps, masks):
    """Metrics as in the README of PySODMetrics: every class steps over 8-bit maps and masks."""
    f_measure = sod.FmeasureV2(
        {
            'f': sod.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
            'p': sod.PrecisionHandler(with_dynamic=True, with_adaptive=False),
            'r': sod.RecallHandler(with_dynamic=True, with_adaptive=False),
        }
    )
    mae, s, w, e = sod.MAE(), sod.Smeasure(), sod.WeightedFmeasure(), sod.Emeasure()
    for saliency, mask in zip(maps, masks, strict=True):
        for metric in (f_measure, mae, s, w, e):
            metric.step(pred=saliency, gt=mask)
    f, em = f_measure.get_results(), e.get_results()['em']
    metrics = {
        'maxF': f['f']['dynamic'].max(),
        'meanF': f['f']['dynamic'].mean(),
        'adpF': f['f']['adaptive'],
        'wF': w.get_results()['wfm'],
        'maxE': em['curve'].max(),
        'meanE': em['curve'].mean(),
        'adpE': em['adp'],
        'S': s.get_results()['sm'],
        'MAE': mae.get_results()['mae'],
    }
    curves = {'precision': f['p']['dynamic'], 'recall': f['r']['dynamic'], 'f': f['f']['dynamic'], 'e': em['curve']}
    return metrics, curves


def sample(saliency, mask, **meta):
    """Data sample as from MMSegmentation's segmentors, with a map in [0, 1] and a mask of 0 and 1."""
    data_sample = SegDataSample(metainfo=dict(img_path='image.jpg', **meta))
    data_sample.seg_logits = PixelData(data=torch.as_tensor(saliency, dtype=torch.float32)[None])
    data_sample.gt_sem_seg = PixelData(data=torch.as_tensor(mask, dtype=torch.int64)[None])
    return data_sample


def evaluate(samples, size=None, batch=3, **options):
    evaluator = Evaluator(dict(type='SODMetric', **options))
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start : start + batch], {})
    return evaluator.evaluate(len(samples) if size is None else size)


@pytest.fixture(autouse=True)
def scope():
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')


def draw(count, seed=0, shape=(40, 53)):
    """Noisy maps of masks that are discs."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    masks = [
        np.hypot(y - random.uniform(10, 30), x - random.uniform(10, 40)) < random.uniform(5, 15) for _ in range(count)
    ]
    maps = [np.clip(0.6 * mask + random.uniform(0, 0.6, shape), 0, 1) for mask in masks]
    return maps, masks


def test_equals_pysodmetrics_by_hand(tmp_path):
    maps, masks = draw(7)
    metrics = evaluate([sample(*pair) for pair in zip(maps, masks, strict=True)], curve_dir=str(tmp_path))
    expected, curves = by_hand(
        [np.rint(255 * each).astype(np.uint8) for each in maps], [255 * m.astype(np.uint8) for m in masks]
    )
    assert metrics == pytest.approx({f'SOD/{name}': value for name, value in expected.items()}, abs=1e-6)
    saved = np.load(tmp_path / 'SOD.npz')
    for name, curve in curves.items():
        np.testing.assert_allclose(saved[name], curve, atol=1e-9)
    np.testing.assert_array_equal(saved['threshold'], np.arange(255, -1, -1))


@pytest.mark.skipif(not ECSSD_MASKS.is_dir(), reason='ECSSD is not in data/ECSSD')
def test_equals_pysodmetrics_by_hand_on_ecssd():
    random = np.random.RandomState(0)
    paths = sorted(ECSSD_MASKS.iterdir())[::30]
    masks = [np.asarray(Image.open(path)) for path in paths]
    maps = [np.clip(0.7 * mask + random.uniform(0, 0.7 * 255, mask.shape), 0, 255).astype(np.uint8) for mask in masks]
    metrics, _ = summarise([score_map(saliency, mask > 127) for saliency, mask in zip(maps, masks, strict=True)])
    assert metrics == pytest.approx(by_hand(maps, masks)[0], abs=1e-6)


def test_rows_per_data_set_without_samples_repeated_by_a_distributed_sampler(tmp_path, caplog):
    maps, masks = draw(5)
    sets = ['A', 'B/c', 'A', 'B/c', 'A']
    samples = [sample(*each[:2], dataset=each[2]) for each in zip(maps, masks, sets, strict=True)]
    metrics = evaluate([*samples, samples[0]], size=5, curve_dir=str(tmp_path))
    alone = {name: evaluate([s for s in samples if s.dataset == name]) for name in ('A', 'B/c')}
    assert metrics == {**alone['A'], **alone['B/c']}
    assert list(metrics)[0] == 'A/maxF' and len(metrics) == 2 * len(METRIC_NAMES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['A.npz', 'B_c.npz']


def test_threads_return_the_same_scores_in_order():
    maps, masks = draw(30, shape=(60, 70))
    samples = [sample(*pair, dataset='AB'[i % 2]) for i, pair in enumerate(zip(maps, masks, strict=True))]
    before = threading.active_count()
    one, several = (evaluate(samples, workers=workers) for workers in (1, 3))
    assert one == several
    assert threading.active_count() == before  # forking is unsafe with threads alive
    in_turn = [
        score_map(np.rint(255 * each.astype(np.float32)).astype(np.uint8), m)
        for each, m in zip(maps, masks, strict=True)
    ]
    assert one['B/maxF'] == summarise(in_turn[1::2])[0]['maxF']
    with pytest.raises(ValueError, match='workers must be at least 1, not 0'):
        evaluate(samples, workers=0)


def test_scoring_does_not_block_the_network(monkeypatch):
    """Batches are accepted while earlier maps are being scored, up to a limit."""
    gate, scored = threading.Event(), []

    def slow(saliency, mask):
        gate.wait(20)
        scored.append(1)
        return score_map(saliency, mask)

    monkeypatch.setattr('rescaps_plugin.saliency.metric.score_map', slow)
    maps, masks = draw(5)
    evaluator = Evaluator(dict(type='SODMetric', workers=1))
    for pair in list(zip(maps, masks, strict=True))[:4]:
        evaluator.process([sample(*pair)], {})
    assert not scored
    threading.Timer(0.2, gate.set).start()
    evaluator.process([sample(maps[4], masks[4])], {})
    assert scored  # at most four maps are held
    assert evaluator.evaluate(5)['SOD/MAE'] > 0


@pytest.mark.parametrize(('cores', 'processes', 'threads'), [(2, 1, 1), (1, 1, 1), (16, 1, 4), (16, 8, 1), (16, 4, 3)])
def test_threads_by_cores_and_processes(monkeypatch, cores, processes, threads):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(cores))
    monkeypatch.setenv('LOCAL_WORLD_SIZE', str(processes))
    assert spare_cores() == threads


def test_maps_are_saved(tmp_path):
    """As with --out of MMSegmentation's tools/test.py."""
    maps, masks = draw(2)
    samples = [
        sample(*pair, dataset=name) for pair, name in zip(zip(maps, masks, strict=True), ('A', '../B'), strict=True)
    ]
    for index, each in enumerate(samples):
        each.set_metainfo(dict(img_path=f's3://folder/{index}.x.jpg'))
    metrics = evaluate(samples, output_dir=str(tmp_path / 'maps'), keep_results=True)
    assert metrics == evaluate(samples)
    for index, folder in enumerate(('A', '__B')):
        saved = np.asarray(Image.open(tmp_path / 'maps' / folder / f'{index}.x.png'))
        np.testing.assert_array_equal(saved, np.rint(255 * maps[index].astype(np.float32)))


def test_format_only_needs_no_masks(tmp_path):
    (saliency,), (mask,) = draw(1)
    only = sample(saliency, mask)
    del only.gt_sem_seg
    assert evaluate([only], output_dir=str(tmp_path), format_only=True) == {}
    assert (tmp_path / 'SOD' / 'image.png').is_file()
    with pytest.raises(ValueError, match='format_only=True needs an output_dir'):
        evaluate([only], format_only=True)
    nameless = SegDataSample()
    nameless.seg_logits = only.seg_logits
    with pytest.raises(ValueError, match='output_dir needs samples with img_path'):
        evaluate([nameless], output_dir=str(tmp_path), format_only=True)


def test_perfect_and_inverted_maps():
    _, (mask,) = draw(1)
    best = evaluate([sample(mask, mask)])
    assert [best[f'SOD/{name}'] for name in ('maxF', 'adpF', 'wF', 'S')] == pytest.approx([1, 1, 1, 1], abs=1e-6)
    assert best['SOD/MAE'] == 0 and best['SOD/maxE'] == pytest.approx(1, abs=1e-3)
    worst = evaluate([sample(~mask, mask)])
    assert worst['SOD/MAE'] == 1 and worst['SOD/adpF'] == 0 and worst['SOD/wF'] == pytest.approx(0, abs=1e-6)


def test_f_measure_weighs_precision_by_three_tenths():
    """Precision and recall are 1/2 at every threshold above 0."""
    mask, found = np.zeros((2, 4), bool), np.zeros((2, 4))
    mask[0, :2], found[:, 0] = True, 1
    f = evaluate([sample(found, mask)])
    assert f['SOD/maxF'] == f['SOD/adpF'] == pytest.approx(1.3 * 0.25 / (0.3 * 0.5 + 0.5))
    # One of two pixels found, none wrong: precision 1, recall 1/2.
    found = np.zeros((2, 4))
    found[0, 0] = 1
    assert evaluate([sample(found, mask)])['SOD/maxF'] == pytest.approx(1.3 * 0.5 / (0.3 + 0.5))


@pytest.mark.parametrize('size', [(9, 12), (1, 1)])
@pytest.mark.parametrize('level', [0.0, 1.0])
def test_empty_and_full_masks_and_single_pixels(size, level):
    """A map equal to the mask has MAE 0 and S-measure 1, its inverse MAE 1 and S-measure 0."""
    mask = np.full(size, bool(level))
    right, wrong = evaluate([sample(np.full(size, level), mask)]), evaluate([sample(np.full(size, 1 - level), mask)])
    assert (right['SOD/MAE'], right['SOD/S']) == (0, 1) and (wrong['SOD/MAE'], wrong['SOD/S']) == (1, 0)
    pixels = size[0] * size[1]
    # The E-measure divides by the number of pixels - 1.
    full = pixels / max(pixels - 1, 1)
    assert right['SOD/maxE'] == pytest.approx(full) and right['SOD/maxF'] == pytest.approx(level)
    # At the lowest threshold every pixel is salient, even in a black map.
    assert wrong['SOD/meanE'] == pytest.approx(level * full / 256)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_scores_are_in_range_and_invariant_to_rotation(height, width, seed):
    random = np.random.RandomState(seed)
    saliency = random.randint(0, 256, (height, width)).astype(np.uint8)
    mask = random.rand(height, width) < random.rand()
    scores, mirrored = score_map(saliency, mask), score_map(saliency[:, ::-1], mask[:, ::-1])
    for name in ('mae', 's', 'adaptive_f', 'adaptive_e', 'weighted_f'):
        value = getattr(scores, name)
        assert -1e-9 <= value <= (height * width / max(height * width - 1, 1) if name == 'adaptive_e' else 1) + 1e-9
    np.testing.assert_allclose(scores.f, mirrored.f)
    np.testing.assert_allclose(scores.e, mirrored.e)
    assert scores.mae == pytest.approx(mirrored.mae)


def test_object_at_the_border_has_an_s_measure():
    """PySODMetrics returns NaN, as a quadrant of the image is empty."""
    mask = np.zeros((6, 7), bool)
    mask[-1] = True
    assert score_map(mask * np.uint8(255), mask).s == pytest.approx(1)


def test_two_channels_are_background_and_salient():
    logits = torch.randn(2, 5, 6)
    torch.testing.assert_close(saliency_of(logits), torch.sigmoid(logits[1] - logits[0]))


@pytest.mark.parametrize(
    ('saliency', 'mask', 'message'),
    [
        (np.full((4, 5), np.nan), np.zeros((4, 5)), 'image.jpg: saliency must be from 0 to 1, it is from nan'),
        (np.full((4, 5), 3.0), np.zeros((4, 5)), 'image.jpg: saliency must be from 0 to 1, it is from 3 to 3'),
        (np.zeros((4, 5)), np.zeros((5, 4)), r'the map \(4, 5\) and the mask \(5, 4\) differ in size'),
        (np.zeros((4, 5)), np.full((4, 5), 255), 'labels 0 and 1 only, it has 255'),
    ],
)
def test_invalid_maps_and_masks_are_refused(saliency, mask, message):
    with pytest.raises(ValueError, match=message):
        evaluate([sample(saliency, mask)])


def test_three_channels_are_refused():
    with pytest.raises(ValueError, match='1 or 2 channels, the model has 3'):
        saliency_of(torch.zeros(3, 4, 4))
