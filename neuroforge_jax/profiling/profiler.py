"""A function measured on its own: its first call, then many, with all that the device had to do waited for.

profiler = PerformanceProfiler()
profiler.measure("forward_pass", parts.forward, params, inputs)
print(profiler.analyze())
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np

Result = TypeVar("Result")

MEASURED_SECONDS = 0.3
MOST_REPETITIONS = 1000
FEWEST_REPETITIONS = 5


@dataclass(frozen=True)
class Measurement:
    """first_seconds: of the first call, which may compile. seconds: of each call after it. flops, bytes_moved: of a
    call, as XLA counts them; None where it does not.
    """

    name: str
    first_seconds: float
    seconds: tuple[float, ...]
    flops: float | None
    bytes_moved: float | None

    @property
    def median(self) -> float:
        """Seconds."""
        return float(np.median(self.seconds))


class PerformanceProfiler:
    """Measures functions by name, and shows them side by side."""

    def __init__(self) -> None:
        self.measurements: dict[str, Measurement] = {}

    def measure(self, name: str, work: Callable[..., Result], *args: Any) -> Result:
        """Call `work(*args)` for about 0.3 s, at least six times, and return its result.

        Each call is waited for. The arguments are used again and again, so that nothing may be donated. A function
        that `jax.jit` made is also asked for its operations and bytes.
        """
        begun = time.perf_counter()
        result = jax.block_until_ready(work(*args))
        first = time.perf_counter() - begun
        seconds: list[float] = []
        while len(seconds) < FEWEST_REPETITIONS or (
            sum(seconds) < MEASURED_SECONDS and len(seconds) < MOST_REPETITIONS
        ):
            begun = time.perf_counter()
            jax.block_until_ready(work(*args))
            seconds.append(time.perf_counter() - begun)
        cost = _cost(work, args)
        self.measurements[name] = Measurement(
            name, first, tuple(seconds), cost.get("flops"), cost.get("bytes accessed")
        )
        return result

    def analyze(self) -> str:
        """A table of 79 columns: first call, median, p95, minimum, FLOP/s, calls, share of the sum of medians."""
        total = sum(measurement.median for measurement in self.measurements.values()) or 1.0
        lines = [
            f"{'function':<20}{'first':>9}{'median':>9}{'p95':>9}{'minimum':>9}{'FLOP/s':>9}{'calls':>7}{'share':>7}"
        ]
        for one in self.measurements.values():
            p95 = float(np.percentile(one.seconds, 95))
            times = "".join(f"{_short(t):>9}" for t in (one.first_seconds, one.median, p95, min(one.seconds)))
            rate = "–" if one.flops is None else _rate(one.flops / one.median)
            share = one.median / total
            lines.append(f"{one.name[:19]:<20}{times}{rate:>9}{len(one.seconds):>7,}{share:>7.0%}")
        return "\n".join(lines)


def _cost(work: Callable[..., Any], args: tuple[Any, ...]) -> dict[str, float]:
    """What XLA counts of a jitted function; nothing of another."""
    lower = getattr(work, "lower", None)
    if lower is None:
        return {}
    counted = lower(*args).compile().cost_analysis() or {}
    return {name: float(value) for name, value in counted.items() if value > 0}


def _short(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _rate(flops: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if flops >= size:
            return f"{flops / size:.3g} {unit}"
    return f"{flops:.3g}"
