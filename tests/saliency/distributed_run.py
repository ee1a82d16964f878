"""A process of a distributed run with the saliency package; the tests start it with RANK 0 and 1."""

import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from mmengine.evaluator import Evaluator
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import rescaps_plugin.saliency  # noqa: F401

SIZES = [24, 32, 40, 48]


def map_sample(index):
    """Data set with a different map and mask for each index."""
    random = np.random.RandomState(index)
    sample = SegDataSample(metainfo=dict(dataset='AB'[index % 2]))
    sample.seg_logits = PixelData(data=torch.from_numpy(random.rand(1, 9, 11)))
    sample.gt_sem_seg = PixelData(data=torch.from_numpy(random.rand(1, 9, 11) > 0.6).long())
    return sample


def evaluate(indices, size):
    """Return the metrics of the samples with given indices, of a data set of ``size``."""
    evaluator = Evaluator(dict(type='SODMetric'))
    for index in indices:
        evaluator.process([map_sample(index)], {})
    return evaluator.evaluate(size)


def draw_sizes(seed, iterations):
    """Return the sizes drawn by a run with a given seed at some iterations."""
    hub = MessageHub.get_current_instance()
    hub.update_info('seed', seed)
    preprocessor = MODELS.build(dict(type='SaliencyDataPreProcessor', train_sizes=SIZES))
    drawn = []
    for iteration in iterations:
        hub.update_info('iter', iteration)
        drawn.append(preprocessor.draw_size())
    return drawn


if __name__ == '__main__':
    rank, folder = int(os.environ['RANK']), sys.argv[1]
    init_default_scope('mmseg')
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    # Five samples on two processes: the sampler repeats the first. The processes have different seeds.
    metrics = evaluate([0, 2, 4] if rank == 0 else [1, 3, 0], 5)
    torch.save((draw_sizes(100 + rank, range(20)), metrics), f'{folder}/{rank}.pth')
    dist.destroy_process_group()
