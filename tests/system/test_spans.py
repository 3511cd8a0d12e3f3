"""Spans: nested, counted, waited for; the example of the original README among them."""

import dataclasses
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.batch import Batch
from neuroforge_jax.system.spans import Node, PerformanceMonitor, span


def test_the_example_of_the_original(blobs, small_config):
    """track("epoch", …) with data_load, forward, backward and optimize nested in it; then report()."""
    model, state = nf.init(small_config, blobs)
    parts = nf.parts(small_config, model, blobs)
    forward, backward, optimize = map(jax.jit, (parts.forward, parts.backward, parts.optimize))
    monitor = nf.PerformanceMonitor()
    for _ in range(2):
        with monitor.track("epoch"):
            with monitor.track("data_load"):
                x, y = blobs.train.inputs[:32], blobs.train.targets[:32]
                batch = Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones(32))
            with monitor.track("forward") as span:
                span.wait_for(forward(state.params, model.fitted, batch.inputs))
            with monitor.track("backward") as span:
                gradients, metrics = backward(state, model.fitted, batch)
                span.wait_for(gradients)
            with monitor.track("optimize") as span:
                state = optimize(state, gradients)
                span.wait_for(state)
    report = monitor.report()
    lines = report.splitlines()
    assert [line.split()[0] for line in lines] == [
        "span",
        "epoch",
        "data_load",
        "forward",
        "backward",
        "optimize",
    ]
    assert all(len(line) <= 79 for line in lines)
    rows = {row["name"]: row for row in monitor.rows()}
    assert [rows[name]["depth"] for name in ("epoch", "forward")] == [0, 1]
    assert {row["count"] for row in rows.values()} == {2}
    inner = sum(rows[name]["seconds"] for name in ("data_load", "forward", "backward", "optimize"))
    assert inner <= rows["epoch"]["seconds"]
    assert np.isfinite(metrics.loss)


@pytest.mark.smoke
def test_a_name_at_two_places_is_two_spans():
    monitor = PerformanceMonitor()
    with monitor.track("train"), monitor.track("save"):
        pass
    with monitor.track("save"):
        pass
    assert [(row["name"], row["depth"]) for row in monitor.rows()] == [("train", 0), ("save", 1), ("save", 0)]
    assert list(monitor.seconds) == ["train", "save", "other"]


def test_an_error_ends_its_span_and_goes_on():
    monitor = PerformanceMonitor()
    with pytest.raises(KeyError), monitor.track("outer"), monitor.track("inner"):
        raise KeyError
    with monitor.track("after"):
        pass
    assert [(row["name"], row["depth"], row["count"]) for row in monitor.rows()] == [
        ("outer", 0, 1),
        ("inner", 1, 1),
        ("after", 0, 1),
    ]


def test_a_span_that_waits_holds_the_work_of_the_device():
    """Dispatch returns at once; the product is in the span that names it."""
    matrix = jnp.ones((1500, 1500))
    product = jax.jit(lambda a: a @ a @ a @ a)
    product(matrix).block_until_ready()
    monitor = PerformanceMonitor()
    with monitor.track("waited") as span:
        result = product(matrix)
        span.wait_for({"result": result})
    begun = time.perf_counter()
    result.block_until_ready()
    assert time.perf_counter() - begun < monitor.rows()[0]["seconds"]


def test_percentiles_are_right_to_a_sixteenth_of_a_doubling():
    node, rng = Node(), np.random.default_rng(0)
    values = rng.lognormal(-8, 1.5, 20_000)
    for value in values:
        node.add(float(value))
    for share in (0.5, 0.95, 0.99):
        assert node.percentile(share) == pytest.approx(np.quantile(values, share), rel=0.06)
    assert len(node.buckets) < 300, "however many spans, the memory is that of a histogram"


def test_threads_have_trees_of_their_own():
    monitor = PerformanceMonitor()

    def work():
        for _ in range(200):
            with monitor.track("write"), monitor.track("sync"):
                pass

    threads = [threading.Thread(target=work, name=f"w{index}") for index in range(4)]
    with monitor.track("main"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = monitor.rows()
    assert [row["count"] for row in rows if row["name"] == "sync"] == [200] * 4
    assert {row["name"] for row in rows if row["depth"] == 0} == {"main", *(f"thread w{i}" for i in range(4))}
    assert list(monitor.seconds) == ["main", "other"]


def test_switched_off_it_times_nothing():
    monitor = PerformanceMonitor(enabled=False)
    with monitor.track("epoch") as span:
        span.wait_for(jnp.ones(3))
    assert monitor.rows() == []
    assert list(monitor.seconds) == ["other"]


def test_fit_tells_a_monitor_where_its_time_goes(blobs, small_config, tmp_path):
    monitor = PerformanceMonitor()
    with monitor.listening():
        nf.fit(small_config, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    rows = {(row["depth"], row["name"]): row for row in monitor.rows()}
    assert rows[0, "train"]["count"] == small_config.epochs
    assert rows[1, "steps"]["count"] >= small_config.epochs
    assert {(0, "compile"), (0, "evaluate"), (0, "save"), (1, "save")} <= rows.keys()


def counts_by_path(monitor):
    counts, path = {}, []
    for row in monitor.rows():
        path = [*path[: row["depth"]], row["name"]]
        counts[" > ".join(path)] = row["count"]
    return counts


def test_a_run_tells_transfers_and_what_its_threads_do_beside_it(blobs, small_config, tmp_path):
    config = dataclasses.replace(small_config, backend="async", epochs=2)
    monitor = PerformanceMonitor()
    with monitor.listening():
        nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "run", chunk_steps=4))
    counts = counts_by_path(monitor)
    chunks = counts["thread prefetch > transfer"]
    assert chunks >= 2
    assert counts["thread prefetch > data"] >= chunks
    assert 2 <= counts["train > steps > wait for data"] <= chunks
    assert counts["compile > transfer"] >= 1
    assert counts["thread checkpoints > write"] == 1
    assert not any(name.startswith("thread") for name in monitor.seconds)
    assert "thread prefetch" in [line.rstrip() for line in monitor.report().splitlines()]


def test_steps_that_wait_for_their_data_tell_how_long_it_took(blobs, small_config):
    monitor = PerformanceMonitor()
    config = dataclasses.replace(small_config, backend="naive", epochs=1, batch_size=50)
    with monitor.listening():
        result = nf.fit(config, blobs)
    counts = counts_by_path(monitor)
    assert counts["train > steps > data"] == counts["train > steps > transfer"] == 5
    assert result.figures["steps"] == 5


def test_without_a_monitor_that_listens_a_span_times_nothing():
    monitor = PerformanceMonitor()
    with span("before"):
        pass
    with monitor.listening(), span("inside") as inside:
        inside.wait_for(jnp.ones(3))
    with span("after"):
        pass
    assert [row["name"] for row in monitor.rows()] == ["inside"]
