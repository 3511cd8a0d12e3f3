"""What a run says of its test data: in its folder, in its table and in its header."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

import neuroforge_jax as nf
from neuroforge_jax.data.types import Split
from neuroforge_jax.job.assessment import assess
from neuroforge_jax.job.quality_rows import describe_majority, quality_rows, show_number
from tests.conftest import make_blobs

FIGURES = {
    "test_accuracy": None,
    "test_loss": 0.5,
    "best_validation_loss": None,
    "best_epoch": 2,
    "best_test_accuracy_of_an_epoch": 0.9,
    "train_loss": 0.4,
}


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def test_the_scores_of_the_test_data_are_in_the_result_of_a_saved_run(small_config, blobs, tmp_path):
    result = nf.fit(small_config, blobs, nf.RunOptions(run_dir=tmp_path / "run"))
    saved = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=refuse)
    labels = blobs.test.targets
    predicted = nf.predict(result.model, result.params, blobs.test.inputs).argmax(axis=1)
    recalls = [(predicted[labels == index] == index).mean() for index in range(4)]
    assert saved["test_balanced_accuracy"] == pytest.approx(np.mean(recalls))
    assert saved["test_log_loss"] == pytest.approx(saved["test_loss"], rel=1e-5)
    assert saved["test_majority_share"] == np.bincount(labels).max() / len(labels)
    assert 0.9 < saved["test_roc_auc"] <= 1
    with np.load(tmp_path / "run" / "predictions.npz") as arrays:
        np.testing.assert_array_equal(arrays["probabilities"].argmax(axis=1), predicted)
        np.testing.assert_allclose(arrays["probabilities"].sum(axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(arrays["probability_rows"], np.arange(len(labels)))


def test_who_neither_shows_nor_saves_a_run_does_not_wait_for_scores(small_config, blobs, monkeypatch):
    monkeypatch.setattr("neuroforge_jax.run.assess", lambda *_: pytest.fail("scored"))
    result = nf.fit(small_config, blobs)
    assert result.assessment is None
    assert "test_roc_auc" not in result.figures
    assert result.test_accuracy > 0.5


def test_of_many_probabilities_samples_at_equal_distances_are_kept(small_config, blobs, monkeypatch):
    monkeypatch.setattr("neuroforge_jax.job.assessment.MOST_PROBABILITIES", 100)
    model, state = nf.init(small_config, blobs)
    whole = assess(model, state.params, blobs.test)  # 57 samples × 4 classes
    assert whole.arrays["probability_rows"].tolist() == list(range(0, 57, 3))
    assert whole.arrays["probabilities"].shape == (19, 4)
    assert len(whole.arrays["labels"]) == len(whole.arrays["confidence"]) == 57


def test_samples_of_weight_0_change_no_score(small_config, blobs):
    model, state = nf.init(small_config, blobs)
    test, first = blobs.test, blobs.test[:30]
    weights = (np.arange(len(test)) < 30).astype(np.float32)
    weighted = assess(model, state.params, Split(test.inputs, test.targets, weights))
    assert weighted.named("test") == pytest.approx(assess(model, state.params, first).named("test"))


def test_a_fill_value_among_the_test_targets_ends_no_run(small_config, tmp_path, capsys):
    """1e20 ended the run with an AssertionError after its training, and NaN was written as JSON."""
    inputs = np.random.default_rng(0).normal(size=(200, 3))
    targets = inputs[:, 0].copy()
    test = targets[:50].copy()
    test[7] = 1e20
    dataset = nf.Dataset.from_arrays(inputs, targets, inputs[:50], test)
    options = nf.RunOptions(run_dir=tmp_path / "run")
    nf.fit(replace(small_config, loss="mse"), dataset, options, callbacks=[nf.Console(), nf.Report()])
    saved = json.loads((tmp_path / "run" / "result.json").read_text(), parse_constant=refuse)
    assert saved["test_loss"] is None
    assert saved["test_rmse"] == pytest.approx(1e20 / np.sqrt(50))
    out = capsys.readouterr().out
    assert "test loss" in out
    assert "RMSE 1.414e+19" in out
    assert "far outside and not drawn: 1" in (tmp_path / "run" / "report.html").read_text()


def test_the_accuracy_stands_beside_the_share_of_the_largest_class():
    scores = {"test_accuracy": 0.861, "test_majority_share": 0.764, "test_balanced_accuracy": 0.78}
    rows = dict(quality_rows({**FIGURES, **scores, "test_roc_auc": 0.91234}))
    assert rows["test accuracy"] == "86.10% (the largest class has 76.40%)   loss 0.5000"
    assert rows["by class"] == "balanced accuracy 78.00%   ROC AUC 0.9123"


def test_a_regression_shows_its_error_in_the_units_of_the_data():
    assert [show_number(value) for value in (0.03394, 999.97, -1000.4, 2e9)] == [
        "0.03394",
        "1000",
        "-1,000",
        "2e+09",
    ]
    rows = dict(quality_rows({**FIGURES, "test_rmse": 51234.5, "test_mae": 4.25}))
    assert rows == {"test loss": "0.5", "test error": "RMSE 51,234   MAE 4.25"}


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([90, 10], "90.0% of the training samples are of class a"),
        ([265, 735], "73.5% of the training samples are of class b"),
        ([2, 1], ""),
        ([3, 2], ""),
        ([51, 25, 24], "51.0% of the training samples are of class a"),
        ([2, 1, 1], ""),
        ([0, 60, 40], "60.0% of the training samples are of class b"),
    ],
)
def test_a_majority_class_is_told_before_the_training(counts, told):
    """Above two thirds of two classes, and half of more: 73.5 % is what telco's customers stay at."""
    labels = np.repeat(np.arange(len(counts)), counts)
    dataset = nf.Dataset.from_arrays(np.ones((len(labels), 2)), labels, classes="abc"[: len(counts)])
    assert describe_majority(dataset).partition(",")[0] == told


