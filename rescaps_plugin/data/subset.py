"""Subsets of data sets."""


def evenly_spaced(count: int, limit: int | None) -> list[int]:
    """Return evenly spaced indices.

    Args:
        count: Number of samples.
        limit: Maximum number of indices; None for all.

    Returns:
        All indices below ``count``, or ``limit`` of them at even distances, from 0 on.
    """
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]
