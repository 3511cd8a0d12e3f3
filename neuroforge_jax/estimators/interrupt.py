"""Ctrl-C within a fit: the first is noted, and the training ends where nothing is lost; a second one is raised."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def note_interrupts() -> Iterator[Callable[[], bool]]:
    """What says whether Ctrl-C came. In other threads than the main one, and where the caller handles SIGINT in a
    way of its own, it changes nothing.
    """
    came = False

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal came
        if came:
            raise KeyboardInterrupt
        came = True

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield lambda: came
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
