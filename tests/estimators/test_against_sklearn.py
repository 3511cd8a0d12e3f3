"""The same numbers as scikit-learn's networks, where both take the rows in the same order."""

from copy import deepcopy

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.exceptions import NotFittedError

import neuroforge_jax as nf
from tests.tiers import with_further

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(5)
X = rng.normal(size=(60, 5))
Y = 2 * X[:, 0] + X[:, 1]
TEN = np.arange(60) % 10
SGD = {
    "hidden_layer_sizes": (8,), "solver": "sgd", "batch_size": 20, "shuffle": False, "max_iter": 12,
    "learning_rate_init": 0.03, "tol": 0.3, "n_iter_no_change": 1, "random_state": 3,
}  # fmt: skip


@pytest.fixture
def make_both():
    """A regressor of theirs, and ours of the same parameters."""
    return lambda **given: [kind.MLPRegressor(**SGD | given) for kind in (neural_network, nf)]


@pytest.mark.parametrize("policy", ["invscaling", "adaptive"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum_keeps_its_velocity_when_the_rate_changes(make_both, policy, nesterov):
    theirs, ours = (
        each.fit(X, Y).loss_curve_ for each in make_both(learning_rate=policy, nesterovs_momentum=nesterov)
    )

    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("policy", ["constant", "invscaling", "adaptive"])
def test_the_rate_of_single_passes_falls_as_that_of_a_fit(make_both, policy):
    theirs, ours = make_both(learning_rate=policy)
    for _ in range(8):
        theirs.partial_fit(X, Y)
        ours.partial_fit(X, Y)

    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-4)


def test_the_members_of_an_ensemble_go_on_each_with_its_rate(make_both):
    theirs, ours = make_both(learning_rate="adaptive")
    ours.set_params(n_ensemble=2)
    for _ in range(8):
        theirs.partial_fit(X, Y)
        ours.partial_fit(X, Y)

    assert ours.members_[0].loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-4)


@pytest.mark.parametrize(
    "changed", with_further([{"solver": "adam"}, {"alpha": 0}], [{"momentum": 0}, {"schedule": "cosine"}])
)
def test_a_pass_with_another_optimizer_begins_its_state_anew(make_both, changed):
    ours = make_both()[1].partial_fit(X, Y)

    anew = deepcopy(ours)
    anew._state = None

    for network in (ours, anew):
        network.set_params(**changed).partial_fit(X, Y)

    np.testing.assert_array_equal(ours.coefs_[0], anew.coefs_[0])


@pytest.mark.parametrize("changed", [{"hidden_layer_sizes": (9,)}, {"normalization": "layer"}])
def test_a_network_that_goes_on_cannot_become_another(make_both, changed):
    ours = make_both()[1].partial_fit(X, Y)

    with pytest.raises(ValueError, match=r"layers \(5, 8, 1\) with normalization='none' goes on"):
        ours.set_params(**changed).partial_fit(X, Y)


@pytest.mark.parametrize("held", [{"early_stopping": True}, {"calibrate": "temperature"}])
def test_fewer_rows_than_classes_can_be_held_out(held):
    model = nf.MLPClassifier(hidden_layer_sizes=(8,), max_iter=2, **held).fit(X, TEN)

    assert model.predict_proba(X).shape == (60, 10)


@pytest.mark.parametrize("asked", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_a_classifier_that_is_not_fitted_says_so(asked):
    model = nf.MLPClassifier()
    with pytest.raises(NotFittedError):
        getattr(model, asked)(X)
    with pytest.raises(ValueError, match="contains NaN"):
        model.partial_fit(X * np.nan, TEN, classes=np.arange(10))
    with pytest.raises(NotFittedError):
        getattr(model, asked)(X)


def test_weights_that_are_changed_in_place_are_those_that_predict(make_both):
    ours = make_both()[1].fit(X, Y)

    ours.coefs_[-1][...] = 0
    ours.intercepts_[-1][...] = 7

    assert (ours.predict(X) == 7).all()


@pytest.mark.parametrize("scale", [0.01, 1, 100])
def test_alpha_is_divided_by_what_the_rows_of_a_step_count(make_both, scale):
    theirs, ours = (
        each.set_params(alpha=0.5, max_iter=3).fit(X, Y, np.full(60, scale)).loss_curve_
        for each in make_both()
    )

    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_adam_adds_epsilon_where_theirs_does(make_both, epsilon):
    """It was added to the corrected root: units that were dead, which the penalty alone moves, went another way."""
    given = {"solver": "adam", "epsilon": epsilon, "max_iter": 60, "tol": 0, "n_iter_no_change": 60}
    theirs, ours = (each.set_params(**given).fit(X - 1, Y) for each in make_both())

    assert ours.loss_curve_ == pytest.approx(theirs.loss_curve_, rel=1e-4)
    for own, wanted in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(own, wanted, atol=1e-4)


def test_lbfgs_shows_half_the_poisson_deviance(make_both):
    counts = rng.poisson(np.exp(X[:, 0] / 2))
    given = {"solver": "lbfgs", "loss": "poisson", "max_iter": 3}
    theirs, ours = (each.set_params(**given).fit(X, counts) for each in make_both())

    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-4)
    assert ours.t_ == theirs.t_ == 0


def test_rows_that_count_less_than_nothing_are_refused(make_both):
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        make_both()[1].fit(X, Y, np.where(X[:, 0] > 0, 1, -1))


def test_weights_of_classes_that_leave_nothing_are_refused():
    network = nf.MLPClassifier(class_weight={0: 0, 1: 0})
    with pytest.raises(ValueError, match="No row counts"):
        network.fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match="below 0"):
        network.set_params(class_weight={0: -1}).fit(X, X[:, 0] > 0)


def test_rows_to_select_by_have_as_many_numbers():
    with pytest.raises(ValueError, match=r"y_val has shape \(\d+, 2\)"):
        nf.MLPRegressor().fit(X, Y, X_val=X, y_val=np.stack([Y, Y], axis=1))


@pytest.mark.parametrize("fitted_to", [np.float32, np.float64])
@pytest.mark.parametrize("asked", [np.float32, np.float64, np.int64])
def test_answers_have_the_wider_dtype_of_the_weights_and_the_rows(make_both, fitted_to, asked):
    rows = X.astype(fitted_to), X.astype(asked)
    theirs, ours = (each.set_params(max_iter=1).fit(rows[0], Y.astype(fitted_to)) for each in make_both())
    assert ours.predict(rows[1]).dtype == theirs.predict(rows[1]).dtype
    theirs, ours = (
        kind.MLPClassifier(**SGD | {"max_iter": 1}).fit(rows[0], TEN) for kind in (neural_network, nf)
    )
    wanted = theirs.predict_proba(rows[1]).dtype
    assert {ours.predict_proba(rows[1]).dtype, ours.decision_function(rows[1]).dtype} == {wanted}
