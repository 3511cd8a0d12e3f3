"""A step taken apart within its own program: the rows add up to it."""

from collections import Counter
from dataclasses import replace

import pytest

import neuroforge_jax as nf
from neuroforge_jax.profiling import step_parts as module
from neuroforge_jax.profiling.hlo import attribute
from neuroforge_jax.profiling.step_parts import (
    GRAPHS,
    ROWS,
    StepParts,
    attribute_step,
    recording_cost,
    why_untold,
)
from neuroforge_jax.profiling.trace import Operation
from tests.conftest import make_blobs
from tests.tiers import with_further

STEPS = 10
WIDE = make_blobs(samples=300, inputs=300)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(module, "LOOKS", 3)
    monkeypatch.setattr(module, "SECONDS_OF_A_LOOK", 0.01)


def operation(part, microseconds, *, mixed=False, runs=1):
    """Of each of ten steps."""
    return Operation(part or "graph", 1e-6 * microseconds * STEPS, runs * STEPS, "", part, mixed)


PLAIN = [
    operation("data", 5),
    operation("forward", 20),
    operation("backward", 40),
    operation("backward", 4, mixed=True),
    operation("optimizer", 10),
    operation("other", 1),
]


def parts_of(found, *, step=100e-6, traced=100e-6):
    return attribute_step(found, STEPS, step=step, traced=traced)


def in_microseconds(parts):
    return {row: pytest.approx(1e6 * seconds) for row, seconds in parts.seconds.items()}


def test_what_no_operation_takes_is_a_row_of_its_own():
    assert in_microseconds(parts_of(PLAIN)) == {
        "data": 5,
        "forward": 20,
        "backward": 44,
        "optimizer": 10,
        "other": 1,
        "between_operations": 20,
    }


def test_passes_that_share_their_operations_are_one_row():
    """No split is made up where the program has none."""
    parts = parts_of([*PLAIN, operation("backward", 15, mixed=True)])
    assert in_microseconds(parts)["forward_and_backward"] == 79
    assert not {"forward", "backward"} & set(parts.seconds)
    assert "forward + backward" in str(parts)
    assert parts.record()["forward"] is None
    assert sum(parts.shares.values()) == pytest.approx(1)


def test_what_recording_costs_is_taken_off_every_operation_alike():
    """A step of 60 µs took 100 while its 20 operations were recorded: each of them took 2 µs of that."""
    found = [operation("forward", 30, runs=10), operation("backward", 50, runs=10)]
    parts = parts_of(found, step=60e-6)
    assert in_microseconds(parts) == {
        "data": 0,
        "forward": 10,
        "backward": 30,
        "optimizer": 0,
        "other": 0,
        "between_operations": 20,
    }
    assert parts.measured_seconds == pytest.approx(60e-6)


def test_recording_costs_no_more_than_the_shortest_operation_and_never_less_than_nothing():
    found = [operation("forward", 30, runs=10), operation("other", 1)]
    assert recording_cost(found, STEPS, step=10e-6, traced=100e-6) == pytest.approx(1e-6)
    assert recording_cost(found, STEPS, step=110e-6, traced=100e-6) == 0
    assert recording_cost([], STEPS, step=10e-6, traced=100e-6) == 0


def test_a_step_that_was_slowed_down_says_so():
    assert "while it was measured" not in str(parts_of(PLAIN))
    slowed = str(parts_of(PLAIN, step=70e-6))
    assert "a step of 70 µs" in slowed
    assert "while it was measured a step took 94 µs; the shares are of that" in slowed


def why(found, platform="gpu"):
    return why_untold(parts_of(found), found, platform)


def test_a_device_whose_work_is_hidden_is_told_no_shares():
    assert why(PLAIN) == ""
    assert why([*PLAIN, operation("", 15)]) == GRAPHS
    assert why([]) == "its trace holds no operation"
    assert why([operation("forward", 12)]) == "the operations of its trace cover 12% of it"
    assert why([operation("forward", 12)], "cpu") == "", "the rest is Python's dispatch"


def test_what_cannot_be_told_is_one_line_with_the_reason():
    parts = StepParts({}, 1e-4, 1e-4, 10, "traced", "its trace holds no operation")
    assert str(parts) == "a step of 100 µs in parts cannot be told: its trace holds no operation"
    record = parts.record()
    assert record["forward"] is None
    assert record["reason"] == parts.reason


def assert_adds_up(parts):
    assert set(parts.seconds) <= set(ROWS)
    assert all(seconds >= 0 for seconds in parts.seconds.values())
    assert sum(parts.shares.values()) == pytest.approx(1, abs=0.05)
    assert max(map(len, str(parts).splitlines())) <= 80
    record = parts.record()
    assert sum(record[row] or 0.0 for row in ROWS) == pytest.approx(record["measured_seconds"], rel=0.05)


@pytest.mark.parametrize("backend", with_further(["optimized"], ["stepped", "async"]))
def test_the_passes_of_a_wide_network_are_told_apart_in_its_own_program(
    backend, compilations, monkeypatch, tmp_path
):
    """Three layers are three products forward and five backward. What else runs on the machine may move the times
    of the passes, but not to a few percent; where it stops an operation that holds both, it is measured again.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = nf.TrainConfig(hidden=(256, 256), batch_size=64, backend=backend)
    job = module.Job.build(config, WIDE)
    run, state = job.compile(), job.start()
    compiled = len(compilations)
    parts = module.take_apart(job, run)
    for _ in range(2):
        parts = parts if "backward" in parts.seconds else module.take_apart(job, run)
    assert len(compilations) == compiled, "it is the program that trains, and no other"
    assert_adds_up(parts)
    told = attribute(next(iter(run.programs.values())).as_text()).values()
    products = Counter(one.part for one in told if "dot_general" in one.source)
    assert products["backward"] > products["forward"] > 0
    assert parts.seconds["data"] > 0
    assert parts.seconds["backward"] > 0.1 * parts.seconds["forward"] > 0
    assert not state.step.is_deleted(), "the training's own state is left alone"
    assert not list(tmp_path.iterdir()), "the trace is thrown away"


@pytest.mark.slow
def test_eager_execution_waits_for_each_part_and_tells_the_passes_as_one(blobs, small_config):
    parts = nf.step_parts(replace(small_config, backend="naive"), blobs)
    assert_adds_up(parts)
    assert list(parts.seconds) == ["data", "forward_and_backward", "optimizer", "other"]
    assert parts.seconds["forward_and_backward"] > parts.seconds["optimizer"] > 0
    assert "each part waited for" in str(parts)


def test_a_population_is_taken_apart_too(blobs, small_config):
    job = replace(module.Job.build(small_config, blobs), seeds=(0, 1, 2))
    parts = module.take_apart(job, job.compile())
    assert_adds_up(parts)
    assert min(parts.seconds[row] for row in ("data", "forward", "backward")) > 0
