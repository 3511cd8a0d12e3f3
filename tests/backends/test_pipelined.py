"""Data streamed in chunks: what is read, when, and what happens when reading fails."""

import dataclasses
import gc
import threading
import time

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.backends.executors.base import CHUNK_SAMPLES, Streaming
from neuroforge_jax.data.stream import ArraySource, HostBuffer
from neuroforge_jax.job.job import Job
from tests.tiers import with_further

pytestmark = pytest.mark.full_effort


@pytest.fixture
def config(small_config):
    return dataclasses.replace(small_config, backend="async")


class Watched:
    """The source of the arrays, with a note of what was read and a fault where one is wanted."""

    def __init__(self, split, fails_at=None, seconds=0.0):
        self.inner, self.fails_at, self.seconds = ArraySource(split), fails_at, seconds
        self.reads = []
        self.threads = set()

    @property
    def like(self):
        return self.inner.like

    def __len__(self):
        return len(self.inner)

    def read(self, epoch, keys, first, out):
        self.threads.add(threading.current_thread().name)
        if self.fails_at == len(self.reads):
            raise OSError("the disk went away")
        time.sleep(self.seconds)
        self.reads.append((epoch, first, len(out)))
        self.inner.read(epoch, keys, first, out)


def losses(config, dataset, cuts=((0, 21),), **how):
    model, state = nf.init(config, dataset)
    run = nf.prepare(config, model, dataset, **how)
    found = []
    for first, last in cuts:
        state, metrics = run(state, first, last)
        found.append(metrics.loss)
    return np.concatenate(found), state


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.mark.parametrize(("chunk_steps", "read_ahead"), with_further([(3, 1), (50, 1)], [(1, 4)]))
def test_neither_chunk_size_nor_depth_changes_a_bit(chunk_steps, read_ahead, blobs, config):
    expected, expected_state = losses(config, blobs)
    found, state = losses(config, blobs, streaming=Streaming(chunk_steps, read_ahead))
    np.testing.assert_array_equal(found, expected)
    for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(expected_state.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_float_inputs_and_numbers_to_predict_are_streamed_too(config):
    rng, inputs = np.random.default_rng(0), 13
    x = rng.normal(size=(203, inputs)).astype(np.float32)
    y = (x @ rng.normal(size=(inputs, 2))).astype(np.float32)
    dataset = nf.Dataset.from_arrays(x, y, x[:10], y[:10])
    config = dataclasses.replace(config, loss="mse", learning_rate=0.01)
    scanned, _ = losses(dataclasses.replace(config, backend="optimized"), dataset)
    np.testing.assert_allclose(losses(config, dataset)[0], scanned, rtol=2e-5)


def test_every_sample_is_read_once_an_epoch_by_the_thread_alone(blobs, config):
    source = Watched(blobs.train)
    losses(config, blobs, source=source, streaming=Streaming(chunk_steps=3, read_ahead=1))
    assert source.threads == {"prefetch"}
    # Chunks of 3 steps, cut where an epoch of 7 steps ends.
    assert source.reads[:6] == [(0, 0, 96), (0, 96, 96), (0, 192, 32), (1, 0, 64), (1, 64, 96), (1, 160, 64)]


def test_segments_take_up_the_chunk_where_the_last_one_left_it(blobs, config):
    source = Watched(blobs.train)
    cuts = [(0, 2), (2, 5), (5, 6), (6, 9), (9, 21)]
    found, _ = losses(config, blobs, cuts, source=source, streaming=Streaming(chunk_steps=5, read_ahead=1))
    np.testing.assert_array_equal(found, losses(config, blobs)[0])
    starts = [(epoch, first) for epoch, first, _ in source.reads]
    assert len(set(starts)) == len(starts), "no chunk is read twice"


def test_a_jump_begins_anew_and_is_right(blobs, config):
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs, streaming=Streaming(chunk_steps=4))
    state, first = run(state, 0, 10)
    _, again = nf.init(config, blobs)
    _, second = run(again, 0, 10)
    np.testing.assert_array_equal(first.loss, second.loss)
    state, ahead = run(state, 15, 17)
    scanned = dataclasses.replace(config, backend="optimized")
    model, state = nf.init(scanned, blobs)
    whole = nf.prepare(scanned, model, blobs)
    state, _ = whole(state, 0, 10)
    np.testing.assert_allclose(whole(state, 15, 17)[1].loss, ahead.loss, rtol=2e-5)


def test_another_seed_is_another_order_for_the_same_run(blobs, config):
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs)
    _, first = run(state, 0, 7)
    _, other = nf.init(dataclasses.replace(config, seed=1), blobs)
    _, second = run(other, 0, 7)
    expected, _ = losses(dataclasses.replace(config, seed=1), blobs, [(0, 7)])
    np.testing.assert_array_equal(second.loss, expected)
    assert not (first.loss == second.loss).any()


