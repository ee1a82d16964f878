"""Public salient object detection data sets, in the layout of their archives, and a combined test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmengine.dataset import ConcatDataset
from mmseg.registry import DATASETS

from rescaps_plugin.saliency.datasets.sod import SODDataset


@DATASETS.register_module()
class DUTSDataset(SODDataset):
    """DUTS (Wang et al., CVPR 2017): 10,553 images for training, DUTS-TR, and 5,019 for testing, DUTS-TE.

    ``data_root`` holds the archives' folders ``DUTS-TR`` and ``DUTS-TE``, with the subfolders ``DUTS-TR-Image``,
    ``DUTS-TR-Mask`` and so on. The distributed DUTS-TR has two masks for three of its images, a PNG file of another
    size and a JPEG file of the right size; the latter is used.

    Args:
        split: ``'train'`` or ``'test'``.
        **kwargs: Arguments of :class:`SODDataset`.

    Raises:
        ValueError: ``split`` is unknown.
    """

    MASK_SUFFIX = ('.png', '.jpg')

    def __init__(self, data_root: str = '', split: str = 'test', data_prefix: dict | None = None, **kwargs) -> None:
        parts = {'train': 'DUTS-TR', 'test': 'DUTS-TE'}
        if split not in parts:
            raise ValueError(f"DUTSDataset: split must be 'train' or 'test', not {split!r}")
        part = self.NAME = parts[split]
        self.IMAGES, self.MASKS = f'{part}/{part}-Image', f'{part}/{part}-Mask'
        super().__init__(data_root=data_root, data_prefix=data_prefix, **kwargs)


@DATASETS.register_module()
class ECSSDDataset(SODDataset):
    """ECSSD (Yan et al., CVPR 2013; Shi et al., TPAMI 2016): 1,000 images in ``images`` and ``ground_truth_mask``."""

    NAME = 'ECSSD'
    MASKS = 'ground_truth_mask'


@DATASETS.register_module()
class HKUISDataset(SODDataset):
    """HKU-IS (Li and Yu, CVPR 2015): 4,447 PNG images in ``imgs`` and ``gt``, all used for testing."""

    NAME = 'HKU-IS'
    IMAGES, MASKS = 'imgs', 'gt'
    IMG_SUFFIX = '.png'


@DATASETS.register_module()
class PASCALSDataset(SODDataset):
    """PASCAL-S (Li et al., CVPR 2014): 850 images in ``datasets/imgs/pascal`` and ``datasets/masks/pascal``.

    The folders are those of the archive ``salObj.zip``. Grey levels of the masks are the fraction of observers who
    selected a region.
    """

    NAME = 'PASCAL-S'
    IMAGES, MASKS = 'datasets/imgs/pascal', 'datasets/masks/pascal'


@DATASETS.register_module()
class DUTOMRONDataset(SODDataset):
    """DUT-OMRON (Yang et al., CVPR 2013): 5,168 images in ``DUT-OMRON-image`` and ``pixelwiseGT-new-PNG``."""

    NAME = 'DUT-OMRON'
    IMAGES, MASKS = 'DUT-OMRON-image', 'pixelwiseGT-new-PNG'


@DATASETS.register_module()
class SODBenchmark(ConcatDataset):
    """Several test sets in one; :class:`~rescaps_plugin.saliency.SODMetric` computes the metrics of each.

    Args:
        sets: Configs of the data sets by name.
        pipeline: Default pipeline of the data sets. Tools that predict files also use it.
        use: Name or names of the data sets to use. Defaults to None: all.
        **kwargs: Other arguments of :class:`mmengine.dataset.ConcatDataset`.

    Raises:
        ValueError: ``use`` is empty or names an unknown data set.
    """

    def __init__(
        self,
        sets: Mapping[str, dict],
        pipeline: Sequence[dict] = (),
        use: str | Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        names = list(sets) if use is None else [use] if isinstance(use, str) else list(use)
        unknown = [name for name in names if name not in sets]
        if unknown or not names:
            raise ValueError(f'SODBenchmark: use must name some of {list(sets)}, not {use!r}')
        configs = [{'pipeline': list(pipeline), 'name': name, **sets[name]} for name in names]
        super().__init__([DATASETS.build(config) for config in configs], **kwargs)
