"""Which weights a run keeps and when it ends early: by validation data, never by test data."""

import dataclasses

import numpy as np
import pytest

import neuroforge_jax as nf
from neuroforge_jax.errors import ConfigError
from neuroforge_jax.training.monitor import MONITORS, Monitor
from tests.conftest import make_blobs, numbers_to_predict, untested
from tests.recorder import Recorder


def test_early_stopping_keeps_the_best_weights_by_validation_data_and_tells_of_test_data(config):
    """A learning rate that wrecks the network after its best epoch, and patience that notices."""
    dataset = make_blobs(400, seed=3)
    rough = dataclasses.replace(config, learning_rate=3.0, epochs=40, patience=3, validation_fraction=0.25)
    result = nf.fit(rough, dataset)
    scores = [record["validation_accuracy"] for record in result.history]
    best = int(np.argmin([record["validation_loss"] for record in result.history]))
    assert len(scores) == best + 1 + 3
    assert result.figures["best_epoch"] == best + 1
    assert result.figures["selected_by"] == "loss"
    kept, last = result.history[best], result.history[-1]
    assert kept["validation_loss"] != pytest.approx(last["validation_loss"], rel=0.01)
    validation = dataset.hold_out(0.25, rough.seed).validation
    evaluation = nf.evaluate(result.model, result.params, validation)
    assert evaluation.accuracy == scores[best]
    assert evaluation.loss == pytest.approx(kept["validation_loss"], rel=1e-6)
    # What is told at the end is of the test data, not of the held-out ones that have chosen the weights.
    test = nf.evaluate(result.model, result.params, dataset.test)
    assert result.test_accuracy == test.accuracy != scores[best]
    assert result.test_loss == pytest.approx(test.loss, rel=1e-6)
    assert all("test_accuracy" not in record for record in result.history)


def test_a_target_accuracy_ends_the_run(config, blobs):
    result = nf.fit(dataclasses.replace(config, epochs=50, target_accuracy=0.8), blobs)
    assert result.history[-1]["validation_accuracy"] >= 0.8
    assert len(result.history) < 50


def test_accuracy_selects_where_it_is_monitored(config):
    rough = dataclasses.replace(
        config, learning_rate=2.5, epochs=40, monitor="accuracy", patience=3, validation_fraction=0.25
    )
    recorder = Recorder()
    result = nf.fit(rough, make_blobs(400, seed=3), callbacks=[recorder])
    scores = [record["validation_accuracy"] for record in result.history]
    assert result.figures["best_epoch"] == max(range(len(scores)), key=lambda at: (scores[at], at)) + 1
    row = recorder.all("finish")[0]["best validation"]
    assert f"{max(scores):.2%} in epoch {result.figures['best_epoch']} (selected by accuracy)" in row


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_a_metric_of_the_host_sees_every_sample_once_and_selects(higher_is_better, config, monkeypatch):
    """On odd numbers of samples, in chunks of which the last has padding."""
    seen = []

    def sharpness(targets, outputs, weights):
        assert weights is None
        seen.append((targets, outputs))
        return float(outputs.max(axis=1).mean())

    monkeypatch.setattr("neuroforge_jax.training.evaluate.CHUNK", 32)
    monkeypatch.setitem(MONITORS, "sharp-ness", Monitor("sharp-ness", higher_is_better, sharpness))
    dataset, recorder = make_blobs(300), Recorder()
    job = dataclasses.replace(config, monitor="sharp-ness", validation_fraction=0.25)
    result = nf.fit(job, dataset, callbacks=[recorder])
    validation = dataset.hold_out(0.25, 0).validation
    assert len(seen) == config.epochs + 1  # and once of the test data
    for targets, outputs in seen[:-1]:
        np.testing.assert_array_equal(targets, validation.targets)
        assert outputs.shape == (len(validation), 4)
    scores = [record["validation_sharp_ness"] for record in result.history]
    assert scores == [outputs.max(axis=1).mean() for _, outputs in seen[:-1]]
    assert result.figures["best_epoch"] == (int(np.argmax(scores)) + 1 if higher_is_better else 1)
    assert result.figures["test_sharp_ness"] == seen[-1][1].max(axis=1).mean()
    rows = recorder.all("finish")[0]
    assert rows["test sharp-ness"] == f"{result.figures['test_sharp_ness']:.4g}"
    assert "(selected by sharp-ness), whose weights are kept" in rows["best validation"]


def test_validation_data_that_came_with_the_data_choose_the_weights(config):
    dataset = untested(with_validation=True)
    rough = dataclasses.replace(config, learning_rate=2.5, epochs=40, monitor="accuracy", patience=3)
    result = nf.fit(rough, dataset)
    scores = [record["validation_accuracy"] for record in result.history]
    best = max(range(len(scores)), key=lambda epoch: (scores[epoch], epoch))
    assert result.figures["best_epoch"] == best + 1
    assert len(scores) == scores.index(max(scores)) + 1 + 3 < 40
    assert nf.evaluate(result.model, result.params, dataset.validation).accuracy == scores[best]
    assert result.test_accuracy is None


def test_such_data_and_a_share_to_hold_out_contradict_each_other(config):
    with pytest.raises(ConfigError, match=r"--validation-fraction 0.2: untested comes with validation data"):
        nf.fit(dataclasses.replace(config, validation_fraction=0.2), untested(with_validation=True))


def test_what_cannot_be_monitored_is_said(config, blobs):
    for fields, sentence in (
        (
            {"monitor": "acuracy"},
            r"unknown monitor of classes 'acuracy': known are loss, accuracy.*did you mean 'accuracy'",
        ),
        ({"monitor": "accuracy"}, r"selects by validation data, and there are none; add --patience 5"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            nf.fit(dataclasses.replace(config, **fields), blobs)
    numbers = numbers_to_predict(lambda x: x)
    with pytest.raises(
        ConfigError, match="unknown monitor of numbers 'accuracy': known are loss, rmse, mae, r2"
    ):
        nf.fit(dataclasses.replace(config, loss="mse", monitor="accuracy", patience=2), numbers)
