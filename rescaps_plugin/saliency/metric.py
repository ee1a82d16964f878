"""Metrics of salient object detection, by PySODMetrics: paper eqs. 18 and 19 and those that tables give beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.dist import get_world_size
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmseg.registry import METRICS
from PIL import Image
from prettytable import PrettyTable
from py_sod_metrics import MAE, Emeasure, FmeasureV2, Smeasure, WeightedFmeasure
from py_sod_metrics.fmeasurev2 import FmeasureHandler, PrecisionHandler, RecallHandler
from py_sod_metrics.utils import EPS, prepare_data
from torch import Tensor

# Of metrics, in the order of a table. Of errors, less is better.
METRIC_NAMES = ('maxF', 'meanF', 'adpF', 'wF', 'maxE', 'meanE', 'adpE', 'S', 'MAE')
# Grey levels from which a pixel counts as salient, in the order of curves.
THRESHOLDS = np.arange(255, -1, -1)


class WholeSmeasure(Smeasure):
    """PySODMetrics' S-measure, also where a salient region ends at the image's border.

    It parts an image at the middle of the salient region in four, of which two are empty then: they have no weight, and
    no similarity.
    """

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        """Give the similarity of a map and a mask ``[height, width]``."""
        return super().ssim(pred, gt) if gt.size else 0.0


class MapScores(NamedTuple):
    """Scores of one saliency map; curves are float64 ``[256]`` over :data:`THRESHOLDS`."""

    mae: float
    s: float
    weighted_f: float
    adaptive_f: float
    adaptive_e: float
    precision: np.ndarray
    recall: np.ndarray
    f: np.ndarray
    e: np.ndarray


def score_map(saliency: np.ndarray, mask: np.ndarray) -> MapScores:
    """Score a saliency map as PySODMetrics does: stretched to [0, 1] first, F-measures with gamma^2 = 0.3.

    Of an empty mask, precision, recall and F-measures are 0.

    Args:
        saliency: uint8 map ``[height, width]``.
        mask: bool mask ``[height, width]``.

    Returns:
        The scores.
    """
    # Each class would stretch the map and count its histogram anew.
    pred, gt = prepare_data(saliency, mask * np.uint8(255))
    f_measure = FmeasureV2(
        dict(
            f=FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
            precision=PrecisionHandler(with_dynamic=True, with_adaptive=False),
            recall=RecallHandler(with_dynamic=True, with_adaptive=False),
        )
    )
    metrics = (f_measure, MAE(), WholeSmeasure(), WeightedFmeasure(), Emeasure())
    results = {}
    for metric in metrics:
        metric.step(pred, gt, normalize=False)
        results.update(metric.get_results())
    e_scale = 1.0
    if mask.size == 1:
        # The E-measure divides by the number of pixels less 1, plus this.
        e_scale = EPS
    return MapScores(
        mae=float(results['mae']),
        s=float(results['sm']),
        weighted_f=float(results['wfm']),
        adaptive_f=float(results['f']['adaptive']),
        adaptive_e=float(results['em']['adp'] * e_scale),
        precision=results['precision']['dynamic'],
        recall=results['recall']['dynamic'],
        f=results['f']['dynamic'],
        e=results['em']['curve'] * e_scale,
    )


def summarise(scores: Sequence[MapScores]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Average the scores of a set's maps.

    Args:
        scores: Scores of each map.

    Returns:
        The metrics by :data:`METRIC_NAMES`, and the mean curves ``precision``, ``recall``, ``f`` and ``e`` ``[256]``
        over ``threshold``. Maxima and means are those of the mean curves.
    """
    mean = MapScores(*(np.mean(part, axis=0) for part in zip(*scores, strict=True)))
    metrics = dict(
        maxF=mean.f.max(),
        meanF=mean.f.mean(),
        adpF=mean.adaptive_f,
        wF=mean.weighted_f,
        maxE=mean.e.max(),
        meanE=mean.e.mean(),
        adpE=mean.adaptive_e,
        S=mean.s,
        MAE=mean.mae,
    )
    curves = dict(threshold=THRESHOLDS, precision=mean.precision, recall=mean.recall, f=mean.f, e=mean.e)
    return {name: float(metrics[name]) for name in METRIC_NAMES}, curves


