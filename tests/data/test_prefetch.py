"""Reading ahead in a thread: order, bounds, errors and a prompt end."""

import gc
import threading
import time

import pytest

from neuroforge_jax.data.prefetch import Prefetcher


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def wait_for(condition) -> bool:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def counting(made, stop_at=10**9):
    for number in range(stop_at):
        made.append(number)
        yield number


def test_the_items_come_in_their_order_and_end():
    reader = Prefetcher(iter(range(5)), depth=8)
    assert list(reader) == [0, 1, 2, 3, 4]
    assert list(reader) == []


def test_no_more_than_depth_items_count_until_one_is_released():
    made: list[int] = []
    reader = Prefetcher(counting(made), depth=3)
    assert wait_for(lambda: len(made) == 3)
    assert next(reader) == 0
    time.sleep(0.05)
    assert len(made) == 3, "taking an item is not being done with it"
    reader.release()
    assert wait_for(lambda: len(made) == 4)
    reader.close()


def test_an_error_in_the_thread_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("the disk went away")

    reader = Prefetcher(items(), depth=4)
    assert next(reader) == 1
    with pytest.raises(ValueError, match="the disk went away"):
        next(reader)
    with pytest.raises(StopIteration):
        next(reader)
    assert wait_for(lambda: not prefetch_threads())


def test_closing_stops_a_thread_that_waits_for_room():
    reader = Prefetcher(counting([]), depth=1)
    begun = time.monotonic()
    reader.close()
    assert time.monotonic() - begun < 2
    assert not prefetch_threads()
    with pytest.raises(StopIteration):
        next(reader)


def test_losing_the_last_reference_stops_the_thread():
    reader = Prefetcher(counting([]), depth=2)
    assert prefetch_threads()
    del reader
    gc.collect()
    assert wait_for(lambda: not prefetch_threads())
