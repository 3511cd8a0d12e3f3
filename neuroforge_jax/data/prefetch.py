"""Reading ahead: an iterator that runs in a thread of its own, some items before its reader."""

import queue
import threading
import weakref
from collections.abc import Iterator
from contextvars import copy_context
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

JOIN_SECONDS = 5.0
"""How long `close` waits for an item that is just being made; the thread ends with the process at the latest."""


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class _End:
    pass


class Prefetcher(Generic[T]):
    """Iterates over `items` in a thread. An item counts from its making until `release`, and never more than
    `depth` of them count: so an iterator may write its items into that many buffers, in turn.

    An exception in the thread is raised by `next`, after the items made before it. `close` stops the thread;
    so does losing the last reference, and the end of the process.
    """

    def __init__(self, items: Iterator[T], depth: int) -> None:
        self._made: queue.Queue[T | _Failure | _End] = queue.Queue()
        self._room = threading.Semaphore(depth)
        stop = threading.Event()
        # The thread does not know this object, or the last reference to it would never be lost.
        thread = threading.Thread(
            target=copy_context().run,
            args=(_make, items, self._made, self._room, stop),
            name="prefetch",
            daemon=True,
        )
        self._stop = weakref.finalize(self, _stop, thread, self._room, stop)
        self._over = False
        thread.start()

    def __iter__(self) -> "Prefetcher[T]":
        return self

    def __next__(self) -> T:
        item = _End() if self._over else self._made.get()
        if isinstance(item, _Failure | _End):
            self._over = True
            raise item.error if isinstance(item, _Failure) else StopIteration
        return item

    def release(self) -> None:
        """The oldest item that counts is done with, and its buffer may be written again."""
        self._room.release()

    def close(self) -> None:
        """Stop the thread and wait for it. What was made and not taken is lost."""
        self._over = True
        self._stop()


def _make(
    items: Iterator[T],
    made: "queue.Queue[T | _Failure | _End]",
    room: threading.Semaphore,
    stop: threading.Event,
) -> None:
    try:
        while room.acquire() and not stop.is_set():
            made.put(next(items))
    except StopIteration:
        made.put(_End())
    except BaseException as error:
        made.put(_Failure(error))


def _stop(thread: threading.Thread, room: threading.Semaphore, stop: threading.Event) -> None:
    stop.set()
    room.release()
    if thread is not threading.current_thread():
        thread.join(JOIN_SECONDS)
