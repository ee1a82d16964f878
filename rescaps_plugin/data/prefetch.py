"""Overlap the stages of a pipeline, each of which is a generator, in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar('Item')


def prefetch(items: Generator[Item, None, None], size: int) -> Generator[Item, None, None]:
    """Run a generator in a thread, ahead of its consumer.

    The gain depends on work that releases the GIL, such as decoding, networks and encoding. An error of the generator
    is raised where its item would be consumed. When the consumer ends early, by :meth:`close` or an error, the
    generator is closed in its thread, after the item that it is computing.

    Args:
        items: The generator.
        size: Maximum number of items ahead of the consumer.

    Yields:
        The items, in their order.
    """
    end = object()
    with ThreadPoolExecutor(1) as thread:
        ahead = deque(thread.submit(next, items, end) for _ in range(size))
        try:
            while (item := ahead.popleft().result()) is not end:
                ahead.append(thread.submit(next, items, end))
                yield item
        finally:
            for future in ahead:
                future.cancel()
            thread.submit(items.close).result()
