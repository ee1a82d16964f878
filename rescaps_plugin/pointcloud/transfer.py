"""Transfer: a linear classifier on the latent capsules of a frozen autoencoder (Liu et al. 2024, Table XII).

Latent capsules are flattened to one vector a cloud, every entry scaled to zero mean and unit variance over the training
clouds, and classified by a linear support vector machine, one class against the rest. Its ``C`` is searched by
cross-validation among the training clouds, with stratified folds; where a class has a single cloud, there is nothing to
search by, and ``C`` is the middle one. Test clouds decide nothing.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.dataset import BaseDataset
from rich.progress import track

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.tables import recover
from rescaps_plugin.pointcloud.autoencoder import PointAutoencoder
from rescaps_plugin.pointcloud.inference import predict

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
FOLDS = 3


def extract_latents(
    model: PointAutoencoder, dataset: BaseDataset, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Encode a data set.

    Args:
        model: A trained autoencoder, in eval mode.
        dataset: Labelled clouds of one size.
        batch_size: Clouds at a time. Defaults to 32.

    Returns:
        float32 latent capsules ``[n, latent_capsules, latent_dim]`` and labels ``[n]``.
    """
    clouds = (dataset[index] for index in range(len(dataset)))
    encoded = track(predict(model, clouds, batch_size), 'Encoding', total=len(dataset), transient=True)
    samples = [sample for _, sample in encoded]
    return np.stack([sample.latent.numpy() for sample in samples]), np.array([s.gt_label.item() for s in samples])


def save_latents(path: Path, splits: dict[str, tuple[np.ndarray, np.ndarray]], classes: tuple[str, ...]) -> None:
    """Write latent capsules to HDF5: a group for each split with ``latent`` and ``label``; ``classes`` as an attribute.

    Args:
        path: The file.
        splits: Latent capsules and labels by the name of the split.
        classes: Names of the classes.
    """
    with import_extra('h5py', 'pointcloud').File(path, 'w') as file:
        file.attrs['classes'] = [recover(name) for name in classes]
        for split, (latents, labels) in splits.items():
            file[f'{split}/latent'] = latents
            file[f'{split}/label'] = labels


def load_latents(path: Path) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:
    """Read latent capsules that :func:`save_latents` wrote.

    Args:
        path: The file.

    Returns:
        Latent capsules and labels by the name of the split, and the names of the classes.

    Raises:
        UserError: There is no such file, or it is another.
    """
    if not path.is_file():
        raise UserError(f'{path}: no such file of latent capsules.')
    try:
        with import_extra('h5py', 'pointcloud').File(path) as file:
            splits = {split: (file[f'{split}/latent'][:], file[f'{split}/label'][:]) for split in ('train', 'test')}
            classes = tuple(map(str, file.attrs['classes']))
    except (KeyError, OSError) as error:
        raise UserError(
            f'{path} does not hold latent capsules as tools/transfer_svm.py writes them: {error}'
        ) from error
    for split, (latents, labels) in splits.items():
        if len(latents) != len(labels) or not len(labels) or not 0 <= labels.min() <= labels.max() < len(classes):
            raise UserError(
                f'{path}: {split} has {len(latents)} latents and {len(labels)} labels, which have to be as many and '
                f'below the number of classes, {len(classes)}.'
            )
    return splits, classes


def draw_fraction(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Draw a fraction of every class, rounded up: one cloud at least.

    Args:
        labels: Labels ``[n]``.
        fraction: In (0, 1].
        seed: Seed of the draw. A larger fraction of the same seed holds the smaller one.

    Returns:
        Indices of the clouds drawn, ascending.
    """
    order = np.random.RandomState(seed).permutation(len(labels))
    chosen = []
    for label in np.unique(labels):
        members = order[labels[order] == label]
        # Rounded first: 0.05 of 20 is 1.0000000000000002.
        chosen.append(members[: int(np.ceil(round(fraction * len(members), 6)))])
    return np.sort(np.concatenate(chosen))


def fit_svm(features: np.ndarray, labels: np.ndarray, seed: int) -> tuple[Pipeline, float]:
    """Fit the scaling and the support vector machine.

    Args:
        features: Features ``[n, d]``.
        labels: Labels ``[n]``.
        seed: Seed of the folds and of the solver.

    Returns:
        The classifier, and the ``C`` that was chosen.

    Raises:
        UserError: scikit-learn is not installed, or there is only one class.
    """
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    if len(counts) < 2:
        raise UserError(f'transfer needs two classes or more, the training clouds are all of class {labels[0]}')
    import_extra('sklearn', 'pointcloud')
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    svm = LinearSVC(dual='auto', tol=1e-3, max_iter=5000, random_state=seed)
    classifier = Pipeline([('scale', StandardScaler()), ('svm', svm)])
    folds = min(FOLDS, counts.min())
    if folds < 2:
        penalty = PENALTIES[len(PENALTIES) // 2]
        return classifier.set_params(svm__C=penalty).fit(features, labels), penalty
    search = GridSearchCV(
        classifier,
        {'svm__C': PENALTIES},
        cv=StratifiedKFold(folds, shuffle=True, random_state=seed),
    )
    with warnings.catch_warnings():
        # With a large C the solver can stop short of its tolerance; cross-validation judges what it has found.
        warnings.simplefilter('ignore', ConvergenceWarning)
        search.fit(features, labels)
    return search.best_estimator_, search.best_params_['svm__C']