def metrics_table(rows: Sequence[Mapping[str, str | float]]) -> str:
    """Lay rows of metrics out for a screen; the first has every column."""
    table = PrettyTable(list(rows[0]))
    for row in rows:
        table.add_row([f'{value:.4f}' if isinstance(value, float) else value for value in row.values()])
    return table.get_string()


def file_name(name: str) -> str:
    """Give the name of a data set or a method without what no file's name should have, which becomes ``_``."""
    return re.sub(r'[^\w.-]+|^\.+', '_', name)


def save_curves(curves: Mapping[str, np.ndarray], folder: str | Path, name: str) -> Path:
    """Save curves as ``<folder>/<name>.npz``, and give the path; what no file's name should have becomes ``_``."""
    path = Path(folder, f'{file_name(name)}.npz')
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **curves)
    return path


def saliency_of(logits: Tensor) -> Tensor:
    """Give the saliency of what a segmentor leaves in ``seg_logits``.

    Args:
        logits: ``[1, height, width]``, which MMSegmentation's segmentors have put through a sigmoid, or logits of
            background and salient ``[2, height, width]``.

    Returns:
        Probability that a pixel is salient, float32 ``[height, width]``.

    Raises:
        ValueError: There are other channels, or values that are no probabilities.
    """
    if logits.shape[0] not in (1, 2):
        raise ValueError(f'a saliency map comes of 1 or 2 channels, the model has {logits.shape[0]}')
    logits = logits.float()
    saliency = logits[0] if logits.shape[0] == 1 else logits.softmax(dim=0)[1]
    # NaN fails both comparisons.
    if not bool(((saliency >= 0) & (saliency <= 1)).all()):
        raise ValueError(
            f'saliency must be from 0 to 1, it is from {saliency.min().item():.3g} to {saliency.max().item():.3g}'
        )
    return saliency


def to_grey(saliency: Tensor) -> np.ndarray:
    """Round saliency in [0, 1] to the 256 grey levels of a saved map, uint8."""
    return (255 * saliency).round().to(torch.uint8).cpu().numpy()