def test_the_host_reads_ahead_and_no_further(blobs, config):
    source = Watched(blobs.train)
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs, source=source, streaming=Streaming(chunk_steps=7, read_ahead=2))
    state, metrics = run(state, 0, 7)
    metrics.loss  # noqa: B018 (waits)
    end = time.monotonic() + 20
    while len(source.reads) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    assert [epoch for epoch, _, _ in source.reads] == [0, 1, 2, 3]


def test_the_state_is_donated_and_chunks_on_the_device_are_no_more_than_the_buffers(blobs, config):
    """How many lie there depends on how far the thread has come, which is why this is a bound."""
    streaming = Streaming(chunk_steps=1, read_ahead=2)
    model, state = nf.init(config, blobs)
    given = jax.tree.leaves(state.params)
    before = sum(array.nbytes for array in jax.live_arrays())
    run = nf.prepare(config, model, blobs, streaming=streaming)
    live = []
    for step in range(0, 60, 3):
        state, metrics = run(state, step, step + 3)
        del metrics
        live.append(sum(array.nbytes for array in jax.live_arrays()))
    assert all(leaf.is_deleted() for leaf in given)
    chunk = HostBuffer.empty(blobs.train[:0], config.batch_size)
    round_keys_and_metrics = 4096
    allowed = (streaming.buffers + 1) * (chunk.words.nbytes + chunk.targets.nbytes) + round_keys_and_metrics
    assert max(live) - before <= allowed < 60 * chunk.words.nbytes


def test_an_error_in_the_thread_reaches_the_caller_and_the_next_try_begins_anew(blobs, config):
    source = Watched(blobs.train, fails_at=2)
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs, source=source, streaming=Streaming(chunk_steps=7, read_ahead=1))
    with pytest.raises(OSError, match="the disk went away"):
        run(state, 0, 21)
    assert not reader_threads()
    source.fails_at = None
    _, state = nf.init(config, blobs)
    _, metrics = run(state, 0, 21)
    np.testing.assert_array_equal(metrics.loss, losses(config, blobs)[0])


def test_where_the_run_goes_its_thread_goes_too(blobs, config):
    source = Watched(blobs.train, seconds=0.05)
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs, source=source, streaming=Streaming(chunk_steps=1))
    run(state, 0, 2)
    assert reader_threads()
    del run
    gc.collect()
    assert not reader_threads()


def test_reading_goes_on_while_the_device_computes(blobs, config):
    """The program itself waits, in its first step, for the next chunk to be read: were reading to wait for
    the program, neither would go on."""
    source = Watched(blobs.train)
    read_meanwhile = []

    def wait_for_the_next_chunk(step):
        if int(step) == 0:
            end = time.monotonic() + 20
            while len(source.reads) < 2 and time.monotonic() < end:
                time.sleep(0.001)
            read_meanwhile.append(len(source.reads) >= 2)
        return np.float32(0)

    job = dataclasses.replace(
        Job.build(config, blobs, source=source), streaming=Streaming(chunk_steps=7, read_ahead=1)
    )

    def backward(state, fitted, batch):
        gradients, metrics = job.parts.backward(state, fitted, batch)
        nothing = jax.pure_callback(wait_for_the_next_chunk, jax.ShapeDtypeStruct((), np.float32), state.step)
        return gradients, dataclasses.replace(metrics, loss=metrics.loss + nothing)

    run = job.compile(dataclasses.replace(job.parts, backward=backward))
    _, metrics = run(job.start(), 0, 7)
    assert np.isfinite(metrics.loss).all()
    assert read_meanwhile == [True]


def test_data_that_fit_no_device_are_trained_from_an_iterator(blobs, config):
    split = blobs.train

    def passes(epoch):
        yield from ((split.inputs[at : at + 50], split.targets[at : at + 50]) for at in range(0, 203, 50))

    source = nf.IteratorSource(passes, 203, like=split, classes=4, window=64)
    model, state = nf.init(config, blobs)
    run = nf.prepare(config, model, blobs, source=source)
    state, metrics = run(state, 0, 21)
    assert metrics.loss[-3:].mean() < metrics.loss[:3].mean() / 3
    assert nf.evaluate(model, state.params, blobs.test).accuracy > 0.9


def test_a_chunk_is_so_many_samples_whatever_the_batch():
    streaming = Streaming()
    assert streaming.steps_of_chunk(32, 10_000) == CHUNK_SAMPLES // 32
    assert streaming.steps_of_chunk(32, 7) == 8
    assert streaming.steps_of_chunk(10 * CHUNK_SAMPLES, 7) == 1
    assert Streaming(chunk_steps=12).steps_of_chunk(32, 10_000) == 12
