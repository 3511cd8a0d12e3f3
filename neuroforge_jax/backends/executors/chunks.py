"""What the host reads ahead for a pipelined training: chunk after chunk of batches, moved to where they are used.

Of several processes each reads the rows of every batch that its own devices compute, and no others; the order of
samples is that of the whole batch, however many they are.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from neuroforge_jax.backends.executors.base import ExecutorSpec
from neuroforge_jax.data.batch import BatchRows, DeviceData
from neuroforge_jax.data.shuffle import ROUNDS, steps_per_epoch
from neuroforge_jax.data.stream import ArraySource, HostBuffer, Source
from neuroforge_jax.system.placing import put_own_rows
from neuroforge_jax.system.spans import span
from neuroforge_jax.typing import Integer, UInt32

RoundKeys = UInt32[np.ndarray, "E R"]


def source_of(spec: ExecutorSpec) -> Source:
    """The samples of a training: of its source, or else of its arrays."""
    return ArraySource(spec.train, spec.shuffles) if spec.source is None else spec.source


def empty_buffer(spec: ExecutorSpec, chunk_steps: int) -> HostBuffer:
    """Room for the rows of a chunk that this process reads."""
    own = _own_rows(spec)
    return HostBuffer.empty(source_of(spec).like, chunk_steps * (own.stop - own.start))


def read_chunks(
    spec: ExecutorSpec, buffers: list[HostBuffer], chunk: int, keys_of: Callable[[int], RoundKeys]
) -> Iterator[DeviceData]:
    """Read the chunks from `chunk` on, for ever, into the buffers in turn. This runs in the reader's thread."""
    source, rows, own = source_of(spec), spec.batch_rows, _own_rows(spec)
    per_epoch, rows_read = steps_per_epoch(len(source), rows.size), own.stop - own.start
    chunk_steps = len(buffers[0]) // rows_read
    table, table_epoch = np.zeros((0, ROUNDS), np.uint32), 0
    step = chunk * chunk_steps
    for buffer in _in_turn(buffers):
        end = step + chunk_steps
        at = 0
        while step < end:
            epoch, in_epoch = divmod(step, per_epoch)
            if not table_epoch <= epoch < table_epoch + len(table):
                table, table_epoch = keys_of(epoch), epoch
            count = min(end - step, per_epoch - in_epoch)
            read = partial(source.read, epoch, table[epoch - table_epoch])
            with span("data"):
                for first, part in parts_to_read(rows, own, in_epoch, count):
                    read(first, buffer[at + part.start : at + part.stop])
            at, step = at + count * rows_read, step + count
        yield move(buffer, spec)


def parts_to_read(rows: BatchRows, own: slice, step: int, count: int) -> Iterator[tuple[int, slice]]:
    """What to read of so many batches from a step of an epoch on: the position in the epoch's order of the first
    sample, and the rows of the buffer that it and those behind it go to.

    own: the rows of a batch that are read; the buffer holds these alone.
    """
    if own == slice(0, len(rows)) and rows.is_plain:
        yield step * rows.size, slice(0, count * rows.size)
        return
    position_of = rows.position_of[own]
    for at in range(count):
        for run in _consecutive(position_of):
            to = at * len(position_of) + run[0]
            yield (step + at) * rows.size + position_of[run[0]], slice(to, to + len(run))


def _consecutive(position_of: Integer[np.ndarray, " R"]) -> list[np.ndarray]:
    """The rows that hold samples, in runs of neighbours with neighbouring samples."""
    rows = np.flatnonzero(position_of >= 0)
    ends = (np.diff(rows) > 1) | (np.diff(position_of[rows]) != 1)
    return [run for run in np.split(rows, np.flatnonzero(ends) + 1) if len(run)]


def move(buffer: HostBuffer, spec: ExecutorSpec) -> DeviceData:
    """The chunk in a buffer as [K, R, …], each device with its rows of every batch."""
    own, rows = _own_rows(spec), len(spec.batch_rows)
    arrays = jax.tree.map(
        lambda array: array.reshape(-1, own.stop - own.start, *array.shape[1:]),
        (buffer.words, buffer.targets, buffer.weights),
    )
    with span("transfer"):
        words, targets, weights = put_own_rows(arrays, spec.placement.sharding(None, "batch"), rows)
    samples: Any = np.int32(len(words) * rows)  # a scalar of its own would be one transfer more
    return DeviceData(words, targets, weights, samples, buffer.inputs)


def _own_rows(spec: ExecutorSpec) -> slice:
    return spec.placement.own_rows(len(spec.batch_rows))


def _in_turn(buffers: list[HostBuffer]) -> Iterator[HostBuffer]:
    while True:
        yield from buffers
