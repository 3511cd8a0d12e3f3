"""Metrics are what scikit-learn and their definitions say, and what is not defined is left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroforge_jax.scoring.metrics import METRICS, score

LABELS = np.array([0, 1, 1, 0, 1, 0])
SECOND = np.array([0.1, 0.9, 0.4, 0.4, 0.8, 0.7])
BINARY = np.stack([1 - SECOND, SECOND], axis=1)


def draw_classes(classes, samples=60, seed=0):
    """Labels, probabilities that tie often, and weights of which some are 0."""
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(classes), rng.integers(0, classes, samples - classes))
    raw = rng.integers(1, 5, (samples, classes)).astype(float)
    return labels, raw / raw.sum(axis=1, keepdims=True), rng.integers(0, 4, samples).astype(float)


def test_two_classes_by_hand():
    """At one half: right are the samples 0, 1, 3 and 4; positive are 1, 4 (rightly) and 5 (wrongly)."""
    found = score("classification", LABELS, BINARY)
    assert set(found) == {name for name, metric in METRICS.items() if metric.task == "classification"}
    assert found["accuracy"] == 4 / 6
    assert found["balanced-accuracy"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert found["macro-f1"] == pytest.approx((4 / 6 + 4 / 6) / 2)
    own = np.where(LABELS == 1, SECOND, 1 - SECOND)
    assert found["log-loss"] == pytest.approx(-np.log(own).mean())
    assert found["brier"] == pytest.approx(((SECOND - LABELS) ** 2).mean())
    # Pairs of a positive and a negative one: 9, of which 0.4 loses to 0.7 and ties with 0.4.
    assert found["roc-auc"] == pytest.approx((9 - 1 - 0.5) / 9)
    # Positives are found at ranks 1 and 2, and the third with the fourth and fifth.
    assert found["average-precision"] == pytest.approx((1 + 1 + 3 / 5) / 3)


def test_the_calibration_error_by_hand():
    """Of the bins, (0.533, 0.6] has 0.6 twice and one right; (0.667, 0.733] 0.7, wrong; (0.733, 0.8] 0.8, right;
    (0.867, 0.933] 0.9 twice, right.
    """
    found = score("classification", LABELS, BINARY)["calibration-error"]
    assert found == pytest.approx((2 * abs(0.5 - 0.6) + 0.7 + 0.2 + 2 * 0.1) / 6)


def test_three_classes_by_hand():
    labels = np.array([0, 0, 1, 2])
    probabilities = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3]])
    found = score("classification", labels, probabilities)
    assert found["accuracy"] == 0.5
    assert found["balanced-accuracy"] == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["macro-f1"] == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    onehot = np.eye(3)[labels]
    assert found["brier"] == pytest.approx(((probabilities - onehot) ** 2).sum(axis=1).mean())
    # Each class against all others: 0.6 and 0.2 against 0.1 and 0.3; 0.8 first; 0.3 ties once and beats two.
    assert found["roc-auc"] == pytest.approx((3 / 4 + 1 + 2.5 / 3) / 3)


def test_a_network_that_says_nothing_is_right_about_the_first_class_alone():
    """All outputs equal were 100 % in the training's log and 50 % in the predictions file."""
    found = score("classification", np.array([0, 1, 0, 1]), np.full((4, 2), 0.5))
    assert found["accuracy"] == found["balanced-accuracy"] == found["roc-auc"] == 0.5


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_are_scored_as_scikit_learn_scores_them(classes):
    from sklearn import metrics

    labels, probabilities, weights = draw_classes(classes)
    predicted, weighted = probabilities.argmax(axis=1), {"sample_weight": weights}
    onehot = np.eye(classes)[labels]
    ranked = (labels, probabilities[:, 1]) if classes == 2 else (onehot, probabilities)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted, **weighted),
        "balanced-accuracy": metrics.balanced_accuracy_score(labels, predicted, **weighted),
        "macro-f1": metrics.f1_score(labels, predicted, average="macro", **weighted),
        "log-loss": metrics.log_loss(labels, probabilities, **weighted),
        "roc-auc": metrics.roc_auc_score(*ranked, **weighted),
        "average-precision": metrics.average_precision_score(*ranked, **weighted),
        "brier": np.average(((probabilities - onehot) ** 2).sum(axis=1), weights=weights)
        / (2 if classes == 2 else 1),
    }
    found = score("classification", labels, probabilities, weights)
    found.pop("calibration-error")
    assert found == pytest.approx(expected, rel=1e-12)


def test_numbers_are_scored_as_scikit_learn_scores_them():
    from sklearn import metrics

    rng = np.random.default_rng(1)
    targets, weights = 1e5 * rng.normal(size=(40, 2)), rng.integers(0, 3, 40).astype(float)
    predictions = targets + rng.normal(size=(40, 2))
    arguments, weighted = (targets, predictions), {"sample_weight": weights}
    assert score("regression", *arguments, weights) == pytest.approx(
        {
            "rmse": metrics.root_mean_squared_error(*arguments, **weighted),
            "mae": metrics.mean_absolute_error(*arguments, **weighted),
            "r2": metrics.r2_score(*arguments, **weighted),
        }
    )
    quantiles = np.sort(predictions, axis=1)
    found = score("regression", targets[:, :1], quantiles, weights, quantiles=(0.1, 0.8))
    each = [
        metrics.mean_pinball_loss(targets[:, 0], quantiles[:, at], alpha=level, **weighted)
        for at, level in enumerate((0.1, 0.8))
    ]
    assert found == {"pinball": pytest.approx(np.mean(each))}


