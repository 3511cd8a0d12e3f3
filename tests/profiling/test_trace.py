"""A traced run is the same run, and its trace holds what it did."""

import itertools

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.profiling import trace
from neuroforge_jax.profiling.instruments import InstrumentedRun
from tests.conftest import make_blobs

pytestmark = pytest.mark.full_effort

DATA = make_blobs(samples=300, inputs=40)


def prepared(backend="optimized"):
    config = nf.TrainConfig(hidden=(24,), batch_size=16, backend=backend)
    model, state = nf.init(config, DATA)
    return nf.prepare(config, model, DATA), state


@pytest.mark.parametrize(
    ("backend", "cuts"),
    [
        ("optimized", (0, 12)),
        ("optimized", (0, 1, 2, 12)),
        ("stepped", (0, 5, 9, 12)),
        ("async", (0, 5, 9, 12)),
    ],
)
def test_a_traced_run_is_the_same_bits(backend, cuts, tmp_path):
    run, state = prepared(backend)
    plain, metrics = run(state, 0, 12)
    run, state = prepared(backend)
    traced = InstrumentedRun(run, tmp_path, steps=6)
    losses = []
    for first, last in itertools.pairwise(cuts):
        state, told = traced(state, first, last)
        assert (told.first_step, told.last_step) == (first, last)
        losses.append(told.loss)
    assert np.array_equal(np.concatenate(losses), metrics.loss)
    assert jax.tree.all(jax.tree.map(np.array_equal, state.params, plain.params))
    assert traced.traced == 6
    found = trace.operations(tmp_path, run.programs)
    assert max(operation.count for operation in found) >= 6
    assert any("dot_general" in operation.source for operation in found)


def test_a_run_that_ends_before_its_trace_does_writes_what_there_is(tmp_path):
    run, state = prepared()
    traced = InstrumentedRun(run, tmp_path, steps=100)
    traced(state, 0, 8)
    traced.close()
    assert traced.traced == 7
    assert trace.perfetto_file(tmp_path) is not None


def test_a_run_of_one_step_leaves_no_trace(tmp_path):
    run, state = prepared()
    traced = InstrumentedRun(run, tmp_path, steps=3)
    traced(state, 0, 1)
    traced.close()
    assert trace.operations(tmp_path) == []
    assert trace.told([], 0) == "no operation of a program is in it"


def test_without_a_trace_the_last_state_is_kept_and_no_stretch_is_cut(tmp_path):
    run, state = prepared()
    stretches = []

    def watched(state, first, last):
        stretches.append((first, last))
        return run(state, first, last)

    instrumented = InstrumentedRun(watched, tmp_path)
    state, _ = instrumented(state, 0, 9)
    assert stretches == [(0, 9)]
    assert instrumented.state is state


def test_the_table_has_the_longest_first_and_says_where_each_comes_from():
    hlo = """
  %dot.5 = f32[8,8]{1,0} dot(%a, %b), metadata={op_name="jit(program)/while/body/jvp(layer)/dot_general"}
  ROOT %add.1 = f32[8]{0} add(%c, %d), metadata={op_name="jit(program)/add"}
"""
    assert trace.sources_of(hlo) == {"dot.5": "jvp(layer)/dot_general", "add.1": "add"}
    rows = [trace.Operation(f"op.{index}", 1.0 / (index + 1), 10, "dot_general") for index in range(20)]
    text = trace.told(rows, steps=10)
    assert text.splitlines()[1].split()[-2:] == ["op.0", "dot_general"]
    assert "5 others" in text
    assert max(map(len, text.splitlines())) <= 80
