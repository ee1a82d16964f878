"""ModelNet40 and ShapeNet Core point clouds in HDF5 files."""

from __future__ import annotations

import math
import zlib
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.registry import DATASETS

from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.data.folders import is_foreign
from rescaps_plugin.pointcloud.datasets.base import PointCloudDataset
from rescaps_plugin.pointcloud.files import CloudError, check_finite, choose_points

if TYPE_CHECKING:
    import h5py

SHAPENET_CLASSES = (
    'airplane', 'bag', 'basket', 'bathtub', 'bed', 'bench', 'birdhouse', 'bookshelf', 'bottle', 'bowl', 'bus',
    'cabinet', 'camera', 'can', 'cap', 'car', 'cellphone', 'chair', 'clock', 'dishwasher', 'earphone', 'faucet', 'file',
    'guitar', 'helmet', 'jar', 'keyboard', 'knife', 'lamp', 'laptop', 'mailbox', 'microphone', 'microwave', 'monitor',
    'motorcycle', 'mug', 'piano', 'pillow', 'pistol', 'pot', 'printer', 'remote_control', 'rifle', 'rocket',
    'skateboard', 'sofa', 'speaker', 'stove', 'table', 'telephone', 'tin_can', 'tower', 'train', 'vessel', 'washer',
)  # fmt: skip

MODELNET40 = 'Get it from https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip'

# Limits of an array: total size, size allowed at any compression, and compression ratio above that size. Float
# coordinates compress little, so that a higher ratio is a decompression bomb.
MAX_BYTES = 2**32
UNPACKED_BYTES = 2**26
UNPACKED_RATIO = 100
MAX_CHUNK_BYTES = 2**28
# HDF5 filter identifiers.
DEFLATE = 1
FILTERS = {DEFLATE: 'deflate (gzip)', 2: 'shuffle', 3: 'fletcher32'}


