"""Whether reading and computing overlap: `python benchmarks/overlap.py --output benchmarks/overlap.json`.

A source waits for each chunk, as for a disk or a network, as long as the device computes on it. Turn by turn: to
compute alone (a source that does not wait), to read alone, one after the other in a loop, and as `async` does it,
where a thread reads the next chunks while one computes. The ideal is the longer of the first two. A turn begins
with nothing read ahead. Of some chunks a trace is taken: when each was read, and when the device was busy.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from measuring import ratios, spread, take_turns, write_sections

import neuroforge_jax as nf
from neuroforge_jax.benchmarking.cases import random_pixels
from neuroforge_jax.data.shuffle import ROUNDS
from neuroforge_jax.data.stream import HostBuffer
from neuroforge_jax.profiling import trace

CHUNK_SECONDS = 0.05
"""Of computing on a chunk, about."""

GAP_SECONDS = 2e-3
"""Without an operation, from which on the device is said to wait."""


@dataclass(frozen=True)
class Options:
    """Measure, trace, write the record."""

    output: Path
    repetitions: int = 9
    """Turns of each candidate."""
    chunks: int = 24
    """Of a turn."""
    traced_chunks: int = 6
    """Of the trace."""
    batches: tuple[int, ...] = (8, 64, 512)
    """Of 784-1024-512-10, float32."""


class WaitingSource(nf.ArraySource):
    """Samples of arrays, each of which is waited for."""

    seconds_per_sample = 0.0

    def read(self, epoch: int, keys: np.ndarray, first: int, out: HostBuffer) -> None:
        with jax.profiler.TraceAnnotation("read a chunk"):
            time.sleep(self.seconds_per_sample * len(out))
            super().read(epoch, keys, first, out)


class Streamed:
    """A training that is streamed; each call begins anew with its reading."""

    def __init__(self, config: nf.TrainConfig, dataset: nf.Dataset, chunk_steps: int) -> None:
        self.source = WaitingSource(dataset.train)
        self.chunk_steps, self.chunk_samples = chunk_steps, chunk_steps * config.batch_size
        model, self.state = nf.init(config, dataset)
        streaming = nf.Streaming(chunk_steps=chunk_steps)
        self.run = nf.prepare(config, model, dataset, source=self.source, streaming=streaming)
        self.buffer = HostBuffer.empty(self.source.like, self.chunk_samples)
        self.keys = np.zeros(ROUNDS, np.uint32)

    def wait_for(self, seconds: float) -> None:
        """Let each chunk be waited for so long."""
        self.source.seconds_per_sample = seconds / self.chunk_samples

    def train(self, chunks: int) -> float:
        """Seconds of so many chunks, read by the thread."""
        begun = time.perf_counter()
        self.state, _ = self.run(self.state, 0, chunks * self.chunk_steps)
        jax.block_until_ready(self.state.params)
        return time.perf_counter() - begun

    def read(self, chunks: int) -> float:
        """Seconds to read so many chunks, and do nothing with them."""
        begun = time.perf_counter()
        for chunk in range(chunks):
            self.source.read(0, self.keys, chunk * self.chunk_samples % len(self.source), self.buffer)
        return time.perf_counter() - begun


def overlap(options: Options, batch: int) -> dict[str, Any]:
    """Seconds of a chunk by each candidate, and what is reached of the ideal."""
    config = nf.TrainConfig(hidden=(1024, 512), batch_size=batch, backend="async")
    dataset = random_pixels(1 << 16)
    probe = Streamed(config, dataset, 8)
    probe.train(2)
    steps = max(1, round(CHUNK_SECONDS / (probe.train(4) / 32)))
    waiting, instant = (Streamed(config, dataset, steps) for _ in range(2))
    instant.train(2)
    seconds = min(instant.train(options.chunks) for _ in range(3)) / options.chunks
    waiting.wait_for(seconds)
    waiting.train(2)

    def alternate(chunks: int) -> float:
        return sum(waiting.read(1) + instant.train(1) for _ in range(chunks))

    candidates: dict[str, Callable[[int], float]] = {
        "compute": instant.train, "read": waiting.read, "one after the other": alternate, "async": waiting.train,
    }  # fmt: skip
    rates = take_turns(
        {name: lambda go=go: options.chunks / go(options.chunks) for name, go in candidates.items()},
        options.repetitions,
    )
    ideal = [min(pair) for pair in zip(rates["compute"], rates["read"], strict=True)]
    return {
        "steps_of_a_chunk": steps,
        "seconds_of_a_chunk": {name: spread([1 / rate for rate in values]) for name, values in rates.items()},
        "of_the_ideal": {name: ratios(rates[name], ideal) for name in ("one after the other", "async")},
        "trace": trace_chunks(waiting, options.traced_chunks) if batch == 64 else None,
    }


def trace_chunks(streamed: Streamed, chunks: int) -> dict[str, list[list[float]]]:
    """Of so many chunks, from when to when each was read and the device was busy, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        with trace.record(Path(folder)):
            streamed.train(chunks)
        events = trace.read_events(Path(folder))
    spans = [
        (1e-6 * event["ts"], 1e-6 * (event["ts"] + event["dur"]), event) for event in events if "dur" in event
    ]
    begun = min(begin for begin, _, _ in spans)
    of = {
        "read": [(a - begun, b - begun) for a, b, event in spans if event["name"] == "read a chunk"],
        "compute": join_spans(
            [(a - begun, b - begun) for a, b, event in spans if "hlo_op" in event.get("args", {})]
        ),
    }
    return {name: [[round(a, 6), round(b, 6)] for a, b in sorted(pairs)] for name, pairs in of.items()}


def join_spans(spans: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Spans that overlap or follow each other at once, as one."""
    begin = end = None
    for a, b in sorted(spans):
        if end is not None and a > end + GAP_SECONDS:
            yield begin, end
            begin = None
        begin, end = a if begin is None else begin, b if end is None else max(end, b)
    if end is not None:
        yield begin, end


def main() -> None:
    options = tyro.cli(Options)
    measure = {f"batch {batch}": lambda batch=batch: overlap(options, batch) for batch in options.batches}
    write_sections(options.output, "python benchmarks/overlap.py --output FILE", measure, [*measure])


if __name__ == "__main__":
    main()
