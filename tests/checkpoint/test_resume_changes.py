"""What a run may change when it goes on, and which value counts from there."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.commands.flags import parse_flags
from tests.checkpoint.interruption import (
    CONFIG,
    PulledPlugError,
    PullsThePlug,
    assert_same,
    interrupted,
    records,
    resumed,
)
from tests.recorder import Recorder
from tests.tiers import with_further


def test_a_finished_run_may_be_given_more_epochs(tmp_path, blobs):
    # Of 35 and of 42 steps, for which one program is compiled.
    config = dataclasses.replace(CONFIG, schedule="constant", epochs=5)
    longer = dataclasses.replace(config, epochs=6)
    nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    again = resumed(longer, blobs, tmp_path / "run")
    assert_same(nf.fit(longer, blobs), again)
    epochs = [record["epoch"] for record in records(tmp_path / "run") if record["event"] == "epoch"]
    assert epochs == [1, 2, 3, 4, 5, 6]


@pytest.mark.faults
@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.001},
        {"schedule": "one-cycle"},
        {"backend": "mixed"},
        {"backend": "async"},
        {"dropout": 0.0},
        {"accumulate": 2},
    ],
)
def test_what_a_run_may_change_takes_effect_from_there(change, tmp_path, blobs):
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    result = resumed(dataclasses.replace(CONFIG, **change), blobs, tmp_path / "run")
    assert len(result.history) == CONFIG.epochs
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert change.items() <= written.items()


class SetsRate(nf.Callback):
    """Sets the learning rate in the state at a step, as a callback of a user's may; keeps the rate of each step."""

    def __init__(self, step=None, rate=None):
        self.step, self.rate, self.seen = step, rate, {}

    def steps_until_due(self, step):
        return 1

    def segment(self, trainer, metrics):
        hyper = trainer.state.hyper
        self.seen[metrics.last_step] = float(hyper.learning_rate), float(hyper.dropout)
        if metrics.last_step == self.step:
            hyper = dataclasses.replace(hyper, learning_rate=jax.numpy.float32(self.rate))
            trainer.state = dataclasses.replace(trainer.state, hyper=hyper)


def values_after(change, folder, dataset):
    """Learning rate and dropout of the steps after a resume of a run whose rate a callback set to 0.25."""
    shorter = dataclasses.replace(CONFIG, epochs=3)
    options = nf.RunOptions(run_dir=folder, checkpoint_every="step", keep_latest=99)
    with pytest.raises(PulledPlugError):
        nf.fit(shorter, dataset, options, callbacks=[SetsRate(5, 0.25), PullsThePlug(12)])
    seen = SetsRate()
    config = dataclasses.replace(shorter, **change)
    nf.fit(config, dataset, nf.RunOptions(resume=str(folder)), callbacks=[seen])
    assert max(seen.seen) == 7 * config.epochs
    (values,) = set(seen.seen.values())
    return values


@pytest.mark.parametrize(
    ("change", "expected"),
    with_further(
        [({}, (0.25, 0.1)), ({"learning_rate": 0.02}, (0.02, 0.1))],
        [
            ({"dropout": 0.3}, (0.25, 0.3)),
            ({"epochs": 4}, (0.25, 0.1)),
            ({"backend": "stepped"}, (0.25, 0.1)),
        ],
    ),
)
def test_a_value_that_is_asked_for_anew_wins_and_any_other_is_as_a_callback_left_it(
    change, expected, tmp_path, blobs
):
    assert values_after(change, tmp_path / "run", blobs) == pytest.approx(expected)


def test_a_rate_that_was_asked_for_anew_stays_when_the_run_goes_on_once_more(tmp_path, blobs):
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    changed = dataclasses.replace(CONFIG, learning_rate=0.02)
    with pytest.raises(PulledPlugError):
        options = nf.RunOptions(resume=str(tmp_path / "run"))
        nf.fit(changed, blobs, options, callbacks=[SetsRate(11, 0.5), PullsThePlug(15)])
    seen = SetsRate()
    nf.fit(changed, blobs, nf.RunOptions(resume=str(tmp_path / "run")), callbacks=[seen])
    assert {rate for rate, _ in seen.seen.values()} == {0.5}


def test_a_learning_rate_that_is_given_as_a_flag_wins_over_the_saved_one(tmp_path):
    """And without the flag the saved config has it."""
    dataset = nf.load_dataset("digits")

    def rate_of(*words):
        seen = SetsRate()
        config, options = parse_flags(words)
        nf.fit(config, dataset, options, callbacks=[seen])
        return {rate for rate, _ in seen.seen.values()}

    # Of 36 to 54 steps, for which one program is compiled.
    words = ["--dataset", "digits", "--hidden", "16", "--batch-size", "256", "--learning-rate", "0.25"]
    assert rate_of(*words, "--epochs", "6", "--run-dir", str(tmp_path / "run")) == {0.25}
    again = "--resume", str(tmp_path / "run"), "--epochs"
    assert rate_of(*again, "7") == {0.25}
    assert rate_of(*again, "8", "--learning-rate", "0.125") == {0.125}
    assert rate_of(*again, "9") == {0.125}


@pytest.mark.parametrize(
    ("first", "then", "scale"),
    [("dynamic", "128", 128), pytest.param("64", "dynamic", 2**15, marks=pytest.mark.slow)],
)
def test_a_loss_scale_that_is_changed_begins_anew(tmp_path, blobs, first, then, scale):
    """The saved scale with the settings of another would be neither."""
    config = dataclasses.replace(CONFIG, loss_scale=first, epochs=1)
    nf.fit(config, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    more = dataclasses.replace(config, loss_scale=then, epochs=2)
    result = nf.fit(more, blobs, nf.RunOptions(resume=str(tmp_path / "run")))
    assert [record["loss_scale"] for record in result.history] == [
        float(first) if first != "dynamic" else 2**15,
        scale,
    ]


@pytest.mark.faults
def test_a_run_that_diverged_goes_on_with_such_steps_skipped(tmp_path, blobs):
    """Skipping keeps counts of its own, which the run did not have: they begin anew."""
    interrupted(CONFIG, blobs, tmp_path / "run", 9)
    result = resumed(CONFIG, blobs, tmp_path / "run", on_divergence="skip")
    expected = nf.fit(CONFIG, blobs)
    for a, b in zip(jax.tree.leaves(expected.params), jax.tree.leaves(result.params), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4, atol=1e-6)
    assert result.figures["skipped_steps"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compile_options": {"xla_cpu_prefer_vector_width": 128}}, "a training of this length is compiled"),
        ({"versions": {"jax": "0.1"}}, f"jax 0.1 before and {jax.__version__} now"),
        ({"processor": "Abacus"}, "Abacus before and "),
        ({}, ""),
    ],
)
def test_what_may_change_the_last_bits_of_a_resumed_run_is_said(change, words, tmp_path, blobs, cut_at_18):
    file = tmp_path / "run" / "environment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    recorder = Recorder()
    nf.fit(CONFIG, blobs, nf.RunOptions(resume=str(tmp_path / "run")), callbacks=[recorder])
    told = [text for text in recorder.all("note") if "the last bits may differ" in text]
    assert [words in text for text in told] == [True] * bool(change)