def test_a_majority_is_of_the_weights_where_there_are_some():
    """79 % were said to be of one class, and the table gave the other one 68 %."""
    frame = {"x": np.arange(100.0) ** 2, "w": np.repeat([1, 20], [80, 20]), "y": ["a"] * 80 + ["b"] * 20}
    told = describe_majority(nf.load_dataset(frame, target="y", sample_weight="w"))
    assert told.startswith("83.3% of the training samples, by their weights, are of class b")


def test_a_regression_has_no_majority():
    assert describe_majority(nf.Dataset.from_arrays(np.ones((4, 2)), np.arange(4) / 3)) == ""


def test_a_result_in_a_notebook_shows_the_scores(small_config):
    page = nf.fit(small_config, make_blobs())._repr_html_()
    assert "balanced accuracy" in page
    assert "calibration" in page


def test_times_in_seconds_are_assessed_as_they_were_trained_on():
    """Their origin was subtracted twice: from a split that is stored without it, too."""
    x, y = (1.7e9 + 3.0 * np.arange(100))[:, None], np.arange(100) // 50
    dataset = nf.Dataset.from_arrays(x, y, x, y)
    config = nf.TrainConfig(hidden=(8,), batch_size=10, epochs=20, learning_rate=0.1, backend="optimized")
    result = nf.fit(config, dataset)
    found = assess(result.model, result.params, dataset.test)
    assert found.scores["accuracy"] == result.test_accuracy > 0.95
    of_rows = nf.predict(result.model, result.params, x)
    np.testing.assert_array_equal(of_rows, nf.predict(result.model, result.params, dataset.test))
    # What the split holds is no row of anybody's: an origin was subtracted from it once more, in silence.
    with pytest.raises(
        ValueError, match=r"rows are float32, .* give float64 rows, or, .* the Split and not its"
    ):
        nf.predict(result.model, result.params, dataset.test.inputs)


def test_every_number_of_a_run_counts_samples_by_the_weights_of_the_table(small_config, tmp_path):
    """The scores of the test data did, the validation data's and what `--monitor` names did not."""
    rng = np.random.default_rng(0)
    frame = {"x": rng.normal(size=300), "w": rng.integers(0, 4, 300).astype(float)}
    frame["y"] = np.where(frame["x"] + rng.normal(size=300) > 0, "yes", "no")
    dataset = nf.load_dataset(pa.table(frame), target="y", sample_weight="w", class_weight="yes=5")
    assert "rows count by 'w', in training and in every metric" in dataset.notes
    config = replace(small_config, monitor="log-loss", validation_fraction=0.2, epochs=1)
    result = nf.fit(config, dataset, nf.RunOptions(run_dir=tmp_path / "run"))
    (epoch,), figures = result.history, result.figures
    assert epoch["validation_log_loss"] == pytest.approx(epoch["validation_loss"], rel=1e-4)
    assert figures["test_log_loss"] == pytest.approx(figures["test_loss"], rel=1e-4)
    said = nf.predict(result.model, result.params, dataset.test).argmax(axis=1)
    share = np.average(said == dataset.test.targets, weights=dataset.test.weights)
    assert result.test_accuracy == pytest.approx(share, rel=1e-5)
    assert share != pytest.approx((said == dataset.test.targets).mean(), rel=1e-3)
