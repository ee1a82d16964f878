"""Metrics of salient object detection by PySODMetrics: paper eqs. 18 and 19, and other common metrics."""

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

# Metrics in table order. MAE is an error (lower is better), the others are scores.
METRIC_NAMES = ('maxF', 'meanF', 'adpF', 'wF', 'maxE', 'meanE', 'adpE', 'S', 'MAE')
# Lowest salient grey levels, in the order of curves.
THRESHOLDS = np.arange(255, -1, -1)


class WholeSmeasure(Smeasure):
    """PySODMetrics' S-measure, also defined if the centroid of the salient region is at the image border.

    The measure divides the image into four quadrants at the centroid. Empty quadrants have no weight and no similarity.
    """

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        """Compute the structural similarity of a map and a mask ``[height, width]``."""
        return super().ssim(pred, gt) if gt.size else 0.0


class MapScores(NamedTuple):
    """Scores of one saliency map; curves are float64 ``[256]`` over ``THRESHOLDS``."""

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
    """Score a saliency map as PySODMetrics: min-max normalised to [0, 1], F-measures with gamma^2 = 0.3.

    For an empty mask, precision, recall and F-measures are 0.

    Args:
        saliency: uint8 map ``[height, width]``.
        mask: bool mask ``[height, width]``.

    Returns:
        The scores.
    """
    # Prepared once; each class would normalise the map and compute its histogram again.
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
        # The E-measure divides by the number of pixels - 1 + EPS.
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
    """Average the scores of the maps of a data set.

    Args:
        scores: Scores of each map.

    Returns:
        The metrics by :data:`METRIC_NAMES`, and the mean curves ``precision``, ``recall``, ``f`` and ``e`` ``[256]``
        over ``threshold``. Maxima and means are taken over the mean curves.
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
    """Format rows of metrics as a text table; the first row has every column."""
    table = PrettyTable(list(rows[0]))
    for row in rows:
        table.add_row([f'{value:.4f}' if isinstance(value, float) else value for value in row.values()])
    return table.get_string()


def file_name(name: str) -> str:
    """Convert the name of a data set or method to a file name: unsafe characters become ``_``."""
    return re.sub(r'[^\w.-]+|^\.+', '_', name)


def save_curves(curves: Mapping[str, np.ndarray], folder: str | Path, name: str) -> Path:
    """Save curves as ``<folder>/<name>.npz`` and return the path; unsafe characters of the name become ``_``."""
    path = Path(folder, f'{file_name(name)}.npz')
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **curves)
    return path


def saliency_of(logits: Tensor) -> Tensor:
    """Return the saliency map from a segmentor's ``seg_logits``.

    Args:
        logits: ``[1, height, width]``, to which MMSegmentation's segmentors have applied a sigmoid, or logits of
            background and salient ``[2, height, width]``.

    Returns:
        Probability that a pixel is salient, float32 ``[height, width]``.

    Raises:
        ValueError: The number of channels is not 1 or 2, or a value is outside [0, 1].
    """
    if logits.shape[0] not in (1, 2):
        raise ValueError(f'a saliency map needs 1 or 2 channels, the model has {logits.shape[0]}')
    logits = logits.float()
    saliency = logits[0] if logits.shape[0] == 1 else logits.softmax(dim=0)[1]
    # NaN fails both comparisons.
    if not bool(((saliency >= 0) & (saliency <= 1)).all()):
        raise ValueError(
            f'saliency must be from 0 to 1, it is from {saliency.min().item():.3g} to {saliency.max().item():.3g}'
        )
    return saliency


def to_grey(saliency: Tensor) -> np.ndarray:
    """Round saliency in [0, 1] to the 256 grey levels of a saved uint8 map."""
    return (255 * saliency).round().to(torch.uint8).cpu().numpy()


def spare_cores() -> int:
    """Return the number of cores of this process besides that of its main thread, from 1 to 4."""
    # CPU affinity is not available on all systems.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', get_world_size()))
    return max(1, min(4, cores // processes - 1))


@METRICS.register_module()
class SODMetric(BaseMetric):
    """Metrics of salient object detection, per data set.

    Returns ``<data set>/<metric>`` for ``maxF``, ``meanF``, ``adpF`` (F-measure, gamma^2 = 0.3), ``wF`` (weighted
    F-measure), ``maxE``, ``meanE``, ``adpE`` (E-measure), ``S`` (S-measure) and ``MAE``, at the resolution of the
    masks. Maps are rounded to 256 grey levels, so that the metrics equal those of the saved maps. The data set of a
    sample is its ``dataset``, which ``PackSegInputs`` packs if ``meta_keys`` lists it.

    Maps are scored in threads while the network predicts the next batch: NumPy and SciPy release the interpreter lock
    in most of the computation, and threads, unlike processes, need no copies and work after CUDA is initialised.

    Args:
        curve_dir: Folder for ``<data set>.npz`` with the curves ``precision``, ``recall``, ``f`` and ``e`` over
            ``threshold``, each ``[256]``. Defaults to None: not saved.
        output_dir: Folder for the maps, ``<data set>/<stem of the image>.png``. Defaults to None: not saved.
        keep_results: Ignored; accepted because MMSegmentation's ``tools/test.py --out`` sets it with ``output_dir``.
            Saved maps are always kept.
        format_only: Whether to save maps without scoring them; samples then need no masks.
        workers: Number of scoring threads. By default, up to 4: the cores of this process (its share of the machine's
            cores in a distributed run) besides that of the main thread.
        **kwargs: Arguments of :class:`mmengine.evaluator.BaseMetric`: ``collect_device``, ``prefix``.

    Raises:
        ValueError: ``format_only`` is set without ``output_dir``, or ``workers`` is less than 1.
    """

    # The names of the data sets serve as prefix.
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
        """Save the maps of a batch and submit them to the scoring threads.

        Args:
            data_batch: Batch from the data loader; not used.
            data_samples: Samples with ``seg_logits``, and ``gt_sem_seg``, 1 where salient and else 0.

        Raises:
            ValueError: A map or a mask is invalid, their sizes differ, or a map to save has no ``img_path``.
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
        """Save a map as ``<data set>/<stem of the image>.png``."""
        if 'img_path' not in sample:
            raise ValueError("SODMetric: output_dir needs samples with img_path; add it to PackSegInputs' meta_keys")
        path = Path(self.output_dir, file_name(name), f'{Path(sample["img_path"]).stem}.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(path)

    def _submit(self, name: str, grey: np.ndarray, mask: np.ndarray) -> None:
        """Submit a map to the threads; wait if they are behind, to limit the number of maps in memory."""
        workers = self.workers or spare_cores()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(workers, thread_name_prefix='SODMetric')
        self.results.append((name, self._pool.submit(score_map, grey, mask)))
        if len(self.results) > 4 * workers:
            self.results[-4 * workers - 1][1].result()

    def evaluate(self, size: int) -> dict[str, float]:
        """Wait for the scores, then evaluate as :class:`mmengine.evaluator.BaseMetric`.

        Args:
            size: Number of samples of the data set, without those repeated by a distributed sampler.

        Returns:
            The metrics of all processes.
        """
        self.results = [(name, scores if scores is None else scores.result()) for name, scores in self.results]
        if self._pool is not None:
            # A data loader may fork later, and forking with threads alive is unsafe.
            self._pool.shutdown()
            self._pool = None
        return super().evaluate(size)

    def compute_metrics(self, results: list[tuple[str, MapScores]]) -> dict[str, float]:
        """Average the scores of each data set, print them as a table, and save the curves.

        Args:
            results: Data set and scores of every sample, of all processes.

        Returns:
            The metrics by ``<data set>/<metric>``; empty with ``format_only``.
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