def spare_cores() -> int:
    """Give the number of cores, up to 4, that a process has beside the one of its main thread; at least 1."""
    # Not all systems can bind a process to some of the cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', get_world_size()))
    return max(1, min(4, cores // processes - 1))


@METRICS.register_module()
class SODMetric(BaseMetric):
    """Metrics of salient object detection, a row for each data set.

    Gives ``<data set>/<metric>`` for ``maxF``, ``meanF``, ``adpF`` (F-measure, gamma^2 = 0.3), ``wF`` (weighted
    F-measure), ``maxE``, ``meanE``, ``adpE`` (E-measure), ``S`` (S-measure) and ``MAE``, at the masks' own resolution.
    Maps are rounded to 256 grey levels, so that a test gives what its saved maps give. The data set of a sample is its
    ``dataset``, which ``PackSegInputs`` packs if ``meta_keys`` lists it.

    Maps are scored in threads while the network predicts the next batch: NumPy and SciPy release the interpreter lock
    in almost all of it, and threads need no start and no copies, whatever the process has done with CUDA.

    Args:
        curve_dir: Folder for ``<data set>.npz`` with the curves ``precision``, ``recall``, ``f`` and ``e`` over
            ``threshold``, each ``[256]``. None are saved by default.
        output_dir: Folder for the maps, ``<data set>/<stem of the image>.png``. None are saved by default.
        keep_results: Accepted because ``tools/test.py --out`` of MMSegmentation sets it beside ``output_dir``; saved
            maps stay in either case.
        format_only: Whether to save maps without scoring them, of samples that may have no masks.
        workers: Number of threads that score. By default, up to 4, as many as there are cores for this process beside
            its main thread; a machine's cores are shared by the processes of a distributed run.
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`: ``collect_device``, ``prefix``.

    Raises:
        ValueError: ``format_only`` is set without ``output_dir``, or ``workers`` is less than 1.
    """

    # The data sets' names take a prefix's place.
    default_prefix = ''

    def __init__(
        self,
        curve_dir: str | None = None,
        output_dir: str | None = None,
        keep_results: bool = False,
        format_only: bool = False,
        workers: int | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if format_only and output_dir is None:
            raise ValueError('SODMetric: format_only=True needs an output_dir, the folder for the maps')
        if workers is not None and workers < 1:
            raise ValueError(f'SODMetric: workers must be at least 1, not {workers!r}')
        self.curve_dir = curve_dir
        self.output_dir = output_dir
        self.keep_results = keep_results
        self.format_only = format_only
        self.workers = workers
        self._pool = None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Save the maps of a batch, and hand them to the threads that score.

        Args:
            data_batch: The batch as the data loader gave it; not used.
            data_samples: Samples with ``seg_logits``, and ``gt_sem_seg``, 1 where salient and else 0.

        Raises:
            ValueError: A map or a mask is none, their sizes differ, or a map to save has no ``img_path``.
        """
        for sample in data_samples:
            path = sample.get('img_path', 'a sample')
            try:
                saliency = saliency_of(sample['seg_logits']['data'])
            except ValueError as error:
                raise ValueError(f'{path}: {error}') from error
            name = sample.get('dataset', 'SOD')
            grey = to_grey(saliency)
            if self.output_dir is not None:
                self._save_map(grey, name, sample)
            if self.format_only:
                self.results.append((name, None))
                continue
            mask = sample['gt_sem_seg']['data'][0]
            if mask.shape != saliency.shape:
                raise ValueError(
                    f'{path}: the map {tuple(saliency.shape)} and the mask {tuple(mask.shape)} differ in size. Load '
                    'the mask after any Resize of the test pipeline.'
                )
            if mask.max() > 1:
                raise ValueError(f'{path}: a mask must have labels 0 and 1 only, it has {mask.max().item()}')
            self._submit(name, grey, mask.cpu().numpy().astype(bool))

    def _save_map(self, grey: np.ndarray, name: str, sample: Mapping) -> None:
        """Save a map as its data set's and image's names say."""
        if 'img_path' not in sample:
            raise ValueError("SODMetric: output_dir needs samples with img_path; add it to PackSegInputs' meta_keys")
        path = Path(self.output_dir, file_name(name), f'{Path(sample["img_path"]).stem}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(path)

    def _submit(self, name: str, grey: np.ndarray, mask: np.ndarray) -> None:
        """Hand a map to the threads; where they are behind, wait for them, so that few maps are held."""
        workers = self.workers or spare_cores()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(workers, thread_name_prefix='SODMetric')
        self.results.append((name, self._pool.submit(score_map, grey, mask)))
        if len(self.results) > 4 * workers:
            self.results[-4 * workers - 1][1].result()

    def evaluate(self, size: int) -> dict[str, float]:
        """Wait for the scores, then evaluate as MMEngine's metrics do.

        Args:
            size: Number of samples of the data set, without those that a distributed sampler repeats.

        Returns:
            The metrics of all processes.
        """
        self.results = [(name, scores if scores is None else scores.result()) for name, scores in self.results]
        if self._pool is not None:
            # No threads are left where a data loader may fork.
            self._pool.shutdown()
            self._pool = None
        return super().evaluate(size)

    def compute_metrics(self, results: list[tuple[str, MapScores]]) -> dict[str, float]:
        """Average the scores of each data set, print them as a table, and save the curves.

        Args:
            results: Data set and scores of every sample, of all processes.

        Returns:
            The metrics, by ``<data set>/<metric>``; none with ``format_only``.
        """
        if self.output_dir is not None:
            print_log(f'saved {len(results)} maps to {self.output_dir}', logger='current')
        if self.format_only:
            return {}
        by_set = {}
        for name, scores in results:
            by_set.setdefault(name, []).append(MapScores(*scores))
        metrics, rows = {}, []
        for name, scores in by_set.items():
            row, curves = summarise(scores)
            metrics.update({f'{name}/{metric}': value for metric, value in row.items()})
            rows.append({'data set': name, 'images': len(scores), **row})
            if self.curve_dir is not None:
                save_curves(curves, self.curve_dir, name)
        print_log(f'\n{metrics_table(rows)}', logger='current')
        return metrics
