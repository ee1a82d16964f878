"""smallNORB: stereo pairs of toys with known viewpoints and lightings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from rescaps_plugin.classification.datasets.array_dataset import ArrayDataset
from rescaps_plugin.classification.datasets.array_files import DataError, find_file, read_norb

STEMS = {
    'train': 'smallnorb-5x46789x9x18x6x2x96x96-training',
    'test': 'smallnorb-5x01235x9x18x6x2x96x96-testing',
}
SMALLNORB = 'Get it from https://cs.nyu.edu/~ylclab/data/norb-v1.0-small/'
# Columns of the info file.
ELEVATION, AZIMUTH = 1, 2
ELEVATIONS = range(9)  # 30 to 70 degrees, 5 apart
AZIMUTHS = range(0, 36, 2)  # tens of degrees
FAMILIAR_ELEVATIONS = (0, 1, 2)
FAMILIAR_AZIMUTHS = (30, 32, 34, 0, 2, 4)


@DATASETS.register_module()
class SmallNORB(ArrayDataset):
    """smallNORB: grey 96x96 stereo pairs of 50 toys in 5 categories, each with 5 training and 5 test toys.

    Each split has three files, plain or gzipped, in NORB's binary ``.mat`` format: ``-dat`` bytes ``[n, 2, 96, 96]``,
    ``-cat`` integers ``[n]`` and ``-info`` integers ``[n, 4]`` (instance, elevation 0 to 8, azimuth 0 to 34, lighting 0
    to 5). smallNORB has 24,300 pairs per split; other data in the same format, such as KiCad-NORB, may have any number.
    Source: LeCun et al., *Learning Methods for Generic Object Recognition*, CVPR 2004.

    Args:
        data_root: Folder of the files.
        split: ``'train'`` or ``'test'``.
        stereo: Use of the stereo pairs: ``'views'``, each image is a sample; ``'channels'``, a pair is a sample with
            two channels; ``'left'``, only the left images are used.
        azimuth: Azimuths to use, as in the viewpoint experiments of Hinton et al., *Matrix Capsules with EM Routing*,
            ICLR 2018: ``'familiar'`` (300, 320, 340, 0, 20, 40 degrees), ``'novel'`` (60 to 280 degrees) or ``'all'``.
        elevation: Elevations to use, as in these experiments: ``'familiar'`` (the 3 smallest), ``'novel'`` (the 6
            largest) or ``'all'``.
        source: Instructions to get the files, for the error message. Defaults to smallNORB's address.
        **kwargs: Other arguments of :class:`mmpretrain.datasets.BaseDataset`, such as ``pipeline``.

    Attributes:
        info: int32 ``[n, 4]``, the info file's row of every image, including images of unused viewpoints.

    Raises:
        FileNotFoundError: A file is missing.
        DataError: An argument is unknown, or a file is truncated, damaged or inconsistent with the others.
    """

    METAINFO = {'classes': ('animal', 'human', 'airplane', 'truck', 'car')}

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        stereo: str = 'views',
        azimuth: str = 'all',
        elevation: str = 'all',
        source: str = SMALLNORB,
        **kwargs,
    ):
        for name, value, choices in (
            ('stereo', stereo, ('views', 'channels', 'left')),
            ('azimuth', azimuth, ('all', 'familiar', 'novel')),
            ('elevation', elevation, ('all', 'familiar', 'novel')),
        ):
            if value not in choices:
                raise DataError(f"SmallNORB: {name} must be one of {choices}, not '{value}'")
        self.stereo = stereo
        self.azimuth = azimuth
        self.elevation = elevation
        self.source = source
        super().__init__(data_root=data_root, split=split, **kwargs)

    def load_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Load uint8 images ``[n, 96, 96]`` or ``[n, 96, 96, 2]`` and labels ``[n]`` of all viewpoints."""
        pairs = self._read('dat', np.uint8, ('n', 2, 'height', 'width'))
        labels = self._read('cat', np.int32, ('n',))
        info = self._read('info', np.int32, ('n', 4))
        if not len(pairs) == len(labels) == len(info):
            raise DataError(
                f'{self.data_root}: the dat, cat and info files of {STEMS[self.split]} must describe the same pairs, '
                f'found {len(pairs)}, {len(labels)} and {len(info)}'
            )
        self.info = info if self.stereo != 'views' else info.repeat(2, axis=0)
        self.wanted = self._viewpoints(info, ELEVATION, self.elevation, ELEVATIONS, FAMILIAR_ELEVATIONS)
        self.wanted &= self._viewpoints(info, AZIMUTH, self.azimuth, AZIMUTHS, FAMILIAR_AZIMUTHS)
        if self.stereo == 'channels':
            return pairs.transpose(0, 2, 3, 1), labels
        if self.stereo == 'left':
            return pairs[:, 0], labels
        self.wanted = self.wanted.repeat(2)
        return pairs.reshape(-1, *pairs.shape[2:]), labels.repeat(2)

    def filter_data(self) -> list[dict]:
        """Keep the samples of the selected viewpoints."""
        return [sample for sample in self.data_list if self.wanted[sample['index']]]

    def info_of(self, indices: Sequence[int]) -> np.ndarray:
        """Return the info file's rows of samples.

        Args:
            indices: Indices of the samples ``[n]``.

        Returns:
            int32 ``[n, 4]``.
        """
        # Without the images, which ArrayDataset would copy.
        return self.info[[BaseDataset.get_data_info(self, index)['index'] for index in indices]]

    def _read(self, kind: str, dtype: type, shape: tuple[int | str, ...]) -> np.ndarray:
        content = f"{np.dtype(dtype).name} [{', '.join(map(str, shape))}] in NORB's binary format"
        path = find_file((self.data_root,), f'{STEMS[self.split]}-{kind}.mat', content, self.source)
        array = read_norb(path)
        fits = array.ndim == len(shape) and all(
            isinstance(size, str) or size == found for size, found in zip(shape, array.shape, strict=True)
        )
        if array.dtype != dtype or not fits:
            raise DataError(f'{path}: expected {content}, found {array.dtype} {list(array.shape)}')
        return array

    def _viewpoints(
        self, info: np.ndarray, column: int, choice: str, known: Sequence[int], familiar: Sequence[int]
    ) -> np.ndarray:
        values = info[:, column]
        strange = np.setdiff1d(values, known)
        if strange.size:
            raise DataError(
                f'{self.data_root}: column {column} of the info file of {STEMS[self.split]} must hold {list(known)}, '
                f'found {strange.tolist()}'
            )
        if choice == 'all':
            return np.ones(len(values), bool)
        return np.isin(values, familiar, invert=choice == 'novel')
