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
from neuroforge_jax.profiling.hlo import Attribution
from neuroforge_jax.training.progress import Throughput, TrainProgress
from tests.conftest import make_blobs
from tests.tiers import with_further

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
    with_further([("optimized", (1, 2)), ("async", (5, 9))], [("optimized", ()), ("stepped", (5, 9))]),
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
    assert {operation.part for operation in found} == {"data", "forward", "backward", "optimizer", "other"}


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


def event(begin, microseconds, name, line=(1, 1), done=0):
    end = begin + microseconds
    return trace.Event(begin, end, max(end, done), line, trace.Key("jit_program", name))


def test_the_time_of_an_operation_is_that_in_which_nothing_nested_runs():
    """A loop is nothing but its operations; a call that XLA runs in one piece is an operation itself."""
    events = [
        event(0, 100, "while.1"),
        event(10, 20, "dot.1"),
        event(40, 30, "call.2"),
        event(45, 5, "add.1"),
        event(80, 10, "dot.1"),
    ]
    spent = {key.name: microseconds for key, microseconds in trace.self_time(events).items()}
    assert spent == {"dot.1": 30, "call.2": 25, "add.1": 5}


def test_a_moment_of_two_threads_counts_once():
    """Else the parts of a step would add up to more than it."""
    spent = trace.self_time([event(0, 10, "dot.1"), event(4, 10, "add.1", line=(1, 2))])
    assert [spent[trace.Key("jit_program", name)] for name in ("dot.1", "add.1")] == [7, 7]


def test_a_product_lasts_until_other_threads_have_done_it():
    """The thread that begins one of XLA's products goes on, and two thirds of its time would be nobody's. What that
    thread does meanwhile may be what the product waits for.
    """
    spent = trace.self_time([event(0, 10, "dot.1", done=30), event(20, 4, "add.1")])
    assert [spent[trace.Key("jit_program", name)] for name in ("dot.1", "add.1")] == [26, 4]


def test_many_threads_add_up_to_the_time_in_which_any_ran():
    rng = np.random.default_rng(0)
    events = [
        event(begin, 0.7, f"add.{at % 5}", line=(1, line), done=begin + 3 * (at % 2))
        for line in range(4)
        for at, begin in enumerate(np.cumsum(rng.uniform(0.8, 2, 200)))
    ]
    busy, until = 0.0, 0.0
    for begin, _, done, *_ in sorted(events):
        busy, until = busy + max(done - max(begin, until), 0), max(done, until)
    assert sum(trace.self_time(events).values()) == pytest.approx(busy)


def test_the_parts_come_from_the_program_and_unknown_work_from_none():
    told = {"jit_program": {"dot.1.clone": Attribution("backward", False, "transpose(jvp())/dot_general")}}
    events = [event(0, 10, "dot.1.clone__onednn$matmul"), event(10, 5, "")]
    first, second = trace.sum_up(events, told)
    assert (first.part, first.source) == ("backward", "transpose(jvp())/dot_general")
    assert (second.part, second.source) == ("", "")


def perfetto(name, begin, pid, tid=1, **args):
    return {"ph": "X", "name": name, "ts": begin, "dur": 5, "pid": pid, "tid": tid, "args": args}


def label(kind, name, pid, tid=None):
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}


def test_of_a_gpu_the_streams_count_and_not_the_host_that_launches():
    op = {"hlo_module": "jit_program", "hlo_op": "fusion.1"}
    events = [
        label("process_name", "/host:CPU", 701),
        label("process_name", "/device:GPU:0", 1),
        label("thread_name", "Stream #13(Compute)", 1, 7),
        label("thread_name", "XLA Modules", 1, 8),
        perfetto("fusion.1", 0, 701, **op),
        perfetto("loop_fusion", 10, 1, 7, **op),
        perfetto("a graph", 20, 1, 7),
        perfetto("MemcpyH2D", 30, 1, 7),
        perfetto("jit_program", 0, 1, 8),
    ]
    found = [(one.begin, one.key.name) for one in trace.operation_events(events)]
    assert found == [(10, "fusion.1"), (20, "")], "a graph is work that names no operation"


def test_an_operation_is_done_when_its_own_end_says_so():
    op = {"hlo_module": "jit_program", "hlo_op": "dot.1"}
    begun = [perfetto("dot.1", begin, 701, **op) for begin in (0, 100, 200, 300)]
    ended = [perfetto("end: dot.1", at, 701, 2) for at in (4, 190, 310)]
    found = [(one.begin, one.done) for one in trace.operation_events([*begun, *ended])]
    assert found == [(0, 5), (100, 190), (200, 205), (300, 310)], "the third time has no end of its own"


def test_only_what_lies_within_an_annotation_counts():
    op = {"hlo_module": "jit_program", "hlo_op": "add.1"}
    events = [
        {**perfetto("look", 100, 701), "dur": 50},
        *(perfetto("add.1", begin, 701, 2, **op) for begin in (90, 98, 110, 140, 148)),
    ]
    assert [one.begin for one in trace.operation_events(events, "look")] == [110, 140]


def test_what_other_threads_do_after_an_annotation_is_not_of_it():
    """On a busy machine they come to it late, and the rows of a step would be longer than the step."""
    op = {"hlo_module": "jit_program", "hlo_op": "dot.1"}
    events = [
        {**perfetto("look", 100, 701), "dur": 50},
        perfetto("dot.1", 140, 701, 2, **op),
        perfetto("end: dot.1", 400, 701, 3),
    ]
    assert [(one.begin, one.done) for one in trace.operation_events(events, "look")] == [(140, 150)]


def test_the_table_has_the_longest_first_and_says_where_each_comes_from():
    rows = [
        trace.Operation(f"op.{index}", 1.0 / (index + 1), 10, "dot_general", "forward", index == 1)
        for index in range(20)
    ]
    text = trace.format_operations(rows, steps=10)
    assert text.splitlines()[1].split()[-3:] == ["forward", "op.0", "dot_general"]
    assert text.splitlines()[2].split()[-3:] == ["both", "op.1", "dot_general"]
    assert "5 others" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_trace_of_what_fails_is_ended_all_the_same(tmp_path):
    """One that was left open made every later trace of the process fail."""
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), trace.record(tmp_path):
            jax.block_until_ready(jax.numpy.ones(8) / 0)
            raise ZeroDivisionError
    assert trace.perfetto_file(tmp_path) is not None