def test_numbers_by_hand():
    targets, predictions = np.array([[1.0], [2.0], [6.0]]), np.array([[2.0], [2.0], [3.0]])
    found = score("regression", targets, predictions)
    assert found == pytest.approx({"rmse": np.sqrt(10 / 3), "mae": 4 / 3, "r2": 1 - 10 / 14})
    outputs = np.concatenate([predictions - 1, predictions], axis=1)
    found = score("regression", targets, outputs, quantiles=(0.25, 0.5))
    lower = (0.75 * 0 + 0.25 * 1 + 0.25 * 4) / 3
    assert found["pinball"] == pytest.approx((lower + (0.5 + 0 + 1.5) / 3) / 2)
    assert found["mae"] == pytest.approx(4 / 3), "of the median"


def test_labels_by_hand():
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]])
    probabilities = np.array([[0.9, 0.2, 0.1], [0.4, 0.7, 0.1], [0.6, 0.1, 0.1]])
    found = score("multilabel", targets, probabilities, np.array([1.0, 1.0, 2.0]))
    assert found == pytest.approx(
        {
            # Label 0 is right in the first sample alone, the others everywhere.
            "label-accuracy": (1 * 3 + 1 * 2 + 2 * 2) / (4 * 3),
            # 2·1 ÷ (2 + 3) and 1; the last label does not occur.
            "label-macro-f1": (2 / 5 + 1) / 2,
            "label-roc-auc": (1 / 2 + 1) / 2,
        }
    )


@pytest.mark.parametrize(
    ("task", "targets", "outputs", "undefined"),
    [
        ("classification", np.array([1, 1]), BINARY[:2], {"roc-auc"}),
        ("classification", np.array([0, 0]), BINARY[:2], {"roc-auc"}),
        ("regression", np.ones((3, 1)), np.zeros((3, 1)), {"r2"}),
        ("regression", np.ones((1, 1)), np.zeros((1, 1)), {"r2"}),
        ("multilabel", np.zeros((2, 2)), np.zeros((2, 2)), {"label-macro-f1", "label-roc-auc"}),
        ("regression", np.array([[0.0], [1e200]]), np.zeros((2, 1)), {"rmse", "r2"}),
    ],
)
def test_what_is_not_defined_is_left_out(task, targets, outputs, undefined):
    """Without a warning, too: pytest makes an error of each."""
    everything = {name for name, metric in METRICS.items() if metric.task == task} - {"pinball"}
    if task == "classification" and not targets.any():
        undefined = undefined | {"average-precision"}
    assert set(score(task, targets, outputs)) == everything - undefined


def test_nothing_is_said_of_outputs_that_are_no_numbers_nor_of_samples_that_do_not_count():
    broken = np.where(np.arange(12).reshape(6, 2) == 3, np.nan, BINARY)
    assert score("classification", LABELS, broken) == {}
    assert score("classification", LABELS, BINARY, np.zeros(6)) == {}
    counted = np.array([1.0, 0, 1, 1, 1, 1])
    assert score("classification", LABELS, broken, counted) == score(
        "classification", LABELS, BINARY, counted
    )


def test_a_class_that_does_not_occur_leaves_the_means_to_the_others():
    labels, probabilities, _ = draw_classes(3)
    found = score("classification", labels, np.pad(probabilities, ((0, 0), (0, 1))))
    assert found == pytest.approx(score("classification", labels, probabilities))


def test_of_very_many_probabilities_samples_at_equal_distances_are_ranked(monkeypatch):
    """A thousand classes are a thousand sorts of all samples: minutes for two numbers."""
    labels, probabilities, _ = draw_classes(3)
    some = score("classification", labels[::2], probabilities[::2])
    everything = score("classification", labels, probabilities)
    monkeypatch.setattr("neuroforge_jax.scoring.classification.MOST_RANKED", 100)
    found = score("classification", labels, probabilities)
    ranked = ("roc-auc", "average-precision")
    assert found == {name: (some if name in ranked else everything)[name] for name in everything}


def test_shapes_that_do_not_belong_together_are_named():
    with pytest.raises(ValueError, match=r"targets \(6,\) and outputs \(5, 2\) do not belong together"):
        score("classification", LABELS, BINARY[:5])
    with pytest.raises(ValueError, match=r"regression: targets \(6, 1\) and outputs \(6, 2\)"):
        score("regression", LABELS[:, None], BINARY)
    with pytest.raises(ValueError, match=r"with weights \(2,\)"):
        score("classification", LABELS, BINARY, np.ones(2))


@settings(max_examples=25, deadline=None)
@given(classes=st.integers(2, 6), seed=st.integers(0, 2**31), times=st.integers(1, 4))
def test_a_weight_is_as_many_copies_of_the_sample(classes, seed, times):
    labels, probabilities, weights = draw_classes(classes, samples=20, seed=seed)
    copies = np.repeat(np.arange(20), weights.astype(int))
    weighted = score("classification", labels, probabilities, times * weights)
    assert weighted == pytest.approx(score("classification", labels[copies], probabilities[copies]))
