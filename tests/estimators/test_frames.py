"""Data frames: plain numbers as scikit-learn has them, everything else as `nf.fit` has it."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression

import neuroforge_jax as nf
from neuroforge_jax.data.schema import Column, Schema
from neuroforge_jax.data.targets import Target
from neuroforge_jax.estimators.inputs import add_target
from tests.estimators.tables import make_passengers

pytestmark = pytest.mark.sklearn

LEFT_OUT = "left out, as schema_ says: 'Number' \\(counts the rows\\), 'Name' \\(free text"


@pytest.fixture(autouse=True)
def _few_epochs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@pytest.fixture(scope="module")
def passengers():
    return make_passengers()


@pytest.fixture(scope="module")
def others():
    return make_passengers(seed=1)


def classifier(**parameters):
    usual = {"hidden_layer_sizes": (8,), "learning_rate_init": 0.02, "max_iter": 60, "random_state": 0}
    return nf.MLPClassifier(**usual | parameters)


@pytest.fixture(scope="module")
def fitted(passengers):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return classifier().fit(*passengers)


# --- frames of numbers


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_frame_of_numbers_is_what_its_array_is(make):
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=60), "b": rng.integers(0, 9, 60), "c": rng.random(60) < 0.5}
    array = np.stack([column.astype(float) for column in columns.values()], axis=1)
    y = array[:, 0] + array[:, 1]
    wanted = nf.MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(array, y)

    found = nf.MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(make(columns), y)

    np.testing.assert_array_equal(found.predict(make(columns)), wanted.predict(array))
    assert found.schema_ is None
    known = LinearRegression().fit(make(columns), y)  # which libraries it knows is for scikit-learn to say
    assert list(getattr(found, "feature_names_in_", ())) == list(getattr(known, "feature_names_in_", ()))


def test_of_a_frame_of_numbers_scikit_learn_checks_the_names():
    X, y = pd.DataFrame({"a": np.arange(60.0) ** 2, "b": np.ones(60), "c": np.arange(60.0)}), np.arange(60.0)
    regressor = nf.MLPRegressor(hidden_layer_sizes=(8,), max_iter=5, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="same order"):
        regressor.predict(X[["b", "a", "c"]])


def test_a_gap_in_an_array_is_scikit_learns_error_with_a_hint():
    X = np.array([[1.0, np.nan], [2.0, 3.0]])
    with pytest.raises(ValueError, match="Input X contains NaN") as caught:
        nf.MLPRegressor().fit(X, [1.0, 2.0])
    assert "data frame with missing values" in caught.value.__notes__[0]


# --- frames of anything


def test_a_frame_goes_in_as_it_is_and_what_is_left_out_is_told(passengers, others):
    with pytest.warns(UserWarning, match=LEFT_OUT) as told:
        model = classifier().fit(*passengers)
    assert told[0].filename == __file__
    assert model.score(*others) > 0.75  # nine in ten follow the rule
    assert model.n_features_in_ == 8
    assert model.feature_names_in_.tolist() == list(passengers[0].columns)
    kinds = {column.name: (column.kind, column.role) for column in model.schema_.columns}
    assert kinds["Class"] == ("category", "input")  # numbers, which pandas says are categories
    assert kinds["Booked"] == ("time", "input")
    assert kinds["Survived"] == ("category", "target")
    assert "free text" in model.schema_._repr_html_()
    assert model.coefs_[0].shape == (model.schema_.plan().width, 8)


def test_it_predicts_as_nf_predict_does(fitted, others):
    X, _ = others
    result = fitted.result_
    assert result.model.classes == ("no", "yes")
    wanted = nf.predict_proba(result.model, result.params, X)
    np.testing.assert_allclose(fitted.predict_proba(X), wanted, atol=1e-6)


def test_columns_are_taken_by_name_from_a_frame_of_any_library(fitted, others):
    X, _ = others
    wanted = fitted.predict_proba(X)
    for same in (X[X.columns[::-1]], X.drop(columns="Name"), X.assign(more=1), pl.from_pandas(X)):
        np.testing.assert_array_equal(fitted.predict_proba(same), wanted)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(fitted.predict_proba(X.to_numpy()), wanted)


def test_new_levels_and_gaps_are_taken(fitted, others):
    X, _ = others
    strange = X.assign(Sex=None, Port="Z", Class=9, Fare=np.nan)
    probabilities = fitted.predict_proba(strange)
    assert np.isfinite(probabilities).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_it_is_pickled_with_its_schema(fitted, others):
    again = pickle.loads(pickle.dumps(fitted))
    assert repr(again.schema_) == repr(fitted.schema_)
    np.testing.assert_array_equal(again.predict_proba(others[0]), fitted.predict_proba(others[0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: X.drop(columns=["Age"]), "X has no column 'Age', which MLPClassifier was fitted with"),
        (lambda X: X.iloc[:0], "minimum of 1 is required"),
        (lambda X: X.to_numpy()[:, :3], "X has 3 features, but MLPClassifier is expecting 8"),
        (lambda X: X.assign(Booked="soon"), "does not hold dates or times"),
    ],
)
def test_rows_that_cannot_be_read_are_one_value_error(fitted, others, change, words):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=words):
            fitted.predict(change(others[0]))


@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_infinity_in_a_column_is_refused_by_its_name(passengers, others):
    frame, targets = passengers
    model = nf.MLPClassifier(max_iter=2).fit(frame, targets)
    with pytest.raises(ValueError, match="Input X contains infinity, in column 'Fare'"):
        model.predict(others[0].assign(Fare=np.inf))
    with pytest.raises(ValueError, match="Input X contains infinity, in column 'Fare'"):
        nf.MLPClassifier(max_iter=2).fit(frame.assign(Fare=-np.inf), targets)


def test_a_frame_that_says_nothing_is_one_value_error():
    X = pd.DataFrame({"text": ["same"] * 9, "gap": [np.nan] * 9})
    with pytest.raises(ValueError, match="no column is left to predict from"):
        classifier().fit(X, [0, 1, 1] * 3)


def test_a_frame_that_cannot_be_read_is_one_value_error():
    X = pd.DataFrame({"number": [1.0, 2.0, np.nan], "list": [[1], [2], [3]]})
    with pytest.raises(ValueError, match=r"column 'list' holds .* leave it out: drop 'list'"):
        classifier().fit(X, [0, 1, 1])


@pytest.mark.parametrize(
    "parameters",
    [{"early_stopping": True}, {"class_weight": "balanced"}, {"solver": "lbfgs", "max_iter": 10}],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_what_arrays_can_do_frames_can(passengers, others, parameters):
    model = classifier(**parameters).fit(*passengers)
    assert model.score(*others) > 0.7


@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_weights_and_validation_rows_of_a_frame(passengers, others):
    X, y = passengers
    flipped = np.where(np.arange(len(y)) % 2, y, np.where(y == "yes", "no", "yes"))
    weights = (np.arange(len(y)) % 2).astype(float)  # those that are turned round count for nothing
    model = classifier().fit(X, flipped, sample_weight=weights, X_val=others[0], y_val=others[1])
    assert model.best_validation_score_ == model.score(*others) > 0.75


@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_partial_fits_read_later_rows_by_the_first_schema(passengers, others):
    X, y = passengers
    model = classifier()
    for _ in range(40):
        model.partial_fit(X[:75], y[:75], classes=["no", "yes"])
        schema, fitted = model.schema_, model.result_.model.fitted
        model.partial_fit(X[X.columns[::-1]][75:], y[75:])
    assert model.schema_ == schema
    np.testing.assert_array_equal(model.result_.model.fitted.shift, fitted.shift)
    assert model.score(*others) > 0.75


@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_a_warm_start_keeps_the_schema_and_a_new_fit_forgets_it(passengers):
    X, y = passengers
    model = classifier(warm_start=True, max_iter=5).fit(X, y)
    first, loss = model.schema_, model.loss_
    assert model.fit(X, y).schema_ is first
    assert model.loss_ < loss
    model.set_params(warm_start=False).fit(X[["Fare", "Number"]], y)
    assert model.schema_ is None
    assert model.n_features_in_ == 2


@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_targets_of_a_frame_are_scaled_within_the_model(passengers, others):
    (X, _), (X_test, _) = passengers, others
    model = nf.MLPRegressor(hidden_layer_sizes=(8,), max_iter=150, learning_rate_init=0.01, random_state=0)
    model.fit(X, 1e6 + 1000 * X.Fare)
    assert model.score(X_test, 1e6 + 1000 * X_test.Fare) > 0.8
    assert abs(model.intercepts_[-1][0]) < 10
    assert model.schema_.by_role("target") == ("y",)  # the series has the name of an input


@pytest.mark.filterwarnings("ignore:columns that are left out")
def test_counts_of_a_frame_are_counts(passengers):
    X, _ = passengers
    counts = np.random.default_rng(0).poisson(3 + 2 * (X.Sex == "male"))
    model = nf.MLPRegressor(loss="poisson", hidden_layer_sizes=(8,), max_iter=100, random_state=0).fit(
        X, counts
    )
    assert model.result_.model.fitted.target_shift is None
    assert model.predict(X).mean() == pytest.approx(counts.mean(), rel=0.2)


# --- the target's name


@pytest.mark.parametrize(
    ("y", "taken", "names"),
    [
        (pd.Series([1.0], name="price"), ["a"], ("price",)),
        (pd.Series([1.0], name="a"), ["a"], ("y",)),
        (np.array([1.0]), ["y"], ("y_",)),
        (pd.DataFrame({"u": [1.0], "v": [2.0]}), ["a"], ("u", "v")),
        (np.array([[1.0, 2.0]]), ["a"], ("y0", "y1")),
    ],
)
def test_a_target_is_called_as_its_series_unless_a_column_is(y, taken, names):
    schema = Schema(tuple(Column(name, "number") for name in taken), Target("regression"))
    places = tuple(f"y{at}" for at in range(len(names)))
    with_target, target = add_target(schema, y, Target("regression", places))
    assert target.names == with_target.by_role("target") == names
    assert add_target(with_target, y, Target("regression", places)) == (with_target, target)
