"""Saving in the background: the run waits for nothing, and hears of everything."""

import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest

from neuroforge_jax.checkpoint import files
from neuroforge_jax.checkpoint.interval import Interval
from neuroforge_jax.checkpoint.writer import CheckpointWriter, named_leaves, snapshot
from neuroforge_jax.errors import CheckpointError

EVERY_STEP = Interval(1, "steps")


def tree(value=1.0):
    return {"state": {"w": jnp.full((3,), value), "count": jnp.int32(4)}, "best": None}


def saved_steps(folder, writer, values, scores=None):
    for step, value in enumerate(values, 1):
        writer.save(step, tree(value), {"step": step}, scores and scores[step - 1])
        writer.wait()
    return files.steps(folder)


def test_the_copy_is_of_the_moment_and_its_buffers_are_its_own():
    first = tree()
    copy, finite = snapshot(first)
    assert bool(finite)
    first["state"]["w"].delete()
    np.testing.assert_array_equal(copy["state"]["w"], np.ones(3))
    assert set(named_leaves(copy)) == {"state/w", "state/count"}


def test_whole_numbers_are_always_finite():
    assert bool(snapshot({"count": jnp.int32(4), "none": None})[1])
    assert bool(snapshot({})[1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_state_that_is_not_finite_is_never_written(bad, tmp_path):
    assert saved_steps(tmp_path, CheckpointWriter(tmp_path, EVERY_STEP), [1.0, bad]) == [1]


def test_the_latest_and_the_best_are_kept(tmp_path):
    writer = CheckpointWriter(tmp_path, EVERY_STEP, keep_latest=2, keep_best=1)
    assert saved_steps(tmp_path, writer, [1.0] * 6, [0.1, 0.9, 0.3, 0.2, 0.5, 0.4]) == [6, 5, 2]
    # A later process knows what the earlier one measured.
    later = CheckpointWriter(tmp_path, EVERY_STEP, keep_latest=1, keep_best=2)
    later.save(7, tree(), {}, 0.1)
    later.wait()
    assert files.steps(tmp_path) == [7, 5, 2]


def test_of_equally_good_steps_the_last_is_the_best(tmp_path):
    writer = CheckpointWriter(tmp_path, EVERY_STEP, keep_latest=1, keep_best=1)
    assert saved_steps(tmp_path, writer, [1.0] * 5, [0.1, 0.9, 0.9, 0.2, 0.5]) == [5, 3]


def test_the_run_does_not_wait_for_a_slow_disk(tmp_path, monkeypatch):
    begun, go_on, written = threading.Event(), threading.Event(), []

    def slow(folder, step, arrays, progress, peers):
        begun.set()
        go_on.wait(30)
        written.append(step)

    monkeypatch.setattr(files, "write", slow)
    writer = CheckpointWriter(tmp_path, EVERY_STEP)
    writer.save(1, tree(), {})
    assert begun.wait(30)
    for step in range(2, 6):
        writer.save(step, tree(), {})
    assert written == []
    go_on.set()
    writer.wait()
    # The first was under way; of those that waited the latest is the one worth having.
    assert written == [1, 5]


def test_an_error_of_the_thread_is_raised_at_the_next_look_and_the_next_save_is_tried(tmp_path, monkeypatch):
    real = files.write

    def full(*_):
        raise CheckpointError("the checkpoint of step 1 could not be written (No space left on device)")

    monkeypatch.setattr(files, "write", full)
    writer = CheckpointWriter(tmp_path, EVERY_STEP)
    writer.save(1, tree(), {})
    with pytest.raises(CheckpointError, match="No space left"):
        writer.wait()
    writer.check()  # told once
    monkeypatch.setattr(files, "write", real)
    writer.save(2, tree(), {})
    writer.wait()
    assert files.steps(tmp_path) == [2]


def test_where_the_run_goes_on_each_failure_is_a_warning(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(files, "write", broken)
    told = []
    writer = CheckpointWriter(tmp_path, EVERY_STEP, warn=told.append)
    writer.save(1, tree(), {})
    writer.wait()
    assert len(told) == 1
    assert "step 1" in told[0]


def test_the_same_step_is_written_once(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(files, "write", lambda folder, step, *_: written.append(step))
    writer = CheckpointWriter(tmp_path, EVERY_STEP)
    assert writer.is_due(3, 0, ends_epoch=False)
    writer.save(3, tree(), {})
    assert not writer.is_due(3, 0, ends_epoch=False)
    writer.save(3, tree(), {})
    writer.wait()
    assert written == [3]


def test_minutes_are_counted_by_a_clock_that_cannot_go_back(tmp_path, monkeypatch):
    writer = CheckpointWriter(tmp_path, Interval(0.001, "minutes"))
    monkeypatch.setattr(time, "time", lambda: -1e9)
    time.sleep(0.07)
    assert writer.is_due(1, 0, ends_epoch=False)
