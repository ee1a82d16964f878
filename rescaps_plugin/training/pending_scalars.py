"""Read numbers from a device without waiting for it."""

from collections.abc import Mapping
from typing import Any

import torch


class PendingScalars:
    """Numbers that are copied asynchronously from their device to the host.

    The copy is queued after the operations that compute the numbers, and only :meth:`read` waits for it.

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
            # To pinned memory, like a non-blocking copy.
            copy = stacked.to('cpu', non_blocking=True)
            event = None
            if device.type == 'cuda':
                event = torch.cuda.Event()
                event.record(torch.cuda.current_stream(device))
            self._copies.append((group, copy, event))

    def read(self) -> dict[str, float]:
        """Wait for the device and return the numbers."""
        for group, copy, event in self._copies:
            if event is not None:
                event.synchronize()
            self._values.update(zip(group, copy.tolist(), strict=True))
        self._copies.clear()
        return {name: float(value) for name, value in self._values.items()}
