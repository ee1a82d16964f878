"""Data sets registered in mmseg's ``DATASETS``."""

from rescaps_plugin.saliency.datasets.benchmarks import (
    DUTOMRONDataset,
    DUTSDataset,
    ECSSDDataset,
    HKUISDataset,
    PASCALSDataset,
    SODBenchmark,
)
from rescaps_plugin.saliency.datasets.sod import SODDataset
from rescaps_plugin.saliency.datasets.synthetic import SyntheticSOD

__all__ = [
    'DUTOMRONDataset',
    'DUTSDataset',
    'ECSSDDataset',
    'HKUISDataset',
    'PASCALSDataset',
    'SODBenchmark',
    'SODDataset',
    'SyntheticSOD',
]
