"""Where the time of a run goes: spans with names, timed on the host."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class PerformanceMonitor:
    """Sums the seconds of named spans; a name may be tracked any number of times.

        monitor = PerformanceMonitor()
        with monitor.track("epoch"):
            ...
        monitor.seconds["epoch"]

    A span is the host's time: it holds the device's work only where something in it waits for the device.
    """

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def track(self, name: str) -> Iterator[None]:
        """Time what is done inside, errors included."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - begun

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds by name in the order of their first use, then those outside of every span as `other`."""
        total = time.perf_counter() - self._begun
        return {**self._seconds, "other": max(total - sum(self._seconds.values()), 0.0)}
