import numpy as np
import pytest
from sklearn.metrics import log_loss

import neuroforge_jax as nf
from neuroforge_jax.estimators.calibration import fit_temperature
from neuroforge_jax.estimators.classes import Classes

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

rng = np.random.default_rng(1)
X = rng.normal(size=(300, 4))
NOISY = (X[:, 0] + 2 * rng.normal(size=300) > 0).astype(int)
THREE = NOISY + (rng.random(300) < 0.3)


def overfitted(**given):
    return nf.MLPClassifier(
        **{
            "hidden_layer_sizes": (64,), "random_state": 0, "max_iter": 150, "learning_rate_init": 0.03,
            "calibrate": "temperature", **given,
        }
    )  # fmt: skip


def draw(classes: Classes, logits):
    """Targets that are as probable as the logits say."""
    probabilities = classes.probabilities(logits)
    if classes.several:
        return (rng.random(probabilities.shape) < probabilities).astype(np.float32)
    indices = (probabilities.cumsum(axis=1) < rng.random((len(logits), 1))).sum(axis=1)
    return indices.astype(np.float32)[:, None] if classes.kind == "binary" else indices.astype(np.int32)


@pytest.mark.parametrize(
    "classes", [Classes(np.arange(2)), Classes(np.arange(3)), Classes(np.arange(3), several=True)]
)
def test_outputs_that_are_too_sure_by_a_factor_have_it_as_their_temperature(classes):
    logits = rng.normal(size=(20_000, classes.outputs))
    targets = draw(classes, logits)
    assert fit_temperature(classes, 3 * logits, targets, None) == pytest.approx(3, rel=0.05)
    assert fit_temperature(classes, logits / 4, targets, None) == pytest.approx(0.25, rel=0.05)


def test_rows_that_count_for_nothing_change_no_temperature():
    classes = Classes(np.arange(2))
    logits = rng.normal(size=(500, 1))
    targets, weights = draw(classes, logits), np.repeat(np.float32([1, 0]), 250)
    wrong = np.where(weights[:, None] > 0, targets, 1 - targets)
    assert fit_temperature(classes, logits, targets, weights) == pytest.approx(
        fit_temperature(classes, logits, wrong, weights)
    )


@pytest.mark.parametrize("labels", [NOISY, THREE])
def test_calibrated_probabilities_of_rows_never_seen_are_better_and_decisions_the_same(labels):
    model = overfitted().fit(X[:200], labels[:200])
    calibrated, decided = model.predict_proba(X[200:]), model.predict(X[200:])
    assert model.temperature_ > 1.2
    del model.temperature_
    assert log_loss(labels[200:], calibrated) < log_loss(labels[200:], model.predict_proba(X[200:]))
    np.testing.assert_array_equal(model.predict(X[200:]), decided)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), decided)


def test_rows_that_are_held_out_anyway_are_those_it_is_fitted_on():
    model = overfitted(max_iter=20).fit(X[:200], NOISY[:200], X_val=X[200:], y_val=NOISY[200:])
    logits = model.decision_function(X[200:])[:, None] * model.temperature_
    wanted = fit_temperature(Classes(np.arange(2)), logits, NOISY[200:, None].astype(np.float32), None)
    assert model.temperature_ == pytest.approx(wanted, rel=1e-4)
    np.testing.assert_allclose(
        1 / (1 + np.exp(-model.decision_function(X))), model.predict_proba(X)[:, 1], rtol=1e-5
    )


def test_a_tenth_is_held_out_for_it_alone_and_selects_nothing():
    model = overfitted(max_iter=3).fit(X, NOISY)
    assert model.t_ == 3 * 270
    assert model.validation_scores_ is None


def test_too_few_rows_are_told_and_all_are_trained_on():
    with pytest.warns(
        UserWarning, match="49 are fewer than 50; the probabilities are not calibrated"
    ) as told:
        model = overfitted(max_iter=3).fit(X[:49], NOISY[:49])
    assert told[0].filename == __file__
    assert model.t_ == 3 * 49
    assert not hasattr(model, "temperature_")


def test_a_fit_without_it_forgets_the_temperature_before():
    model = overfitted(max_iter=3).fit(X, NOISY)
    assert not hasattr(model.set_params(calibrate=None).fit(X, NOISY), "temperature_")


def test_a_single_class_has_nothing_to_calibrate():
    model = overfitted(max_iter=1).fit(X, np.ones(300))
    assert not hasattr(model, "temperature_")
    assert (model.predict_proba(X) == 1).all()


def test_an_ensemble_is_calibrated_as_a_whole():
    model = overfitted(n_ensemble=2, max_iter=60).fit(X, NOISY)
    calibrated = model.predict_proba(X)
    pooled = np.mean([member.predict_proba(X) for member in model.members_], axis=0)
    shares = pooled ** (1 / model.temperature_)
    np.testing.assert_allclose(calibrated, shares / shares.sum(axis=1, keepdims=True), rtol=1e-4)


def test_single_passes_have_no_rows_for_it():
    with pytest.raises(ValueError, match="partial_fit does not support calibrate"):
        overfitted().partial_fit(X, NOISY, classes=[0, 1])


@pytest.mark.parametrize("labels", [NOISY, THREE])
def test_what_others_read_of_it_is_calibrated_too(tmp_path, labels):
    model = overfitted(max_iter=20).fit(X, labels)
    result, rows = model.result_, X.astype(np.float32)
    np.testing.assert_allclose(
        nf.predict_proba(result.model, result.params, rows), model.predict_proba(X), atol=1e-5
    )
    model.save(tmp_path)
    again = nf.MLPClassifier.load(tmp_path)
    assert again.temperature_ == model.temperature_
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(again.coefs_[1], model.coefs_[1], rtol=1e-6)
