"""A traced run is the same run, and its trace holds what it did."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.callbacks.base import Callbacks
from neuroforge_jax.job.job import Job
from neuroforge_jax.job.trainer import Trainer
from neuroforge_jax.profiling import trace
from neuroforge_jax.profiling.callbacks import Trace
from neuroforge_jax.training.progress import Throughput, TrainProgress
from tests.conftest import make_blobs

pytestmark = pytest.mark.full_effort

DATA = make_blobs(samples=300, inputs=40)
STEPS = 19


def job_of(backend="optimized", dataset=DATA):
    config = nf.TrainConfig(hidden=(24,), batch_size=16, epochs=1, backend=backend)
    return Job.build(config, dataset)


class Cuts(nf.Callback):
    """Cuts the run at these steps; keeps its segments and their losses."""

    def __init__(self, *at):
        self.at, self.segments, self.losses = at, [], []

    def steps_until_due(self, step):
        return next((cut - step for cut in self.at if cut > step), None)

    def segment(self, trainer, metrics):
        self.segments.append((metrics.first_step, metrics.last_step))
        self.losses.append(metrics.loss)


@pytest.fixture(autouse=True)
def no_clock(monkeypatch):
    """A segment ends where a callback wants it, or the epoch does."""
    monkeypatch.setattr(Throughput, "next_segment", lambda self, remaining: remaining)


def trained(job, *callbacks):
    trainer = Trainer(job, job.compile(), job.start(), TrainProgress(), {})
    with Callbacks(callbacks) as team:
        trainer.train(team)
    return trainer


@pytest.mark.parametrize(
    ("backend", "cuts"),
    [
        ("optimized", ()),
        ("optimized", (1, 2)),
        ("stepped", (5, 9)),
        ("async", (5, 9)),
    ],
)
def test_a_traced_run_is_the_same_bits(backend, cuts, tmp_path):
    job = job_of(backend)
    plain, metrics = job.compile()(job.start(), 0, STEPS)
    tracing, seen = Trace(tmp_path, 6, {}), Cuts(*cuts)
    trainer = trained(job, tracing, seen)
    assert {*cuts, 1, 7, STEPS} == {last for _, last in seen.segments}
    assert all(a[1] == b[0] for a, b in itertools.pairwise(seen.segments))
    assert np.array_equal(np.concatenate(seen.losses), metrics.loss)
    assert jax.tree.all(jax.tree.map(np.array_equal, trainer.state.params, plain.params))
    assert tracing.traced == 6
    found = trace.operations(tmp_path, trainer.run.programs)
    assert max(operation.count for operation in found) >= 6
    assert any("dot_general" in operation.source for operation in found)


def test_a_run_that_ends_before_its_trace_does_writes_what_there_is(tmp_path):
    tracing = Trace(tmp_path, 100, {})
    trained(job_of(), tracing)
    assert tracing.traced == STEPS - 1
    assert trace.perfetto_file(tmp_path) is not None


def test_a_run_of_one_step_leaves_no_trace_and_says_so(tmp_path):
    """Its evaluation would be all that is in it, and time a step there would be none."""
    dataset = dataclasses.replace(DATA, train=DATA.train[:16])
    said = []

    class Listens(nf.Callback):
        def note(self, text):
            said.append(text)

    tracing = Trace(tmp_path, 3, measured := {})
    nf.fit(job_of().config, dataset, callbacks=[tracing, Listens()])
    assert trace.operations(tmp_path) == measured["operations"] == []
    assert trace.format_operations([], 0) == "no operation of a program is in it"
    assert "nothing was traced: " in said[-1]


def test_without_a_trace_no_segment_is_cut():
    seen = Cuts()
    trained(job_of(), seen)
    assert seen.segments == [(0, STEPS)]


def test_the_last_state_is_there_to_be_looked_at_when_a_run_ends():
    states = []

    class Looks(nf.Callback):
        def finish(self, trainer, result):
            states.append((trainer.state, result.params))

    nf.fit(job_of().config, DATA, callbacks=[Looks()])
    ((state, params),) = states
    assert int(state.step) == STEPS
    assert state.params is params


def test_the_table_has_the_longest_first_and_says_where_each_comes_from():
    hlo = """
  %dot.5 = f32[8,8]{1,0} dot(%a, %b), metadata={op_name="jit(program)/while/body/jvp(layer)/dot_general"}
  ROOT %add.1 = f32[8]{0} add(%c, %d), metadata={op_name="jit(program)/add"}
"""
    assert trace.sources_of(hlo) == {"dot.5": "jvp(layer)/dot_general", "add.1": "add"}
    rows = [trace.Operation(f"op.{index}", 1.0 / (index + 1), 10, "dot_general") for index in range(20)]
    text = trace.format_operations(rows, steps=10)
    assert text.splitlines()[1].split()[-2:] == ["op.0", "dot_general"]
    assert "5 others" in text
    assert max(map(len, text.splitlines())) <= 80
