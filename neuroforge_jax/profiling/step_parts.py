"""A step taken apart: the time of data, forward pass, backward pass and optimizer, within the run's own program.

A few steps of the very program that trains are traced, and each operation is attributed to a part by what the
compiled program says of it (`hlo.py`). What is left of the step is time in which no operation ran: the host, the
dispatch, the loop. So the rows add up to the step.

To record an operation takes a fraction of a microsecond, which is much for a small network. What a traced step
takes longer than others is therefore taken off all its operations alike, and off none more than the shortest of
them took.

Eager execution has no program of a step. There the parts are timed on the host, each waited for.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jax

from neuroforge_jax.backends.executors.base import CompiledRun, Run
from neuroforge_jax.config import TrainConfig
from neuroforge_jax.data.types import Dataset
from neuroforge_jax.job.job import Job
from neuroforge_jax.profiling import trace
from neuroforge_jax.profiling.hlo import PASSES
from neuroforge_jax.profiling.trace import Operation
from neuroforge_jax.system.spans import PerformanceMonitor, span

LOOKS = 5
"""At a run, with a trace and without. The fastest of each counts: other work on the machine only slows a run."""

SECONDS_OF_A_LOOK = 0.1

MOST_STEPS = 200
"""Of a look: an operation is an event of the trace, and small networks have forty of them in a step."""

WARM_UP_STEPS = 10

MIXED_BOUND = 0.1
"""Of a step: where more of it is in operations of both passes, the passes are one row."""

HIDDEN_BOUND = 0.1
"""Of a step: where more of it is in work that names no operation, the parts cannot be told."""

FEWEST_COVERED = 0.25
"""Of a step on an accelerator: where operations cover less, it does other work than the trace shows."""

SLOWER_BOUND = 0.05
"""Of a step: a difference between the rows and an untraced step that is worth a line."""

ROWS = ("data", "forward", "backward", "forward_and_backward", "optimizer", "other", "between_operations")
LABELS = {"forward_and_backward": "forward + backward", "between_operations": "between operations"}

GRAPHS = (
    "the device replays steps as graphs, whose operations no trace shows; "
    "XLA_FLAGS=--xla_gpu_enable_command_buffer= does without them"
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class StepParts:
    """Where the time of a training step goes.

    seconds: by row, of ROWS those that can be told; `forward_and_backward` stands for the two where operations hold
    both; none where nothing can be told, and `reason` says why. step_seconds: of a step that nothing looked
    at; measured_seconds: of one that was, less what the recording took, to which the rows add up. steps: how many
    were, and method: how.
    """

    seconds: Mapping[str, float]
    step_seconds: float
    measured_seconds: float
    steps: int
    method: str
    reason: str = ""

    @property
    def shares(self) -> Mapping[str, float]:
        """Of the measured step, by row."""
        return {row: seconds / self.measured_seconds for row, seconds in self.seconds.items()}

    def record(self) -> dict[str, Any]:
        """Seconds by row for programs, None where they cannot be told."""
        rows = {row: self.seconds.get(row) for row in ROWS}
        rest = {
            "step_seconds": self.step_seconds,
            "measured_seconds": self.measured_seconds,
            "steps": self.steps,
            "reason": self.reason,
        }
        return rows | rest

    def __str__(self) -> str:
        """A table of at most 80 columns."""
        begin = f"a step of {_microseconds(self.step_seconds)} in parts"
        if self.reason:
            return f"{begin} cannot be told: {self.reason}"
        lines = [f"{begin} ({self.steps:,} steps {self.method})"]
        for row, share in self.shares.items():
            lines.append(f"  {LABELS.get(row, row):<20}{_microseconds(self.seconds[row]):>12}{share:>8.1%}")
        if abs(self.measured_seconds - self.step_seconds) > SLOWER_BOUND * self.step_seconds:
            measured = _microseconds(self.measured_seconds)
            lines.append(f"  while it was measured a step took {measured}; the shares are of that")
        return "\n".join(lines)


def step_parts(config: TrainConfig, dataset: Dataset) -> StepParts:
    """Compile a training, train some steps of a state of its own, and take a step apart.

    `print(step_parts(config, dataset))` shows a table. Raises what `prepare` raises.
    """
    job = Job.build(config, dataset)
    return take_apart(job, job.compile())


def take_apart(job: Job, run: Run) -> StepParts:
    """The parts of a step of this run, from a state of its own; takes a second or two."""
    if isinstance(run, CompiledRun):
        return _by_trace(job, run)
    return _by_host(job, run)


def _by_trace(job: Job, run: CompiledRun) -> StepParts:
    stopwatch = _Stopwatch(run, job)
    step, traced = stopwatch.fastest(), {}  # by look
    with tempfile.TemporaryDirectory() as folder:
        with trace.record(Path(folder)):
            for look in (f"look {index}" for index in range(LOOKS)):
                with jax.profiler.TraceAnnotation(look):
                    traced[look] = stopwatch.seconds()
        fastest = min(traced, key=lambda look: traced[look])
        found = trace.operations(Path(folder), run.programs, within=fastest)
    parts = attribute_step(found, stopwatch.steps, step=step, traced=traced[fastest])
    reason = why_untold(parts, found, job.device.platform)
    return replace(parts, seconds={}, reason=reason) if reason else parts


def attribute_step(found: list[Operation], steps: int, *, step: float, traced: float) -> StepParts:
    """The parts of a step from the operations of a trace of `steps` steps. step, traced: seconds of a step."""
    cost = recording_cost(found, steps, step=step, traced=traced)
    spent = dict.fromkeys(ROWS, 0.0)
    mixed = 0.0
    for operation in found:
        seconds = (operation.seconds - cost * operation.count) / steps
        spent[operation.part or "other"] += seconds
        mixed += seconds if operation.mixed else 0.0
    measured = traced - cost * sum(operation.count for operation in found) / steps
    spent["between_operations"] = max(measured - sum(spent.values()), 0.0)
    if mixed > MIXED_BOUND * measured:
        spent["forward_and_backward"] = sum(spent.pop(name) for name in PASSES)
    else:
        del spent["forward_and_backward"]
    return StepParts(spent, step, measured, steps, "of the run's own program, traced")


def recording_cost(found: list[Operation], steps: int, *, step: float, traced: float) -> float:
    """Seconds that it took to record one run of an operation: what a step took longer, over its operations; at
    most what the shortest operation took on average.
    """
    runs = sum(operation.count for operation in found)
    if not runs:
        return 0.0
    shortest = min(operation.seconds / operation.count for operation in found)
    return min(max(traced - step, 0.0) * steps / runs, shortest)


def why_untold(parts: StepParts, found: list[Operation], platform: str) -> str:
    """Why these operations do not tell the parts of a step; "" where they do."""
    if not found:
        return "its trace holds no operation"
    hidden = sum(operation.seconds for operation in found if not operation.part) / parts.steps
    if hidden > HIDDEN_BOUND * parts.measured_seconds:
        return GRAPHS
    covered = 1 - parts.shares["between_operations"]
    # A CPU hides nothing: what its operations do not cover is the dispatch by Python.
    if platform != "cpu" and covered < FEWEST_COVERED:
        return f"the operations of its trace cover {covered:.0%} of it"
    return ""


def _by_host(job: Job, run: Run) -> StepParts:
    """Of eager execution: its own parts, each waited for. Within `backward` the passes cannot be told apart."""
    stopwatch = _Stopwatch(run, job)
    step = stopwatch.fastest()
    parts = replace(
        job.parts,
        backward=_wait_after("forward_and_backward", job.parts.backward),
        optimize=_wait_after("optimizer", job.parts.optimize),
    )
    stopwatch.run, looks = job.compile(parts), []
    for _ in range(LOOKS):
        with PerformanceMonitor().listening() as monitor:
            looks.append((stopwatch.seconds(), monitor))
    measured, monitor = min(looks, key=lambda look: look[0])
    spent = {row["name"]: row["seconds"] / stopwatch.steps for row in monitor.rows() if row["depth"] == 0}
    seconds = {
        "data": spent["data"] + spent["transfer"],
        "forward_and_backward": spent["forward_and_backward"],
        "optimizer": spent["optimizer"],
        "other": max(measured - sum(spent.values()), 0.0),
    }
    return StepParts(seconds, step, measured, stopwatch.steps, "on the host, each part waited for")


def _wait_after(name: str, work: Callable[..., Result]) -> Callable[..., Result]:
    """The same, in a span that ends when the device has done it."""

    def timed(*args: Any) -> Result:
        with span(name) as around:
            result = work(*args)
            around.wait_for(result)
        return result

    return timed


class _Stopwatch:
    """Trains the first `steps` steps of a run again and again, from a state of its own."""

    def __init__(self, run: Run, job: Job) -> None:
        self.run, self._state = run, job.start()
        self.steps = min(WARM_UP_STEPS, job.training.steps)
        self.seconds()  # pays for what happens once
        wanted = round(SECONDS_OF_A_LOOK / self.seconds())
        self.steps = max(1, min(wanted, MOST_STEPS, job.training.steps))

    def fastest(self) -> float:
        """Seconds of a step in the fastest of some calls."""
        return min(self.seconds() for _ in range(LOOKS))

    def seconds(self) -> float:
        """Seconds of a step, over one call of the run."""
        begun = time.perf_counter()
        state, metrics = self.run(self._state, 0, self.steps)
        self._state, _ = jax.block_until_ready((state, metrics.chunks))
        return (time.perf_counter() - begun) / self.steps


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:,.0f} µs" if seconds >= 1e-5 else f"{1e6 * seconds:,.1f} µs"
