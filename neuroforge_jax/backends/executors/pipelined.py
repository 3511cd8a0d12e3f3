"""Data streamed from the host, in chunks of many steps: the next is read while this one computes.

    thread     read c+1 → move c+1 │ read c+2 → move c+2 │ …
    device              compute c  │          compute c+1 │ …
    caller       dispatch c, then wait for the metrics of c−1

A chunk is [K·B] samples in the order in which the steps use them, gathered by a thread into one of a few host
buffers that are used in turn, and moved to the device while the chunk before it computes. One dispatch trains
all its steps. The host looks at the metrics of a chunk only when the next one has been dispatched, so that the
device never waits for Python; then, and not before, the buffer of that chunk may be written again: on a CPU
jax computes on the host's buffer itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from neuroforge_jax.backends.executors.base import CompiledRun, Run, StretchMetrics, check_stretch
from neuroforge_jax.data.batch import DeviceData, neighbours
from neuroforge_jax.data.prefetch import Prefetcher
from neuroforge_jax.data.shuffle import ROUNDS, positions_of_step, round_keys, steps_per_epoch
from neuroforge_jax.data.stream import ArraySource, HostBuffer, Source
from neuroforge_jax.data.types import Split
from neuroforge_jax.system.program_cache import by_structure
from neuroforge_jax.system.spans import span
from neuroforge_jax.training.state import TrainState, order_key
from neuroforge_jax.training.step import Step, StepMetrics
from neuroforge_jax.typing import Array, CompileOptions, UInt32

CHUNK_SAMPLES = 8192
"""Samples of a chunk, about. At batch 64 on a CPU 2,048 and more are as fast as data on the device, and 512 are 4
to 7 % slower; reading 1, 2 or 4 chunks ahead made no difference there."""

EPOCHS_OF_KEYS = 64
"""Epochs whose round keys are computed at once: on a CPU a second program waits for the one that runs."""

RoundKeys = UInt32[np.ndarray, "E R"]
Carry = tuple[TrainState, StepMetrics]


@dataclass(frozen=True)
class Streaming:
    """How far the host reads ahead of the device; neither number changes what is computed.

    chunk_steps: steps of one dispatch; unless given, as many as have about 8,192 samples. read_ahead: chunks that
    may be ready, besides the one that computes and the one that waits for it.
    """

    chunk_steps: int | None = None
    read_ahead: int = 2

    def steps_of_chunk(self, batch_size: int, steps: int) -> int:
        """Steps of one dispatch in a run of `steps` steps."""
        return min(self.chunk_steps or -(-CHUNK_SAMPLES // batch_size), max(steps, 1))

    @property
    def buffers(self) -> int:
        """Chunks on the host at most: one computes, one waits for it, the others are read ahead."""
        return self.read_ahead + 2


def chunk_program(
    step: Step, *, samples: int, batch_size: int, chunk_steps: int
) -> Callable[[TrainState, DeviceData, Array, Array, Array], Carry]:
    """The pure program (state, chunk [K·B], its first step, first, last) → (state, metrics f32 [K])."""
    per_epoch = steps_per_epoch(samples, batch_size)

    def program(state: TrainState, chunk: DeviceData, origin: Array, first: Array, last: Array) -> Carry:
        def run_step(index: Array, carry: Carry) -> Carry:
            state, metrics = carry
            weights = (positions_of_step(index % per_epoch, batch_size) < samples).astype(jnp.float32)
            state, now = step(state, neighbours(chunk, (index - origin) * batch_size, weights))
            return state, jax.tree.map(lambda all_, one: all_.at[index - first].set(one), metrics, now)

        metrics = StepMetrics.zeros((chunk_steps,), scaled=state.loss_scale is not None)
        return lax.fori_loop(first, last, run_step, (state, metrics))

    return program


@by_structure
def _jitted(
    step: Step, samples: int, batch_size: int, chunk_steps: int, options: CompileOptions
) -> jax.stages.Wrapped:
    program = chunk_program(step, samples=samples, batch_size=batch_size, chunk_steps=chunk_steps)
    return jax.jit(program, donate_argnums=0, compiler_options=dict(options) or None)


def prepare(
    step: Step,
    state_like: TrainState,
    train: Split,
    device: jax.Device,
    *,
    batch_size: int,
    steps: int,
    options: CompileOptions,
    source: Source | None = None,
    streaming: Streaming | None = None,
) -> Run:
    """Compile the program of a chunk; the samples are those of `source`, or else of `train`.

    What the source raises is raised by the stretch that needs the chunk.
    """
    source, streaming = source or ArraySource(train), streaming or Streaming()
    samples, chunk_steps = len(source), streaming.steps_of_chunk(batch_size, steps)
    buffer = HostBuffer.empty(source.like, chunk_steps * batch_size)
    zero = np.int32(0)
    jitted = _jitted(step, samples, batch_size, chunk_steps, options)
    compiled = jitted.lower(state_like, _moved(buffer, device), zero, zero, zero).compile()
    keys_like = jax.ShapeDtypeStruct(state_like.key_data.shape, state_like.key_data.dtype)
    compiled_keys = _keys_of_epochs.lower(keys_like, zero).compile()

    def read_from(chunk: int, key_data: np.ndarray) -> "Prefetcher[DeviceData]":
        def keys_of(epoch: int) -> RoundKeys:
            return np.asarray(compiled_keys(key_data, np.int32(epoch)))

        buffers = [HostBuffer.empty(source.like, len(buffer)) for _ in range(streaming.buffers)]
        chunks = _read_chunks(source, buffers, device, batch_size, chunk, keys_of)
        return Prefetcher(chunks, streaming.buffers)

    feed = _Feed(read_from)

    def run(state: TrainState, first_step: int, last_step: int) -> tuple[TrainState, StretchMetrics]:
        check_stretch(first_step, last_step)
        chunks, first = [], first_step
        while first < last_step:
            index = first // chunk_steps
            origin = index * chunk_steps
            last = min(last_step, origin + chunk_steps)
            chunk = feed.chunk(index, state)
            state, metrics = compiled(state, chunk, np.int32(origin), np.int32(first), np.int32(last))
            feed.dispatched(state, metrics)
            chunks.append((metrics, last - first))
            first = last
        return state, StretchMetrics(tuple(chunks), first_step, last_step, samples, batch_size)

    return CompiledRun(run, {"chunk": compiled, "keys of epochs": compiled_keys})


class _Feed:
    """Hands out the chunks, reads on from one stretch to the next, and begins anew where a caller jumps."""

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


def _read_chunks(
    source: Source,
    buffers: list[HostBuffer],
    device: jax.Device,
    batch_size: int,
    chunk: int,
    keys_of: Callable[[int], RoundKeys],
) -> Iterator[DeviceData]:
    """Read the chunks from `chunk` on, for ever, into the buffers in turn. This runs in the reader's thread."""
    per_epoch = steps_per_epoch(len(source), batch_size)
    chunk_steps = len(buffers[0]) // batch_size
    table, table_epoch = np.zeros((0, ROUNDS), np.uint32), 0
    step = chunk * chunk_steps
    for buffer in _in_turn(buffers):
        end = step + chunk_steps
        at = 0
        while step < end:
            epoch, in_epoch = divmod(step, per_epoch)
            if not table_epoch <= epoch < table_epoch + len(table):
                table, table_epoch = keys_of(epoch), epoch
            size = min(end - step, per_epoch - in_epoch) * batch_size
            with span("data"):
                source.read(epoch, table[epoch - table_epoch], in_epoch * batch_size, buffer[at : at + size])
            at, step = at + size, step + size // batch_size
        yield _moved(buffer, device)


def _in_turn(buffers: list[HostBuffer]) -> Iterator[HostBuffer]:
    while True:
        yield from buffers


def _moved(buffer: HostBuffer, device: jax.Device) -> DeviceData:
    with span("transfer"):
        words, targets = jax.device_put((buffer.words, buffer.targets), device)
    return DeviceData(words, targets, buffer.inputs)


@jax.jit
def _keys_of_epochs(key_data: Array, first_epoch: Array) -> UInt32[Array, "E R"]:
    key = order_key(key_data)
    epochs = first_epoch + jnp.arange(EPOCHS_OF_KEYS, dtype=jnp.int32)
    return jax.vmap(lambda epoch: round_keys(key, epoch))(epochs)
