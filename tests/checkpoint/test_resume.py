"""A run that is continued is the run that was never interrupted: its bits, its batches, its log."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.checkpoint import files
from tests.checkpoint.interruption import (
    CONFIG,
    TIMES,
    PulledPlugError,
    PullsThePlug,
    assert_same,
    interrupted,
    records,
    resumed,
)
from tests.conftest import make_blobs
from tests.recorder import Recorder


@pytest.mark.parametrize(
    ("backend", "step"),
    [
        *(("optimized", step) for step in (10, 21)),
        ("stepped", 10),
        *(pytest.param(backend, 10, marks=pytest.mark.faults) for backend in ("async", "mixed")),
        *(pytest.param(backend, 21, marks=pytest.mark.faults) for backend in ("stepped", "async", "mixed")),
    ],
)
def test_a_continued_run_is_the_uninterrupted_one(backend, step, tmp_path, blobs):
    """Within an epoch and between two; parameters bit for bit, and a log without gaps or repeats."""
    config = dataclasses.replace(CONFIG, backend=backend)
    whole = nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "whole", log_every=1))
    saved = interrupted(config, blobs, tmp_path / "cut", step)
    assert 0 < saved < step
    again = resumed(config, blobs, tmp_path / "cut")
    assert_same(whole, again)
    assert records(tmp_path / "cut") == records(tmp_path / "whole")
    ignored = TIMES | {"compile_seconds", "flops_per_second", "matmul_peak_flops_per_second", "share_of_peak"}
    for name in set(whole.figures) - ignored - {"peak_memory_bytes"}:
        assert again.figures[name] == whole.figures[name], name


@pytest.mark.faults
def test_operation_by_operation_too(tmp_path):
    dataset, config = make_blobs(40), dataclasses.replace(CONFIG, backend="naive", epochs=3, hidden=(4,))
    whole = nf.fit(config, dataset)
    interrupted(config, dataset, tmp_path / "cut", 3)
    assert_same(whole, resumed(config, dataset, tmp_path / "cut"))


@pytest.mark.faults
def test_a_loss_scale_goes_on_from_where_it_was(tmp_path, blobs):
    config = dataclasses.replace(CONFIG, precision="fp16", dropout=0.0)
    whole = nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "whole", log_every=1))
    interrupted(config, blobs, tmp_path / "cut", 17)
    assert_same(whole, resumed(config, blobs, tmp_path / "cut"))
    assert records(tmp_path / "cut") == records(tmp_path / "whole")


@pytest.mark.faults
def test_the_best_weights_and_the_patience_go_on_too(tmp_path):
    """The best epoch lies before the interruption: its weights are the result."""
    dataset = make_blobs(400, seed=3)
    config = nf.TrainConfig(
        hidden=(16,), batch_size=32, epochs=40, patience=3, validation_fraction=0.25, learning_rate=3.0
    )
    whole = nf.fit(config, dataset)
    assert 1 < whole.figures["best_epoch"] < len(whole.history)
    steps = nf.steps_per_epoch(config, dataset.hold_out(0.25, 0))
    interrupted(config, dataset, tmp_path / "cut", whole.figures["best_epoch"] * steps + 5)
    again = resumed(config, dataset, tmp_path / "cut")
    assert_same(whole, again)
    assert again.figures["best_epoch"] == whole.figures["best_epoch"]
    assert len(again.history) == len(whole.history)


@pytest.mark.faults
def test_a_run_can_be_interrupted_any_number_of_times(tmp_path, blobs):
    whole = nf.fit(CONFIG, blobs)
    folder = tmp_path / "cut"
    interrupted(CONFIG, blobs, folder, 2)
    for step in (9, 15, 22):
        options = nf.RunOptions(resume=str(folder), checkpoint_every="step")
        with pytest.raises(PulledPlugError):
            nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(step)])
    assert_same(whole, resumed(CONFIG, blobs, folder))


def test_auto_starts_a_run_and_continues_it(tmp_path, blobs):
    whole = nf.fit(CONFIG, blobs)
    options = nf.RunOptions(resume="auto", run_dir=tmp_path / "run", checkpoint_every="step")
    with pytest.raises(PulledPlugError):
        nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(12)])
    recorder = Recorder()
    assert_same(whole, nf.fit(CONFIG, blobs, options, callbacks=[recorder]))
    assert any("in epoch" in text for text in recorder.all("note"))


@pytest.mark.smoke
def test_before_the_first_checkpoint_it_starts_at_step_0_and_says_so(tmp_path, blobs):
    with pytest.raises(PulledPlugError):
        options = nf.RunOptions(run_dir=tmp_path / "run", checkpoint_every="never", log_every=1)
        nf.fit(CONFIG, blobs, options, callbacks=[PullsThePlug(9)])
    recorder = Recorder()
    options = nf.RunOptions(resume=str(tmp_path / "run"), log_every=1)
    assert_same(nf.fit(CONFIG, blobs), nf.fit(CONFIG, blobs, options, callbacks=[recorder]))
    assert any("no checkpoint" in text and "starts at step 0" in text for text in recorder.all("note"))
    assert [line["step"] for line in records(tmp_path / "run") if line["event"] == "step"] == list(
        range(1, 29)
    )


@pytest.mark.faults
@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_a_damaged_log_is_written_anew_from_the_checkpoint(damage, tmp_path, blobs, cut_at_18):
    log = tmp_path / "run" / "metrics.jsonl"
    if damage == "cut":
        log.write_bytes(log.read_bytes()[:100])
    else:
        log.unlink()
    recorder = Recorder()
    options = nf.RunOptions(resume=str(tmp_path / "run"))
    nf.fit(CONFIG, blobs, options, callbacks=[recorder])
    assert any("written anew from the epochs of the checkpoint" in text for text in recorder.all("note"))
    lines = records(tmp_path / "run")
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(cut_at_18 + 1, 29))


def test_a_damaged_latest_step_costs_the_steps_since_the_one_before(tmp_path, blobs, cut_at_18):
    victim = tmp_path / "run" / "checkpoints" / str(cut_at_18) / "progress.json"
    victim.write_bytes(victim.read_bytes().replace(b"1", b"2", 1))
    recorder = Recorder()
    options = nf.RunOptions(resume=str(tmp_path / "run"))
    result = nf.fit(CONFIG, blobs, options, callbacks=[recorder])
    assert_same(nf.fit(CONFIG, blobs), result)
    assert any(
        "progress.json" in text and "the step before it is used" in text for text in recorder.all("note")
    )


@pytest.mark.parametrize(
    ("fields", "tree"), [({}, "state/params"), ({"patience": 3}, "best")], ids=["latest", "best"]
)
def test_a_run_that_was_stopped_is_loaded_with_the_weights_of_its_last_save(fields, tree, tmp_path, blobs):
    config = dataclasses.replace(CONFIG, **fields)
    interrupted(config, blobs, tmp_path / "run", 18)
    saved, _ = files.newest(tmp_path / "run" / "checkpoints")
    model, params = nf.load(tmp_path / "run")
    for layer, leaf in (("layer0", "kernel"), ("output", "bias")):
        np.testing.assert_array_equal(saved.arrays()[f"{tree}/{layer}/{leaf}"], params[layer][leaf])
    assert nf.predict(model, params, blobs.test.inputs).shape == (57, 4)
    result = resumed(config, blobs, tmp_path / "run")
    assert_same(SimpleNamespace(params=nf.load(tmp_path / "run")[1]), result)
