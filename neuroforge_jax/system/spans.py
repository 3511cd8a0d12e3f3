"""Where the time of a run goes: spans with names, nested, timed on the host.

monitor = PerformanceMonitor()
with monitor.track("epoch"):
with monitor.track("step") as span:
state, metrics = run(state, 0, 100)
span.wait_for(state)  # else the device's work is in the span that reads its result
print(monitor.report())
"""

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

BUCKETS_PER_DOUBLING = 8
"""Of a histogram of durations: a percentile is right to a sixteenth of a doubling, 4.4 %, for any count."""

INDENT = 2


@dataclass
class Node:
    """What is known of a span of this name at this place. buckets: how many lasted about 2^(index ÷ 8) seconds."""

    count: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict)
    children: dict[str, "Node"] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """One span more."""
        self.count += 1
        self.seconds += seconds
        self.longest = max(self.longest, seconds)
        index = math.floor(BUCKETS_PER_DOUBLING * math.log2(max(seconds, 1e-9)) + 0.5)
        self.buckets[index] = self.buckets.get(index, 0) + 1

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the spans ended, to 4.4 %; 0 where there was none."""
        left = share * self.count
        for index in sorted(self.buckets):
            left -= self.buckets[index]
            if left <= 0:
                return min(2.0 ** (index / BUCKETS_PER_DOUBLING), self.longest)
        return self.longest


class Span:
    """A span that lasts: `wait_for` names what the device must have done before it ends."""

    awaited: Any = None

    def wait_for(self, *arrays: Any) -> None:
        """Arrays, or trees of them, that the span's work is to make."""
        self.awaited = arrays


class PerformanceMonitor:
    """Times nested spans: the count of each name at each place, and its durations as a histogram.

    Each thread has a tree of spans of its own, named after the thread. A span is the time of the host: it holds the
    device's work only where something in it waits for the device, or where `wait_for` names the arrays to wait for.
    With `enabled=False` nothing is timed, and nothing is waited for.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self._begun = time.perf_counter()
        self._lock = threading.Lock()
        self._owner = threading.get_ident()
        self._root = Node()
        self._stacks = threading.local()

    @contextmanager
    def track(self, name: str) -> Iterator[Span]:
        """Time the block, also where it raises; the span that it yields has `wait_for(*arrays)`."""
        span = Span()
        if not self.enabled:
            yield span
            return
        stack = self._stack()
        with self._lock:
            node = stack[-1].children.setdefault(name, Node())
        stack.append(node)
        begun = time.perf_counter()
        try:
            yield span
            if span.awaited is not None:
                import jax  # a monitor of something else needs none

                jax.block_until_ready(span.awaited)
        finally:
            seconds = time.perf_counter() - begun
            stack.pop()
            with self._lock:
                node.add(seconds)

    @contextmanager
    def listening(self) -> Iterator["PerformanceMonitor"]:
        """Until this ends, `span` tracks here: in this thread, and in threads that copy its context."""
        token = _LISTENING.set(self)
        try:
            yield self
        finally:
            _LISTENING.reset(token)

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds of the outermost spans by name, in the order of their first use, and the rest as `other`."""
        total = time.perf_counter() - self._begun
        with self._lock:
            spent = {name: node.seconds for name, node in self._root.children.items() if node.count}
        return {**spent, "other": max(total - sum(spent.values()), 0.0)}

    def rows(self) -> list[dict[str, Any]]:
        """The tree from the top, a row for each span: name, depth, count, and in seconds the total, mean, p50, p95
        and p99; share is that of the time since the monitor was made.
        """
        total = max(time.perf_counter() - self._begun, 1e-12)
        with self._lock:
            return [
                {
                    "name": name,
                    "depth": depth,
                    "count": node.count,
                    "seconds": node.seconds,
                    "mean": node.seconds / node.count if node.count else 0.0,
                    "p50": node.percentile(0.50),
                    "p95": node.percentile(0.95),
                    "p99": node.percentile(0.99),
                    "share": node.seconds / total,
                }
                for depth, name, node in _walk(self._root, 0)
            ]

    def report(self) -> str:
        """The tree as a table of 79 columns."""
        lines = [f"{'span':<25}{'count':>8}{'total':>10}{'mean':>9}{'p50':>9}{'p95':>9}{'share':>8}"]
        for row in self.rows():
            name = f"{' ' * INDENT * row['depth']}{row['name']}"[:24]
            if not row["count"]:  # a thread, which is no span itself
                lines.append(name)
                continue
            times = "".join(f"{_short(row[key]):>9}" for key in ("mean", "p50", "p95"))
            lines.append(
                f"{name:<25}{row['count']:>8,}{_short(row['seconds']):>10}{times}{row['share']:>8.1%}"
            )
        return "\n".join(lines)

    def _stack(self) -> list[Node]:
        if not hasattr(self._stacks, "nodes"):
            root = self._root
            if threading.get_ident() != self._owner:
                with self._lock:
                    root = root.children.setdefault(f"thread {threading.current_thread().name}", Node())
            self._stacks.nodes = [root]
        nodes: list[Node] = self._stacks.nodes
        return nodes


_LISTENING: ContextVar[PerformanceMonitor | None] = ContextVar("monitor", default=None)


def span(name: str) -> AbstractContextManager[Span]:
    """A span of the monitor that listens, for rooms that are not handed one; where none does, nothing is timed."""
    monitor = _LISTENING.get()
    return nullcontext(Span()) if monitor is None else monitor.track(name)


def _walk(node: Node, depth: int) -> Iterator[tuple[int, str, Node]]:
    for name, child in node.children.items():
        yield depth, name, child
        yield from _walk(child, depth + 1)


def _short(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
