"""Statistics of measurements."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch


def growth(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Fit the exponent ``e`` of ``cost ~ size^e``: the slope of a line through the logarithms by least squares."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def summarise(values: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Summarise the repeats of one quantity.

    Args:
        values: Measurements, one a round.
        reference: The same of the reference; empty if it has none.

    Returns:
        ``median`` and quartiles ``low`` and ``high``, and as ``ratio`` those of the values over the reference's of the
        same round (None where the reference has none, or 0).
    """
    ratios = [value / base for value, base in zip(values, reference, strict=False) if base]
    return {**_quartiles(values), 'ratio': _quartiles(ratios) if ratios else None, 'repeats': list(values)}


def _quartiles(values: Sequence[float]) -> dict[str, float]:
    quantiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, median, high = torch.tensor(values, dtype=torch.float64).quantile(quantiles).tolist()
    return {'median': median, 'low': low, 'high': high}
