"""What a run shows of itself when asked: a trace of some steps, where the memory is, where the time went.

Each writes what it measured into `measured`, which the last of them saves where `--benchmark-output` says.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax

from neuroforge_jax.backends.executors.base import SegmentMetrics, programs_of
from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.config import RunOptions
from neuroforge_jax.job.summary import seconds_rows
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.profiling import trace
from neuroforge_jax.profiling.memory import format_profile, memory_profile, write_pprof
from neuroforge_jax.profiling.step_parts import take_apart
from neuroforge_jax.system.files import write_json
from neuroforge_jax.system.spans import PerformanceMonitor

Measured = dict[str, Any]


def requested_profiles(
    options: RunOptions, folder: Path | None, monitor: PerformanceMonitor
) -> Iterator[Callback]:
    """The callbacks that the options of a run ask for, in the order in which they show what they have."""
    measured: Measured = {}
    if folder is not None and options.memory_profile:
        yield MemoryProfile(folder, measured)
    if folder is not None and options.trace is not None:
        yield Trace(folder / "trace", options.trace, measured)
    if monitor.enabled:
        yield Benchmark(monitor, measured, output=options.benchmark_output, shows=options.benchmark)


class Trace(Callback):
    """Traces `steps` steps into `folder`, from the second segment on: the first one pays for what happens once.

    traced: steps so far.
    """

    main_process_only = True

    def __init__(self, folder: Path, steps: int, measured: Measured) -> None:
        self._folder, self._steps, self._measured = folder, steps, measured
        self._warm = self._tracing = False
        self.traced = 0

    def steps_until_due(self, step: int) -> int | None:
        """A segment ends where the trace begins and where it ends."""
        if self.traced == self._steps:
            return None
        return self._steps - self.traced if self._warm else 1

    def segment(self, trainer: Trainer, metrics: SegmentMetrics) -> None:
        """Begin the trace, or end it."""
        if self.traced == self._steps:
            return
        jax.block_until_ready(trainer.state)
        if self._tracing:
            self.traced += metrics.last_step - metrics.first_step
            if self.traced == self._steps:
                self.close()
        elif not self._warm and metrics.last_step < trainer.job.training.steps:
            self._warm = self._tracing = True
            trace.start(self._folder)

    def finish(self, trainer: Trainer, result: Any) -> None:
        """Show the longest operations."""
        self.close()
        found = trace.operations(self._folder, programs_of(trainer.run)) if self.traced else []
        self._measured["operations"] = [asdict(operation) for operation in found]
        if not self.traced:
            self.say("\nnothing was traced: the run ended with its first segment, which is never traced")
            return
        self.say(
            f"\n{self.traced} steps traced: open {trace.perfetto_file(self._folder)} at "
            f"https://ui.perfetto.dev, or {self._folder} with XProf\n\n"
            f"{trace.format_operations(found, self.traced)}"
        )

    def close(self) -> None:
        """Write what has been traced."""
        if self._tracing:
            self._tracing = False
            trace.stop()


class MemoryProfile(Callback):
    """Shows where the memory is at the end of a run, and writes memory.json and memory.pprof into `folder`."""

    main_process_only = True

    def __init__(self, folder: Path, measured: Measured) -> None:
        self._folder, self._measured = folder, measured

    def finish(self, trainer: Trainer, result: Any) -> None:
        """While the state is there."""
        profile = memory_profile(trainer.run, trainer.job.device)
        self._measured["memory"] = profile
        file = self._folder / "memory.json"
        write_json(file, profile)
        write_pprof(self._folder / "memory.pprof")
        self.say(f"\nmemory in {file}, by line of code in memory.pprof\n\n{format_profile(profile)}")


class Benchmark(Callback):
    """Shows where the time of a run went, by the spans of `monitor`, and a step taken apart.

    output: a file for the same, the result and what the others measured; shows: whether it is printed too.
    """

    main_process_only = True
    shows_figures = True

    def __init__(
        self,
        monitor: PerformanceMonitor,
        measured: Measured,
        *,
        output: Path | None,
        shows: bool,
    ) -> None:
        self._monitor, self._measured = monitor, measured
        self._output, self._shows = output, shows

    def finish(self, trainer: Trainer, result: Any) -> None:
        """After all others."""
        seconds, spans = self._monitor.seconds, self._monitor.rows()
        report = self._monitor.report()
        parts = take_apart(trainer.job, trainer.run)
        if self._shows:
            for label, text in seconds_rows(seconds):
                self.say(f"\n{label}: {text}")
            self.say(f"\n{report}")
            self.say(f"\n{parts}")
        if self._output is not None:
            environment = trainer.job.environment
            timed = {"seconds": dict(seconds), "spans": spans, "result": result.figures}
            rest = {"environment": environment, "step_parts": parts.record(), **self._measured}
            write_json(self._output, timed | rest)
