"""Subsets of data sets."""


def spread(count: int, limit: int | None) -> list[int]:
    """Return all indices below ``count``, or ``limit`` of them at even distances."""
    if limit is None or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]
