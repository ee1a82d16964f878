"""Generators that run ahead of their consumer in threads."""

import threading
import time
from contextlib import closing

import pytest

from rescaps_plugin.data.prefetch import prefetch


def test_items_and_order():
    assert [*prefetch((number for number in range(20)), 3)] == [*range(20)]
    assert [*prefetch((number for number in ()), 3)] == []
    # None is an item like others; stages can follow one another.
    assert [*prefetch((each for each in prefetch((each for each in (1, None, 2)), 1)), 2)] == [1, None, 2]


def test_stages_overlap():
    """A stage continues while its consumer waits for it to be further on than one item."""
    reached = threading.Event()

    def count():
        for number in range(4):
            if number == 3:
                reached.set()
            yield number

    items = prefetch(count(), 3)
    assert next(items) == 0
    assert reached.wait(10)
    assert [*items] == [1, 2, 3]


@pytest.mark.parametrize('size', [1, 3])
def test_few_items_wait(size):
    made = []

    def count():
        for number in range(50):
            made.append(number)
            yield number

    for taken, _ in enumerate(prefetch(count(), size), 1):
        time.sleep(0.002)
        assert len(made) <= taken + size
    assert len(made) == 50


def test_an_error_is_raised_after_the_items_before_it():
    def fail():
        yield 1
        raise ValueError('broken')

    items, taken = prefetch(fail(), 5), []
    with pytest.raises(ValueError, match='broken'):
        for item in items:
            taken.append(item)
    assert taken == [1]


@pytest.mark.parametrize('error', [None, KeyboardInterrupt])
def test_a_consumer_that_ends_early_closes_all_stages(error):
    closed, threads = [], threading.active_count()

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread())

    def stage(items):
        with closing(items):
            yield from items

    def consume():
        with closing(prefetch(stage(prefetch(source(), 2)), 2)) as items:
            for _ in items:
                if error is not None:
                    raise error
                return

    if error is None:
        consume()
    else:
        with pytest.raises(error):
            consume()
    assert len(closed) == 1 and closed[0] is not threading.main_thread()
    assert threading.active_count() == threads
