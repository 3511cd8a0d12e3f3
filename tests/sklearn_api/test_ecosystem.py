"""What scikit-learn has around an estimator works with ours: selection, pipelines, frames, inspection, weights."""

import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris, make_regression
from sklearn.ensemble import StackingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import SequentialFeatureSelector
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

X, y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
QUICK = {"hidden_layer_sizes": 16, "learning_rate_init": 0.02, "max_iter": 40, "random_state": 0}


def classifier(**changes):
    return nf.MLPClassifier(**QUICK | changes)


def regressor(**changes):
    return nf.MLPRegressor(**QUICK | changes)


def line_and_noise(rows=200):
    """Three inputs of which the first alone says what the target is: twice itself."""
    inputs = np.random.default_rng(0).normal(size=(rows, 3))
    return inputs, 2 * inputs[:, 0]


def test_cross_validation_scores_each_fold_high():
    scores = cross_val_score(make_pipeline(StandardScaler(), classifier(max_iter=80)), X, NAMES[y], cv=3)
    assert scores.min() > 0.92
    assert is_classifier(classifier())
    assert is_regressor(regressor())


def test_cross_validated_probabilities_are_of_every_class():
    probabilities = cross_val_predict(classifier(), X, y, cv=3, method="predict_proba")
    assert probabilities.shape == (150, 3)
    assert log_loss(y, probabilities) < 0.3


def test_a_grid_search_in_two_processes_finds_the_rate_that_one_process_finds():
    grid = {"learning_rate_init": [1e-6, 0.02]}
    found = [GridSearchCV(classifier(), grid, cv=3, n_jobs=jobs).fit(X, y) for jobs in (1, 2)]
    assert all(search.best_params_ == {"learning_rate_init": 0.02} for search in found)
    assert found[1].score(X, y) > 0.9
    one, two = (search.cv_results_["mean_test_score"] for search in found)
    np.testing.assert_allclose(one, two, atol=0.01)


def test_a_halving_search_gives_the_epochs_to_those_that_do_well():
    grid = {"learning_rate_init": [1e-6, 1e-5, 0.02]}
    resources = {"resource": "max_iter", "min_resources": 5, "max_resources": 15}
    search = HalvingGridSearchCV(classifier(), grid, cv=2, random_state=0, **resources).fit(X, y)
    assert search.best_params_ == {"learning_rate_init": 0.02, "max_iter": 15}


def test_a_frame_of_numbers_and_categories_goes_through_a_pipeline():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"area": rng.uniform(20, 200, 150), "town": rng.choice(["Bonn", "Jena", "Ulm"], 150)}
    )
    cheap = frame["area"] * frame["town"].map({"Bonn": 3, "Jena": 1, "Ulm": 2}) < 150
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["area"]), ("towns", OneHotEncoder(), ["town"])]
    )
    model = make_pipeline(columns, classifier(max_iter=100)).fit(frame, np.where(cheap, "cheap", "dear"))
    assert model.score(frame, np.where(cheap, "cheap", "dear")) > 0.9
    assert set(model.predict(frame)) == {"cheap", "dear"}


def test_names_of_columns_are_known_and_their_order_is_held_against_new_rows():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = classifier().fit(frame, NAMES[y])
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="same order"):
        model.predict(frame[["d", "c", "b", "a"]])


def test_frames_that_a_step_gives_are_taken():
    model = make_pipeline(StandardScaler(), classifier()).set_output(transform="pandas")
    model.fit(pd.DataFrame(X, columns=list("abcd")), y)
    assert model[-1].feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert model.score(pd.DataFrame(X, columns=list("abcd")), y) > 0.9


def test_probabilities_are_calibrated_and_stacked():
    calibrated = CalibratedClassifierCV(classifier(), cv=2).fit(X, NAMES[y])
    assert calibrated.classes_.tolist() == NAMES.tolist()
    assert log_loss(NAMES[y], calibrated.predict_proba(X)) < 0.4
    members = [("network", classifier()), ("line", LogisticRegression())]
    assert StackingClassifier(members, cv=2).fit(X, NAMES[y]).score(X, NAMES[y]) > 0.9


