"""Read numbers from a device without waiting for it."""

from collections.abc import Mapping
from typing import Any

import torch


class PendingScalars:
    """Numbers on their way from their device to the host.

    The copy is queued behind the work that makes the numbers, and nothing waits for it before :meth:`read`.

    Args:
        values: Numbers, or tensors of one element, on any device.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)
        self._copies: list[tuple[list[str], torch.Tensor, torch.cuda.Event | None]] = []
        names: dict[torch.device, list[str]] = {}
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                names.setdefault(value.device, []).append(name)
        for device, group in names.items():
            stacked = torch.stack([self._values.pop(name).detach().double().reshape(()) for name in group])
            # To pinned memory, as a copy that does not wait is.
            copy = stacked.to('cpu', non_blocking=True)
            event = None
            if device.type == 'cuda':
                event = torch.cuda.Event()
                event.record(torch.cuda.current_stream(device))
            self._copies.append((group, copy, event))

    def read(self) -> dict[str, float]:
        """Return the numbers, as soon as the device has made them."""
        for group, copy, event in self._copies:
            if event is not None:
                event.synchronize()
            self._values.update(zip(group, copy.tolist(), strict=True))
        self._copies.clear()
        return {name: float(value) for name, value in self._values.items()}
