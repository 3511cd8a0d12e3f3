import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, log_loss, mean_absolute_error, roc_auc_score

import neuroforge_jax as nf
from neuroforge_jax.estimators.rows import Given

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

rng = np.random.default_rng(2)
X = rng.normal(size=(240, 4))
Y = X @ [1.0, -2.0, 0.5, 0.0] + rng.normal(size=240)
LABELS = np.array(["a", "b"])[(Y > 1).astype(int)]
TRAIN, HELD = slice(0, 160), slice(160, 240)
WEIGHTS = rng.random(240)


def classifier(monitor, **given):
    return nf.MLPClassifier(
        **{"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 8, "monitor": monitor, **given}
    )


def best_of(model, labels=LABELS):
    return model.fit(X[TRAIN], labels[TRAIN], X_val=X[HELD], y_val=labels[HELD])


@pytest.mark.parametrize(
    ("monitor", "measure"),
    [
        ("roc-auc", lambda model: roc_auc_score(LABELS[HELD], model.predict_proba(X[HELD])[:, 1])),
        ("log-loss", lambda model: -log_loss(LABELS[HELD], model.predict_proba(X[HELD]))),
        ("loss", lambda model: -log_loss(LABELS[HELD], model.predict_proba(X[HELD]))),
        ("balanced-accuracy", lambda model: balanced_accuracy_score(LABELS[HELD], model.predict(X[HELD]))),
    ],
)
def test_two_classes_are_judged_by_their_probabilities(monitor, measure):
    model = best_of(classifier(monitor))
    assert len(model.validation_scores_) == 8
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert measure(model) == pytest.approx(model.best_validation_score_, rel=1e-5)


def test_more_classes_and_labels_and_numbers_have_metrics_of_their_own():
    three = np.digitize(Y, [-1, 1])
    several = np.stack([Y > 0, X[:, 0] > 0], axis=1).astype(int)
    model = best_of(classifier("macro-f1", max_iter=2), three)
    assert 0 < model.best_validation_score_ < 1
    model = best_of(classifier("label-roc-auc", max_iter=2), several)
    assert 0 < model.best_validation_score_ < 1
    regressor = nf.MLPRegressor(hidden_layer_sizes=(8,), random_state=0, max_iter=4, monitor="mae")
    best_of(regressor, Y)
    error = -mean_absolute_error(Y[HELD], regressor.predict(X[HELD]))
    assert regressor.best_validation_score_ == pytest.approx(error, rel=1e-5)


def test_the_loss_of_rows_held_out_is_shown_as_that_of_the_training_is():
    regressor = nf.MLPRegressor(hidden_layer_sizes=(8,), random_state=0, max_iter=4, monitor="loss", alpha=0)
    best_of(regressor, Y)
    half_square = ((Y[HELD] - regressor.predict(X[HELD])) ** 2).mean() / 2
    assert regressor.best_validation_score_ == pytest.approx(-half_square, rel=1e-5)


def test_rows_held_out_count_by_their_weights():
    numbers = np.arange(len(X), dtype=np.float32)[:, None]
    given = Given(numbers, numbers, np.asarray(WEIGHTS, float), None)
    _, held = given.hold_out(0.5, np.random.RandomState(0), None)
    np.testing.assert_array_equal(held.weights, np.float32(WEIGHTS)[held.inputs[:, 0].astype(int)])


def test_an_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(
        ValueError, match=r"unknown monitor of classes 'auc': known are loss, accuracy, .*roc-auc"
    ):
        best_of(classifier("auc"))
    with pytest.raises(
        ValueError, match=r"unknown monitor of numbers 'roc-auc': known are loss, rmse, mae, r2$"
    ):
        best_of(nf.MLPRegressor(monitor="roc-auc"), Y)


def test_a_monitor_needs_rows_that_are_held_out():
    with pytest.raises(
        ValueError, match=r"monitor='roc-auc' .* set early_stopping=True, or give X_val and y_val"
    ):
        classifier("roc-auc").fit(X, LABELS)
    with pytest.raises(ValueError, match="partial_fit does not support monitor"):
        classifier("roc-auc").partial_fit(X, LABELS, classes=["a", "b"])
    with pytest.raises(ValueError, match="monitor would change nothing, for solver='lbfgs'"):
        best_of(classifier("roc-auc", solver="lbfgs"))


def test_a_metric_that_is_not_defined_for_these_rows_is_told():
    with pytest.raises(ValueError, match="monitor='roc-auc' is not defined for the 80 rows held out"):
        classifier("roc-auc").fit(X[TRAIN], LABELS[TRAIN], X_val=X[HELD], y_val=["a"] * 80)
