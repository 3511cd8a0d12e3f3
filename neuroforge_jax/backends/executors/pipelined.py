"""Data streamed from the host, in chunks of many steps: the next is read while this one computes.

    thread     read c+1 → move c+1 │ read c+2 → move c+2 │ …
    device              compute c  │          compute c+1 │ …
    caller       dispatch c, then wait for the metrics of c−1

A chunk is K batches, [K, R] rows in the order in which the steps use them, gathered by a thread into one of a few
host buffers that are used in turn, and moved to the device while the chunk before it computes; over a mesh each
device gets its rows of every batch. One dispatch trains all its steps. The host looks at the metrics of a chunk
only when the next one has been dispatched, so that the device never waits for Python; then, and not before, the
buffer of that chunk may be written again: on a CPU jax computes on the host's buffer itself.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.backends.executors.base import (
    CompiledRun,
    Execution,
    ExecutorSpec,
    Run,
    SegmentMetrics,
    check_segment,
)
from neuroforge_jax.backends.executors.chunks import (
    RoundKeys,
    empty_buffer,
    move,
    read_chunks,
    source_of,
)
from neuroforge_jax.data.batch import BatchRows, DeviceData, take_batch
from neuroforge_jax.data.prefetch import Prefetcher
from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.shuffle import round_keys, steps_per_epoch
from neuroforge_jax.system.placing import put
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.system.spans import span
from neuroforge_jax.training.compiling import start_compiling
from neuroforge_jax.training.gradients import StepMetrics
from neuroforge_jax.training.placement import Placement
from neuroforge_jax.training.state import TrainState, order_key
from neuroforge_jax.training.step import Step
from neuroforge_jax.typing import Array, CompileOptions, UInt32

EPOCHS_OF_KEYS = 64
"""Epochs whose round keys are computed at once: on a CPU a second program waits for the one that runs."""

Carry = tuple[TrainState, StepMetrics]


class Segment(NamedTuple):
    """Steps first … last − 1, all of one chunk, which begins at the step `origin`. samples: of an epoch. All
    i32 [].
    """

    samples: Array | np.int32
    origin: Array | np.int32
    first: Array | np.int32
    last: Array | np.int32


def chunk_program(
    step: Step, *, rows: BatchRows, chunk_steps: int, placement: Placement
) -> Callable[[TrainState, Fitted, DeviceData, Segment], Carry]:
    """The pure program (state, fitted, chunk [K, R], segment) → (state, metrics f32 [K])."""
    batch_size = rows.size

    def program(state: TrainState, fitted: Fitted, chunk: DeviceData, segment: Segment) -> Carry:
        samples, origin, first, last = segment
        # Of the whole chunk at once: a remainder in each step would be a tenth of a small one.
        with jax.named_scope("data"):
            in_epoch = (origin + jnp.arange(chunk_steps)) % steps_per_epoch(jnp.asarray(samples), batch_size)
            masks = in_epoch[:, None] * batch_size + jnp.arange(batch_size) < samples

        def run_step(index: Array, carry: Carry) -> Carry:
            state, metrics = carry
            with jax.named_scope("data"):
                mask = rows.spread(masks[index - origin].astype(jnp.float32))
                batch = placement.mark_batch(take_batch(chunk, index - origin, mask))
            state, now = step(state, fitted, batch)
            return state, jax.tree.map(lambda all_, one: all_.at[index - first].set(one), metrics, now)

        metrics = StepMetrics.zeros((chunk_steps,), scaled=state.loss_scale is not None)
        return placement.mark_state(lax.fori_loop(first, last, run_step, (state, metrics)))

    return program


@by_structure
def _jit_program(
    step: Step, rows: BatchRows, chunk_steps: int, options: CompileOptions, placement: Placement
) -> jax.stages.Wrapped:
    program = chunk_program(step, rows=rows, chunk_steps=chunk_steps, placement=placement)
    return jax.jit(program, donate_argnums=0, compiler_options=dict(options) or None)


def prepare(spec: ExecutorSpec) -> Run:
    """Compile the program of a chunk; the samples are those of `spec.source`, or else of `spec.train`.

    What the source raises is raised by the segment that needs the chunk.
    """
    source, streaming, device, batch_size = source_of(spec), spec.streaming, spec.device, spec.batch_size
    samples, chunk_steps = np.int32(len(source)), streaming.steps_of_chunk(batch_size, spec.sized_for)
    fitted, zero = put(spec.fitted, spec.placement.sharding()), np.int32(0)
    jitted = _jit_program(spec.step, spec.batch_rows, chunk_steps, spec.options, spec.placement)
    like = (
        spec.state_like,
        fitted,
        move(empty_buffer(spec, chunk_steps), spec),
        Segment(zero, zero, zero, zero),
    )
    compiled = start_compiling(jitted, device, *like).result()
    keys_like = jax.ShapeDtypeStruct(spec.state_like.key_data.shape, spec.state_like.key_data.dtype)
    compiled_keys = start_compiling(_keys_of_epochs, device, keys_like, zero).result()

    def read_from(chunk: int, key_data: np.ndarray) -> "Prefetcher[DeviceData]":
        def keys_of(epoch: int) -> RoundKeys:
            return np.asarray(compiled_keys(key_data, np.int32(epoch)))

        buffers = [empty_buffer(spec, chunk_steps) for _ in range(streaming.buffers)]
        chunks = read_chunks(spec, buffers, chunk, keys_of)
        return Prefetcher(chunks, streaming.buffers)

    feed = _Feed(read_from)

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, SegmentMetrics]:
        check_segment(first_step, last_step)
        chunks, first = [], first_step
        while first < last_step:
            index = first // chunk_steps
            origin = index * chunk_steps
            last = min(last_step, origin + chunk_steps)
            chunk = feed.chunk(index, state)
            segment = Segment(samples, np.int32(origin), np.int32(first), np.int32(last))
            state, metrics = compiled(state, fitted, chunk, segment)
            feed.dispatched(state, metrics)
            chunks.append((metrics, last - first))
            first = last
        return state, SegmentMetrics(tuple(chunks), first_step, last_step)

    return CompiledRun(run, {"chunk": compiled, "keys of epochs": compiled_keys})


def _resident(spec: ExecutorSpec) -> int:
    """Samples of all chunks that are on their way."""
    return (
        spec.streaming.buffers
        * spec.streaming.steps_of_chunk(spec.batch_size, spec.sized_for)
        * spec.batch_size
    )


PIPELINED = Execution(
    "pipelined", prepare, resident=_resident, takes_source=True, keeps_order=True, takes_mesh=True
)


class _Feed:
    """Hands out the chunks, reads on from one segment to the next, and begins anew where a caller jumps."""

    def __init__(self, read_from: Callable[[int, np.ndarray], Prefetcher[DeviceData]]) -> None:
        self._read_from = read_from
        self._reader: Prefetcher[DeviceData] | None = None
        self._index = -1
        self._chunk: DeviceData | None = None
        self._key_data: Array | None = None
        self._metrics: StepMetrics | None = None
        self._before: StepMetrics | None = None

    def chunk(self, index: int, state: TrainState) -> DeviceData:
        """The chunk of this index, as soon as it has been read and its transfer has begun."""
        # The key that the last dispatch gave back is the key: to read it would be to wait for the device.
        known = self._reader is not None and state.key_data is self._key_data
        if self._chunk is not None and known and index == self._index:
            return self._chunk
        if self._reader is None or not known or index != self._index + 1:
            self._begin(index, np.asarray(state.key_data))
        assert self._reader is not None
        self._before, self._metrics = self._metrics, None
        try:
            with span("wait for data"):
                self._chunk = next(self._reader)
        except BaseException:
            self._end()
            raise
        self._index = index
        return self._chunk

    def dispatched(self, state: TrainState, metrics: StepMetrics) -> None:
        """Take note of a dispatch on the chunk; wait for the one on the chunk before, and free its buffer."""
        jax.tree.map(lambda x: x.copy_to_host_async(), metrics)
        self._key_data, self._metrics = state.key_data, metrics
        if self._before is not None and self._reader is not None:
            jax.block_until_ready(self._before)
            self._before = None
            self._reader.release()

    def _begin(self, index: int, key_data: np.ndarray) -> None:
        self._end()
        self._reader = self._read_from(index, key_data)

    def _end(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._chunk = self._key_data = self._metrics = self._before = None


@jax.jit
@jax.named_scope("data")
def _keys_of_epochs(key_data: Array, first_epoch: Array) -> UInt32[Array, "E R"]:
    key = order_key(key_data)
    epochs = first_epoch + jnp.arange(EPOCHS_OF_KEYS, dtype=jnp.int32)
    return jax.vmap(lambda epoch: round_keys(key, epoch))(epochs)
