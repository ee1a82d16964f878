"""ModelNet40 and ShapeNet Core as clouds in HDF5 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmengine.registry import DATASETS

from rescaps_plugin.engine.extras import import_extra
from rescaps_plugin.pointcloud.datasets.base import PointCloudDataset
from rescaps_plugin.pointcloud.files import CloudError, check_finite, choose_points

SHAPENET_CLASSES = (
    'airplane', 'bag', 'basket', 'bathtub', 'bed', 'bench', 'birdhouse', 'bookshelf', 'bottle', 'bowl', 'bus',
    'cabinet', 'camera', 'can', 'cap', 'car', 'cellphone', 'chair', 'clock', 'dishwasher', 'earphone', 'faucet', 'file',
    'guitar', 'helmet', 'jar', 'keyboard', 'knife', 'lamp', 'laptop', 'mailbox', 'microphone', 'microwave', 'monitor',
    'motorcycle', 'mug', 'piano', 'pillow', 'pistol', 'pot', 'printer', 'remote_control', 'rifle', 'rocket',
    'skateboard', 'sofa', 'speaker', 'stove', 'table', 'telephone', 'tin_can', 'tower', 'train', 'vessel', 'washer',
)  # fmt: skip


class _HDF5Clouds(PointCloudDataset):
    """Clouds in HDF5 files of ``data`` ``[n, p, 3]`` and ``label`` ``[n, 1]`` or ``[n]``.

    The files of a split are those that ``<split>_files.txt`` lists, one a line, of which the last part of a path
    counts; without such a list, those named ``*<split>*.h5``.
    """

    source = ''

    def load_labels(self) -> np.ndarray:
        """Load all clouds of the split, and give their labels ``[n]``."""
        files = self._find_files()
        clouds, labels = zip(*map(self._read, files), strict=True)
        sizes = {cloud.shape[1] for cloud in clouds}
        if len(sizes) > 1:
            raise CloudError(f'{self.data_root}: data: files of {self.split} have clouds of {sorted(sizes)} points')
        self.clouds = np.concatenate(clouds)
        return np.concatenate(labels)

    def load_points(self, index: int, random: np.random.RandomState) -> np.ndarray:
        """Draw the points of a cloud, or take all of them in their order."""
        return choose_points(self.clouds[index], self.num_points, random, self.describe(index))

    def _find_files(self) -> list[Path]:
        root = Path(self.data_root)
        listing = root / f'{self.split}_files.txt'
        if listing.is_file():
            files = [root / Path(line).name for line in listing.read_text().split('\n') if line.strip()]
        else:
            files = sorted(root.glob(f'*{self.split}*.h5'))
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
                    raise CloudError(f'{path}: expected the keys data and label, found {list(file)}')
                points, labels = file['data'][()], file['label'][()]
        except CloudError:
            raise
        except Exception as error:  # damage can fail h5py in any way
            raise CloudError(f'{path}: truncated or no HDF5 file ({error}); get it again') from error
        if points.ndim != 3 or points.shape[2] != 3 or points.dtype.kind != 'f':
            raise CloudError(f'{path}: data must be floats [n, points, 3], found {points.dtype} {list(points.shape)}')
        count = len(points)
        if labels.shape not in ((count, 1), (count,)) or labels.dtype.kind not in 'iu':
            raise CloudError(
                f'{path}: label must be integers [{count}, 1] or [{count}], found {labels.dtype} {list(labels.shape)}'
            )
        if self.num_points is not None and points.shape[1] < self.num_points:
            raise CloudError(
                f'{path}: data: {self.num_points} points were asked for (num_points), its clouds have {points.shape[1]}'
            )
        check_finite(points, f'{path}: data')
        self.check_labels(labels, f'{path}: label')
        return points.astype(np.float32, copy=False), labels.reshape(-1)


@DATASETS.register_module()
class ModelNet40(_HDF5Clouds):
    """ModelNet40 as ``modelnet40_ply_hdf5_2048``: clouds of 2048 points of 40 classes of CAD shapes, or data like it.

    The folder holds ``ply_data_train*.h5`` and ``ply_data_test*.h5`` (``data`` ``[n, 2048, 3]``, ``label`` ``[n, 1]``),
    the lists ``train_files.txt`` and ``test_files.txt``, and ``shape_names.txt``, the classes in the order of labels.
    The raw meshes are read by :class:`PointCloudFolder`. Source: Wu et al., *3D ShapeNets*, CVPR 2015.

    Args:
        data_root: Folder of the files.
        split: ``'train'`` or ``'test'``.
        num_points: Points of a sample; ``None`` is all of them.
        seed: As in :class:`PointCloudDataset`.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: A file is missing.
        CloudError: A file is damaged, of other keys or shapes, or holds NaNs, too few points or unknown labels; names
            the file and the field.
        UserError: h5py is not installed.
    """

    source = 'Get it from https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip'

    def __init__(self, data_root: str, split: str = 'train', **kwargs):
        names = Path(data_root, 'shape_names.txt')
        if not names.is_file():
            raise FileNotFoundError(
                f'shape_names.txt, the classes one a line, is not in {names.parent.absolute()}. {self.source}'
            )
        kwargs.setdefault('metainfo', dict(classes=tuple(names.read_text().split())))
        super().__init__(data_root, split, **kwargs)


@DATASETS.register_module()
class ShapeNetCore(_HDF5Clouds):
    """ShapeNet Core v2 as HDF5: clouds of 2048 points of 55 classes.

    The folder holds HDF5 files of ``data`` ``[n, 2048, 3]`` and ``label`` ``[n, 1]``, labels in the alphabetical order
    of classes, as the public ``shapenetcorev2_hdf5_2048`` does (``train*.h5``, ``val*.h5``, ``test*.h5``: the official
    split). Lists of files, ``train_files.txt`` and ``test_files.txt``, make any other split, such as AtlasNet's, which
    the paper uses. Source: Chang et al., *ShapeNet*, 2015.

    Args:
        data_root: Folder of the files.
        split: ``'train'``, ``'val'`` or ``'test'``.
        num_points: Points of a sample; ``None`` is all of them.
        seed: As in :class:`PointCloudDataset`.
        **kwargs: Other arguments of :class:`mmengine.dataset.BaseDataset`, such as ``pipeline``.

    Raises:
        FileNotFoundError: A file is missing.
        CloudError: A file is damaged, of other keys or shapes, or holds NaNs, too few points or unknown labels; names
            the file and the field.
        UserError: h5py is not installed.
    """

    METAINFO = {'classes': SHAPENET_CLASSES}
    splits = ('train', 'val', 'test')
    source = 'Get shapenetcorev2_hdf5_2048 by https://github.com/antao97/PointCloudDatasets'
