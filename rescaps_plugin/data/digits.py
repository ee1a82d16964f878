"""scikit-learn's handwritten digits with a fixed split."""

import numpy as np

from rescaps_plugin.cli.extras import import_extra


def load_digits(split: str, extra: str) -> tuple[np.ndarray, np.ndarray]:
    """Load the 8x8 digits of a split.

    scikit-learn has no official split. This one has 1,437 training and 360 test digits, stratified by class, drawn by
    :func:`sklearn.model_selection.train_test_split` with ``test_size=0.2`` and ``random_state=0``.

    Args:
        split: ``'train'`` or ``'test'``.
        extra: Extra of this project that installs scikit-learn, for the error message.

    Returns:
        Grey levels 0 to 16 ``[n, 8, 8]`` and labels ``[n]``.

    Raises:
        UserError: scikit-learn is not installed.
    """
    # Imported here because it takes half a second.
    digits = import_extra('sklearn.datasets', extra).load_digits()
    train, test = import_extra('sklearn.model_selection', extra).train_test_split(
        np.arange(len(digits.target)), test_size=0.2, stratify=digits.target, random_state=0
    )
    members = np.sort(train if split == 'train' else test)
    return digits.images[members], digits.target[members]
