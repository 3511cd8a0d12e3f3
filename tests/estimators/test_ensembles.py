import pickle

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

rng = np.random.default_rng(0)
X = rng.normal(size=(160, 4))
Y = X @ [1.0, -2.0, 0.5, 0.0] + rng.normal(size=160) / 4
LABELS = np.array(["no", "yes"])[(Y > 0).astype(int)]


def classifier(**given):
    return nf.MLPClassifier(
        **{"hidden_layer_sizes": (8,), "random_state": 0, "max_iter": 30, "learning_rate_init": 0.03, **given}
    )


def regressor(**given):
    return nf.MLPRegressor(
        **{"hidden_layer_sizes": (8,), "batch_size": 32, "random_state": 0, "max_iter": 20, **given}
    )


@pytest.fixture(scope="module")
def three():
    return classifier(n_ensemble=3).fit(X, LABELS)


def test_the_first_member_is_the_network_of_an_estimator_that_has_one(three):
    one = classifier().fit(X, LABELS)
    first = three.members_[0]
    np.testing.assert_allclose(first.coefs_[0], one.coefs_[0], atol=1e-5)
    np.testing.assert_allclose(first.predict_proba(X), one.predict_proba(X), atol=1e-5)
    assert first.loss_curve_ == pytest.approx(one.loss_curve_, rel=1e-4)
    assert first.n_ensemble == 1
    assert len(nf.predict(first.result_.model, first.result_.params, X[:5].astype(np.float32))) == 5


def test_the_others_begin_elsewhere_and_are_asked_together(three):
    assert three.coefs_[0].shape == (3, 4, 8)
    assert three.intercepts_[1].shape == (3, 1)
    assert np.ptp(three.coefs_[0], axis=0).min() > 0
    each = np.stack([member.predict_proba(X) for member in three.members_])
    np.testing.assert_allclose(three.predict_proba(X), each.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(three.predict_std(X), each.std(axis=0), atol=1e-7)
    np.testing.assert_array_equal(three.predict(X), three.classes_[three.predict_proba(X).argmax(axis=1)])
    assert three.score(X, LABELS) > 0.7
    assert three.loss_curve_ == pytest.approx(
        np.mean([member.loss_curve_ for member in three.members_], axis=0).tolist()
    )


def test_an_ensemble_can_be_pickled_and_given_other_weights(three):
    again = pickle.loads(pickle.dumps(three))
    np.testing.assert_array_equal(again.predict_proba(X), three.predict_proba(X))
    again.coefs_ = [np.zeros_like(each) for each in again.coefs_]
    again.intercepts_ = [np.zeros_like(each) for each in again.intercepts_]
    assert np.all(again.predict_proba(X) == 0.5)


def test_what_an_ensemble_has_not_is_no_attribute(three):
    assert not hasattr(three, "result_")
    assert not hasattr(classifier(), "predict_std")
    with pytest.raises(AttributeError) as error:
        classifier().predict_std(X)
    assert "set n_ensemble to 2 or more" in str(error.value.__cause__)
    alone = classifier(max_iter=1).fit(X, LABELS)
    assert alone.members_ == [alone]


def test_numbers_are_averaged_in_their_own_units():
    counts = rng.poisson(np.exp(X[:, :2] / 2))
    model = regressor(loss="poisson", n_ensemble=2).fit(X, counts)
    each = np.stack([member.predict(X) for member in model.members_])
    np.testing.assert_allclose(model.predict(X), each.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(model.predict_std(X), each.std(axis=0), rtol=1e-4, atol=1e-7)
    assert model.predict_std(X).shape == (160, 2)


def test_each_member_keeps_its_own_best_epoch_and_training_ends_with_the_last():
    model = regressor(
        n_ensemble=3, early_stopping=True, max_iter=400, n_iter_no_change=3, learning_rate_init=0.02
    ).fit(X, Y)
    lengths = [len(member.validation_scores_) for member in model.members_]
    assert model.n_iter_ == max(lengths) < 400
    assert len(set(lengths)) > 1
    one = regressor(early_stopping=True, max_iter=400, n_iter_no_change=3, learning_rate_init=0.02).fit(X, Y)
    first = model.members_[0]
    assert len(first.validation_scores_) == one.n_iter_
    np.testing.assert_allclose(first.predict(X), one.predict(X), atol=1e-3)
    assert first.best_validation_score_ == pytest.approx(one.best_validation_score_, abs=1e-4)
    firsts = [member.validation_scores_[0] for member in model.members_]
    assert model.validation_scores_[0] == pytest.approx(np.mean(firsts))


def test_without_rows_held_out_each_stops_by_its_own_loss_and_all_train_on_until_then():
    model = regressor(n_ensemble=3, max_iter=400, tol=1e-2, n_iter_no_change=2).fit(X, Y)
    lengths = [len(member.loss_curve_) for member in model.members_]
    assert model.n_iter_ == len(model.loss_curve_) == max(lengths) < 400


def test_each_member_has_a_learning_rate_of_its_own():
    model = regressor(
        n_ensemble=3, solver="sgd", learning_rate="adaptive", max_iter=400, tol=0.02, n_iter_no_change=2
    ).fit(X, Y)
    assert model.n_iter_ < 400
    rates = model._state.hyper.learning_rate
    assert rates.shape == (3,)
    assert rates.max() < 0.001


def test_passes_more_and_warm_starts_go_on_with_every_member():
    passes, epochs = regressor(n_ensemble=2), regressor(n_ensemble=2, max_iter=3, tol=0)
    for _ in range(3):
        passes.partial_fit(X, Y)
    epochs.fit(X, Y)
    np.testing.assert_allclose(passes.coefs_[0], epochs.coefs_[0], atol=1e-6)
    warm = regressor(n_ensemble=2, max_iter=2, warm_start=True).fit(X, Y).fit(X, Y)
    assert len(warm.loss_curve_) == 4
    assert all(len(member.loss_curve_) == 4 for member in warm.members_)
    with pytest.raises(ValueError, match=r"n_ensemble is 3, and a training of 2 goes on"):
        warm.set_params(n_ensemble=3).fit(X, Y)


def test_a_search_is_made_for_one_member_after_the_other():
    model = regressor(n_ensemble=2, solver="lbfgs", max_iter=200).fit(X, Y)
    one = regressor(solver="lbfgs", max_iter=200).fit(X, Y)
    np.testing.assert_allclose(model.members_[0].predict(X), one.predict(X), atol=1e-6)
    assert model.loss_ < 0.1


def test_several_labels_and_classes_are_pooled():
    several = np.stack([Y > 0, X[:, 0] > 0, X[:, 1] > 1], axis=1).astype(int)
    for targets in (several, several.sum(axis=1)):
        model = classifier(n_ensemble=2, max_iter=3).fit(X, targets)
        each = np.mean([member.predict_proba(X) for member in model.members_], axis=0)
        np.testing.assert_allclose(model.predict_proba(X), each, atol=1e-7)


def test_members_that_diverge_are_no_result():
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        regressor(n_ensemble=2, solver="sgd", learning_rate_init=1e5).fit(X, Y)


def test_a_backend_that_trains_one_network_at_a_time_says_so():
    with pytest.raises(ValueError, match="trains one network at a time; an ensemble needs one"):
        regressor(n_ensemble=2, backend="stepped").fit(X, Y)


@pytest.mark.filterwarnings("default")
def test_too_few_epochs_are_told(three):
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\)"):
        classifier(n_ensemble=3, max_iter=3).fit(X, LABELS)
