"""What the test of a GPU's pool would find: trainings on a CPU, a pool that is played, and planted faults."""

from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import pytest

import neuroforge_jax as nf
from tests.conftest import SMALL_CONFIG
from tests.kernels.pool_use import calls_of_segments, check_arrays, check_pool, settled_bytes, use_of_segments

SEGMENTS = (10, 10, 30, 100)
NO_COUNT = SimpleNamespace(memory_stats=lambda: None)


@pytest.fixture
def train(blobs):
    """By backend and epochs: what segments use, and the calls that each needs. also: done in each segment."""

    def train(backend, epochs, device=NO_COUNT, also=lambda steps: None):
        config = replace(SMALL_CONFIG, backend=backend, epochs=epochs)
        model, state = nf.init(config, blobs)
        run = nf.prepare(config, model, blobs)

        def run_also(state, first, last):
            also(last - first)
            return run(state, first, last)

        uses = use_of_segments(run_also, state, device, SEGMENTS)
        return uses, calls_of_segments(config, blobs, SEGMENTS)

    return train


class Pool:
    """Is asked three times by a program call, and in a fault by each step or for good."""

    def __init__(self, calls_of=lambda steps: 1, a_step=0, kept=0):
        self.calls_of, self.a_step, self.kept = calls_of, a_step, kept
        self.asked, self.held = 0, 1000

    def segment(self, steps):
        """As the device would count one."""
        self.asked += 3 * self.calls_of(steps) + self.a_step * steps
        self.held += self.kept

    def memory_stats(self):
        """As jax names them."""
        return {"num_allocs": self.asked, "bytes_in_use": self.held}


@pytest.mark.parametrize(("epochs", "calls"), [(20, 1), (4, 4)])
def test_a_run_of_more_steps_than_a_call_holds_is_several_calls_and_leaves_nothing(train, epochs, calls):
    """A thousand steps were four calls in a test on a GPU, and were expected to ask as often as one."""
    pool = Pool(calls_of=lambda steps: -(-steps // 32) if epochs == 4 else 1)
    uses, needed = train("optimized", epochs, pool, pool.segment)
    check_arrays(uses, needed)
    check_pool(uses)
    assert (uses[-1].calls, uses[-1].requests) == (calls, 3 * calls)


def test_a_program_call_for_each_step_is_found(train):
    uses, needed = train("stepped", 20)
    with pytest.raises(AssertionError, match="more program calls than the steps need"):
        check_arrays(uses, needed)


def test_arrays_that_are_left_are_found(train):
    kept = []
    uses, needed = train("optimized", 20, also=lambda steps: kept.append(jnp.zeros(steps)))
    with pytest.raises(AssertionError, match=r"arrays are left:\nPoolUse\(steps=10, calls=1, made=3"):
        check_arrays(uses, needed)


@pytest.mark.parametrize(
    ("fault", "found"), [({"a_step": 1}, "steps ask the pool for memory"), ({"kept": 256}, "memory is left")]
)
def test_a_pool_that_is_asked_by_steps_or_keeps_memory_is_found(train, fault, found):
    pool = Pool(**fault)
    uses, _ = train("optimized", 20, pool, pool.segment)
    with pytest.raises(AssertionError, match=found):
        check_pool(uses)


@pytest.mark.parametrize("device", [NO_COUNT, Pool()], ids=["no numbers", "none of them changes"])
def test_a_pool_that_does_not_count_shows_nothing_and_fails(train, device):
    """It passed, as if nothing had been asked for."""
    uses, _ = train("optimized", 20, device)
    with pytest.raises(AssertionError, match="the pool does not count"):
        check_pool(uses)


def test_memory_that_is_given_back_a_moment_later_is_waited_for():
    told = iter([1300, 1000, 1000])
    device = SimpleNamespace(memory_stats=lambda: {"bytes_in_use": next(told)})
    assert settled_bytes(device) == 1000
