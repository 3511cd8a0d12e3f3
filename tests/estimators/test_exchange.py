"""scikit-learn's fitted networks become ours, and ours theirs, and say the same."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn.neural_network as theirs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression

import neuroforge_jax as nf
from tests.estimators.tables import make_passengers

pytestmark = pytest.mark.sklearn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
CLASSES = {
    "two": np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)],
    "three": np.array([3, 7, 9])[np.digitize(X[:, 0], [-0.5, 0.5])],
    "labels": (X[:, :3] > 0).astype(int),
}
COMMON = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}


@pytest.fixture(autouse=True)
def _few_epochs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def agree(ours, others, rows=X):
    """The same said of rows, and the same attributes."""
    if hasattr(others, "predict_proba"):
        np.testing.assert_allclose(ours.predict_proba(rows), others.predict_proba(rows), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(ours.predict(rows), others.predict(rows))
        np.testing.assert_array_equal(ours.classes_, others.classes_)
    else:
        np.testing.assert_allclose(ours.predict(rows), others.predict(rows), rtol=1e-5, atol=1e-6)
    for name in (
        "n_iter_",
        "loss_",
        "loss_curve_",
        "validation_scores_",
        "best_loss_",
        "best_validation_score_",
    ):
        assert getattr(ours, name, None) == pytest.approx(getattr(others, name, None)), name
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(others, name), name


@pytest.mark.parametrize("y", CLASSES.values(), ids=CLASSES)
def test_a_classifier_of_scikit_learn_becomes_ours_and_theirs_again(y):
    fitted = theirs.MLPClassifier(**COMMON).fit(X, y)

    ours = nf.from_sklearn(fitted)

    agree(ours, fitted)
    again = ours.to_sklearn()
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert again.get_params() == fitted.get_params()
    model = ours.result_
    np.testing.assert_allclose(
        nf.predict_proba(model.model, model.params, X), ours.predict_proba(X), atol=1e-6
    )


@pytest.mark.parametrize("y", CLASSES.values(), ids=CLASSES)
def test_a_classifier_of_ours_becomes_theirs(y):
    ours = nf.MLPClassifier(**COMMON).fit(X, y)
    given = ours.to_sklearn()
    assert type(given) is theirs.MLPClassifier
    agree(ours, given)
    assert given.score(X, y) == ours.score(X, y)


def test_of_a_single_class_all_is_sure():
    fitted = theirs.MLPClassifier(**COMMON).fit(X, np.full(90, "all"))
    ours = nf.from_sklearn(fitted)
    assert set(ours.predict(X)) == set(ours.to_sklearn().predict(X)) == {"all"}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "lbfgs"},
        {"activation": "logistic", "early_stopping": True},
        {"solver": "sgd", "alpha": 1},
    ],
    ids=str,
)
def test_regressors_go_both_ways(parameters):
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = theirs.MLPRegressor(**COMMON | parameters).fit(frame, X[:, :2])
    ours = nf.from_sklearn(fitted)
    agree(ours, fitted, frame)
    assert ours.feature_names_in_.tolist() == list("abcd")
    own = nf.MLPRegressor(**COMMON | parameters).fit(frame, X[:, :2])
    agree(own, own.to_sklearn(), frame)


def test_both_sides_go_on():
    y = CLASSES["two"]
    fitted = theirs.MLPClassifier(**COMMON, learning_rate_init=0.01).fit(X, y)
    ours = nf.from_sklearn(fitted)
    for _ in range(30):
        ours.partial_fit(X, y)
    assert ours.loss_ < fitted.loss_
    assert len(ours.loss_curve_) == 35
    given = ours.to_sklearn()
    for _ in range(30):
        given.partial_fit(X, y)
    assert given.loss_ < ours.loss_
    assert len(given.loss_curve_) == 65
    ours.set_params(warm_start=True, max_iter=3).fit(X, y)
    assert len(ours.loss_curve_) == 38


def test_float32_stays_float32():
    fitted = theirs.MLPRegressor(**COMMON).fit(X.astype(np.float32), X[:, 0])
    ours = nf.from_sklearn(fitted)
    assert ours.predict(X.astype(np.float32)).dtype == np.float32
    assert ours.coefs_[0].dtype == ours.to_sklearn().coefs_[0].dtype == np.float32


def test_what_is_taken_over_is_a_copy():
    fitted = theirs.MLPRegressor(**COMMON).fit(X, X[:, 0])
    ours = nf.from_sklearn(fitted)
    before = ours.predict(X)
    fitted.coefs_[0][:] = 0
    fitted.loss_curve_.clear()
    np.testing.assert_array_equal(ours.predict(X), before)
    assert len(ours.loss_curve_) == 5


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"activation": "gelu"}, "no place for activation='gelu'"),
        ({"normalization": "layer"}, "no place for normalization='layer'"),
        ({"scale": True}, "no place for scale=True"),
        ({"loss": "huber"}, "no place for loss='huber'"),
        ({"n_ensemble": 2}, "no place for n_ensemble=2"),
        ({"scale": True, "loss": "huber"}, "scale=True, loss='huber'; save keeps all of it"),
    ],
)
def test_what_scikit_learn_cannot_express_is_one_value_error(parameters, words):
    ours = nf.MLPRegressor(**COMMON | parameters).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=words):
        ours.to_sklearn()


@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_a_frames_columns_are_not_theirs():
    with pytest.raises(ValueError, match="a data frame with texts, times or gaps"):
        nf.MLPClassifier(**COMMON).fit(*make_passengers()).to_sklearn()


def test_only_fitted_networks_of_scikit_learn_are_taken():
    with pytest.raises(TypeError, match="this is a LogisticRegression"):
        nf.from_sklearn(LogisticRegression())
    with pytest.raises(NotFittedError):
        nf.from_sklearn(theirs.MLPClassifier())
    with pytest.raises(NotFittedError):
        nf.MLPClassifier().to_sklearn()


def test_the_activation_that_has_two_names_is_theirs():
    given = nf.MLPRegressor(**COMMON | {"activation": "sigmoid"}).fit(X, X[:, 0]).to_sklearn()
    assert given.activation == "logistic"