def test_the_column_that_matters_is_found():
    inputs, target = line_and_noise()
    model = regressor().fit(inputs, target)
    worth = permutation_importance(model, inputs, target, n_repeats=3, random_state=0).importances_mean
    assert worth[0] > 0.5
    assert np.abs(worth[1:]).max() < 0.1
    curve = partial_dependence(model, inputs, [0], grid_resolution=5)
    slope = np.ptp(curve["average"][0]) / np.ptp(curve["grid_values"][0])
    assert slope == pytest.approx(2, abs=0.4)
    chosen = SequentialFeatureSelector(regressor(max_iter=10), n_features_to_select=1, cv=2)
    assert chosen.fit(inputs, target).get_support().tolist() == [True, False, False]


def test_a_target_in_other_units_comes_back_in_its_own():
    inputs, target = line_and_noise()
    model = TransformedTargetRegressor(regressor(), transformer=StandardScaler())
    assert model.fit(inputs, 1e6 + 1e5 * target).score(inputs, 1e6 + 1e5 * target) > 0.9


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_weights_are_routed_through_a_pipeline_and_a_search():
    """Rows that count for nothing carry wrong labels: who is given the weights is right on the others."""
    wrong = np.arange(len(y)) % 3 == 0
    labels = np.where(wrong, (y + 1) % 3, y)
    weights = np.where(wrong, 0.0, 1.0)
    network = classifier(max_iter=80).set_fit_request(sample_weight=True)
    pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), network)
    scorer = make_scorer(accuracy_score).set_score_request(sample_weight=True)
    search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-3]}, cv=2, scoring=scorer)
    search.fit(X, labels, sample_weight=weights)
    assert search.best_score_ > 0.9
    assert search.score(X[~wrong], y[~wrong]) > 0.9
    assert search.score(X[wrong], labels[wrong]) < 0.2


def test_equal_weights_are_no_weights():
    model = classifier(batch_size=50, alpha=0)  # which counts for less where rows count for more
    weighted = clone(model).fit(X, y, sample_weight=np.full(150, 2.0))
    assert_same_predictions(model.fit(X, y), weighted)


def assert_same_predictions(one, two):
    np.testing.assert_array_equal(one.predict_proba(X), two.predict_proba(X))


def test_a_clone_is_not_fitted_and_fits_alike():
    model = classifier(alpha=0.01).fit(X, y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "coefs_")
    assert_same_predictions(model, copy.fit(X, y))


@pytest.mark.parametrize("way", ["pickle", "joblib"])
def test_a_fitted_network_is_kept_and_goes_on(way, tmp_path):
    model = classifier().fit(X, NAMES[y])
    if way == "pickle":
        copy = pickle.loads(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / "model.joblib")
        copy = joblib.load(tmp_path / "model.joblib")
    assert_same_predictions(model, copy)
    assert copy.score(X, NAMES[y]) == model.score(X, NAMES[y])
    for network in (model, copy):
        network.partial_fit(X, NAMES[y])
    assert_same_predictions(model, copy)


def test_several_targets_and_labels_are_predicted_at_once():
    inputs, targets = make_regression(150, 4, n_targets=2, random_state=0)
    assert regressor(max_iter=150).fit(inputs, targets / 100).predict(inputs).shape == (150, 2)
    labels = np.stack([y == 0, y == 2], axis=1).astype(int)
    assert classifier().fit(X, labels).score(X, labels) > 0.85


def test_a_fitted_pipeline_shows_itself():
    """As a notebook draws it: parameters that were changed, and that it is fitted."""
    page = make_pipeline(StandardScaler(), classifier()).fit(X, y)._repr_html_()
    assert "MLPClassifier" in page
    assert repr(classifier(alpha=0.5)).startswith("MLPClassifier(alpha=0.5")
