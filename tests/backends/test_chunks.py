"""What a process reads of a chunk: its rows of every batch, from the places of the whole batch."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuroforge_jax.backends.executors.chunks import parts_to_read
from neuroforge_jax.data.batch import BatchRows


def positions_read(rows, own, step, count):
    """The position of what each row of the buffer [count, own rows] is given; −1 where nothing is read."""
    buffer = np.full(count * (own.stop - own.start), -1)
    for first, part in parts_to_read(rows, own, step, count):
        assert (buffer[part] == -1).all(), "no row is read twice"
        buffer[part] = first + np.arange(part.stop - part.start)
    return buffer.reshape(count, -1)


@given(st.integers(1, 12), st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))
def test_processes_together_read_each_sample_of_every_batch_once(of_a_part, parts, multiple, processes, step):
    rows, count = BatchRows.of(of_a_part * parts, parts, multiple * processes), 3
    each = len(rows) // processes
    owned = [slice(at * each, (at + 1) * each) for at in range(processes)]
    together = np.concatenate([positions_read(rows, own, step, count) for own in owned], axis=1)
    position = rows.position_of
    starts = (step + np.arange(count)[:, None]) * rows.size
    np.testing.assert_array_equal(together, np.where(position >= 0, starts + position, -1))


def test_one_process_reads_batches_that_need_no_padding_at_once():
    assert list(parts_to_read(BatchRows.of(32), slice(0, 32), 3, 5)) == [(96, slice(0, 160))]
