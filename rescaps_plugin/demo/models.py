"""Published models of the page."""

from __future__ import annotations

import re

from rescaps_plugin import zoo
from rescaps_plugin.export.predictor import Predictor, check_device


class Models(dict[str, Predictor]):
    """Predictors by the names of published models, each loaded once, when it is first used.

    Args:
        device: Where they run. Defaults to ``'cpu'``.

    Raises:
        UserError: The device is not available.
    """

    def __init__(self, device: str = 'cpu') -> None:
        super().__init__()
        check_device(device)
        self.device = device

    def __missing__(self, name: str) -> Predictor:
        self[name] = zoo.load(name, self.device)
        return self[name]


def list_names(task: str) -> list[str]:
    """Return the names of the published models of a task; those with residual pose routing come first."""
    return sorted(zoo.list_models(task), key=lambda name: not re.search('rescaps|rpr', name))


def list_by_data(task: str) -> dict[str, list[str]]:
    """Group :func:`list_names` by data set."""
    groups: dict[str, list[str]] = {}
    for name in list_names(task):
        groups.setdefault(zoo.find(name).data, []).append(name)
    return groups