class _HDF5Clouds(PointCloudDataset):
    """Clouds in HDF5 files with ``data`` ``[n, p, 3]`` and ``label`` ``[n, 1]`` or ``[n]``.

    The files of a split are listed in ``<split>_files.txt``, one per line, of which only the file name is used. Without
    this list, they are all files named ``*<split>*.h5``.
    """

    source = ''

    def load_labels(self) -> np.ndarray:
        """Load all clouds of the split and return their labels ``[n]``."""
        files = self._find_files()
        clouds, labels = zip(*map(self._read, files), strict=True)
        sizes = {cloud.shape[1] for cloud in clouds}
        if len(sizes) > 1:
            raise CloudError(f'{self.data_root}: data: files of {self.split} have clouds of {sorted(sizes)} points')
        self.clouds = np.concatenate(clouds)
        return np.concatenate(labels)

    def load_points(self, index: int, random: np.random.RandomState) -> np.ndarray:
        """Sample points of a cloud, or return all of them in their order."""
        return choose_points(self.clouds[index], self.num_points, random, self.describe(index))

    def _find_files(self) -> list[Path]:
        root = Path(self.data_root)
        listing = root / f'{self.split}_files.txt'
        if listing.is_file():
            files = [root / Path(name).name for name in _read_names(listing)]
        else:
            files = sorted(path for path in root.glob(f'*{self.split}*.h5') if not is_foreign(path.name))
        missing = [str(file) for file in files if not file.is_file()]
        if missing or not files:
            what = f'{", ".join(missing)}, listed in {listing.name},' if missing else f'*{self.split}*.h5'
            raise FileNotFoundError(
                f'{what} (HDF5 of data [n, points, 3] and label [n, 1]) is not in {root.absolute()}. {self.source}'
            )
        return files

    def _read(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        h5py = import_extra('h5py', 'pointcloud')
        try:
            with h5py.File(path) as file:
                absent = [key for key in ('data', 'label') if key not in file]
                if absent:
                    raise CloudError(f'{path}: expected the keys data and label, found {[*islice(file, 9)]}')
                points, labels = (
                    _read_array(file, key, kinds, path) for key, kinds in (('data', 'f'), ('label', 'iu'))
                )
        except CloudError:
            raise
        except Exception as error:  # h5py raises arbitrary exceptions on damaged files
            raise CloudError(f'{path}: truncated or not an HDF5 file ({error}); get a new copy') from error
        if points.ndim != 3 or points.shape[2] != 3 or points.dtype.kind != 'f':
            raise CloudError(f'{path}: data must be floats [n, points, 3], found {points.dtype} {list(points.shape)}')
        count = len(points)
        if labels.shape not in ((count, 1), (count,)) or labels.dtype.kind not in 'iu':
            raise CloudError(
                f'{path}: label must be integers [{count}, 1] or [{count}], found {labels.dtype} {list(labels.shape)}'
            )
        if self.num_points is not None and points.shape[1] < self.num_points:
            raise CloudError(
                f'{path}: data: {self.num_points} points requested (num_points), its clouds have {points.shape[1]}'
            )
        check_finite(points, f'{path}: data')
        self.check_labels(labels, f'{path}: label')
        return points.astype(np.float64 if points.dtype.itemsize > 4 else np.float32, copy=False), labels.reshape(-1)


def _read_names(path: Path) -> list[str]:
    """Read names, one a line, without surrounding whitespace and empty lines."""
    try:
        lines = path.read_text(encoding='utf-8').split('\n')
    except UnicodeDecodeError as error:
        raise CloudError(f'{path}: expected lines of UTF-8 ({error})') from error
    return [line.strip() for line in lines if line.strip()]


def _read_array(file: h5py.File, key: str, kinds: str, path: Path) -> np.ndarray:
    """Read an array stored in the file itself, within the memory limits.

    Args:
        file: The file.
        key: Name of the array.
        kinds: Allowed NumPy dtype kinds.
        path: Path of the file, for the error message.
    """
    import h5py

    source = f'{path}: {key}'
    # Soft and external links can lead to other files.
    if not isinstance(file.get(key, getlink=True), h5py.HardLink) or not isinstance(file[key], h5py.Dataset):
        raise CloudError(f'{source} must be an array in this file, it is a link or a group')
    array = file[key]
    if array.external or array.is_virtual:
        raise CloudError(f'{source} must be an array in this file, it lies in other files')
    what = {'f': 'floats [n, points, 3]', 'iu': 'integers [n, 1] or [n]'}[kinds]
    if array.dtype.kind not in kinds or array.shape is None:
        raise CloudError(f'{source} must be {what}, found {array.dtype} {list(array.shape or ())}')
    size, stored = math.prod(array.shape) * array.dtype.itemsize, array.id.get_storage_size()
    if size > min(MAX_BYTES, UNPACKED_BYTES + UNPACKED_RATIO * stored):
        raise CloudError(f'{source} would take {size} bytes of memory, of which {stored} are stored')
    if array.chunks:
        _check_chunks(array, source)
    return array[()]


def _check_chunks(array: h5py.Dataset, source: str) -> None:
    """Check that no chunk decompresses to more than its declared size, which HDF5 would allocate without a limit."""
    plan, size = array.id.get_create_plist(), math.prod(array.chunks) * array.dtype.itemsize
    filters = [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]
    if size > MAX_CHUNK_BYTES or not {*filters} <= {*FILTERS} or len({*filters}) < len(filters):
        raise CloudError(
            f'{source} has chunks of {size} bytes with the filters {filters}; up to {MAX_CHUNK_BYTES} bytes, and '
            f'{", ".join(FILTERS.values())}, each once, are read'
        )
    if DEFLATE not in filters:
        return
    chunks = []
    array.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if not chunk.filter_mask >> filters.index(DEFLATE) & 1:  # the chunk is compressed
            _, packed = array.id.read_direct_chunk(chunk.chunk_offset)
            if len(zlib.decompressobj().decompress(packed, size + 1)) > size:
                raise CloudError(f'{source} has a chunk of {len(packed)} bytes that unpacks to more than {size}')


@DATASETS.register_module()
class ModelNet40(_HDF5Clouds):
    """ModelNet40 from ``modelnet40_ply_hdf5_2048``: clouds of 2048 points of CAD shapes in 40 classes.

    The folder holds ``ply_data_train*.h5`` and ``ply_data_test*.h5`` (``data`` ``[n, 2048, 3]``, ``label`` ``[n, 1]``),
    the lists ``train_files.txt`` and ``test_files.txt``, and ``shape_names.txt``, the classes in label order. Other
    data in this layout can have any classes and number of points. For the raw meshes use :class:`PointCloudFolder`.
    Source: Wu et al., *3D ShapeNets*, CVPR 2015.

    Args:
        data_root: Folder of the files.
        split: ``'train'`` or ``'test'``.
        num_points: Points of a sample; ``None`` returns all of them.
        seed: As in :class:`PointCloudDataset`.
        source: Instructions to get the files, for the error message. Defaults to ModelNet40's address.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: A file is missing.
        CloudError: A file is damaged, has wrong keys or shapes, NaNs, too few points or unknown labels; names the file
            and the field.
        UserError: h5py is not installed.
    """

    def __init__(self, data_root: str, split: str = 'train', source: str = MODELNET40, **kwargs):
        self.source = source
        names = Path(data_root, 'shape_names.txt')
        if not names.is_file():
            raise FileNotFoundError(
                f'shape_names.txt, the classes one a line, is not in {names.parent.absolute()}. {self.source}'
            )
        kwargs.setdefault('metainfo', dict(classes=tuple(_read_names(names))))
        super().__init__(data_root, split, **kwargs)


@DATASETS.register_module()
class ShapeNetCore(_HDF5Clouds):
    """ShapeNet Core v2 in HDF5 files: clouds of 2048 points in 55 classes.

    The folder holds HDF5 files with ``data`` ``[n, 2048, 3]`` and ``label`` ``[n, 1]``, with labels in alphabetical
    order of the classes, such as the public ``shapenetcorev2_hdf5_2048`` (``train*.h5``, ``val*.h5``, ``test*.h5``: the
    official split). File lists, ``train_files.txt`` and ``test_files.txt``, define any other split, such as AtlasNet's,
    which the paper uses. Source: Chang et al., *ShapeNet*, 2015.

    Args:
        data_root: Folder of the files.
        split: ``'train'``, ``'val'`` or ``'test'``.
        num_points: Points of a sample; ``None`` returns all of them.
        seed: As in :class:`PointCloudDataset`.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: A file is missing.
        CloudError: A file is damaged, has wrong keys or shapes, NaNs, too few points or unknown labels; names the file
            and the field.
        UserError: h5py is not installed.
    """

    METAINFO = {'classes': SHAPENET_CLASSES}
    splits = ('train', 'val', 'test')
    source = 'Get shapenetcorev2_hdf5_2048 by https://github.com/antao97/PointCloudDatasets'
