"""An estimator on disk is the same estimator, and a model to whoever reads a run's folder."""

import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import neuroforge_jax as nf
from neuroforge_jax.errors import CheckpointError
from neuroforge_jax.evaluate import main as evaluate
from tests.estimators.tables import make_passengers

pytestmark = [pytest.mark.sklearn, pytest.mark.filterwarnings("ignore:columns that are left out")]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4))
CODES = RNG.integers(0, 2, 90)
LABELS = {
    "texts": np.array(["no", "yes"])[CODES],
    "objects": np.array(["no", "yes"], object)[CODES],
    "numbers": np.array([3, 7, 9], np.int16)[np.arange(90) % 3],
    "floats": np.array([-1.0, 1.0])[CODES],
    "truth": CODES.astype(bool),
    "one class": np.full(90, "all"),
    "labels": (X[:, :3] > 0).astype(int),
}


@pytest.fixture(autouse=True)
def _few_epochs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def classifier(**parameters):
    return nf.MLPClassifier(**{"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0} | parameters)


def regressor(**parameters):
    return nf.MLPRegressor(**{"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0} | parameters)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder, for tests that only read it or a copy of its files."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier().fit(X, LABELS["texts"]).save(folder)
    return folder


@pytest.mark.parametrize("y", LABELS.values(), ids=LABELS)
def test_a_classifier_comes_back_with_its_classes_and_their_dtype(y, tmp_path):
    model = classifier().fit(X, y)
    model.save(tmp_path / "model")

    again = nf.MLPClassifier.load(tmp_path / "model")

    assert again.classes_.dtype == model.classes_.dtype
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    fitted, params = nf.load(tmp_path / "model")
    np.testing.assert_allclose(nf.predict_proba(fitted, params, X), model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize(
    "parameters", [{}, {"solver": "lbfgs"}, {"loss": "poisson"}, {"scale": True}], ids=str
)
def test_a_regressor_comes_back_with_its_attributes(parameters, tmp_path):
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = regressor(**parameters).fit(frame, X[:, :2] ** 2)
    model.save(tmp_path)

    again = nf.MLPRegressor.load(tmp_path)

    np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
    for name in (
        "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "n_layers_", "n_outputs_",
        "out_activation_", "n_features_in_", "schema_",
    ):  # fmt: skip
        assert getattr(again, name, None) == getattr(model, name, None), name
    assert again.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_array_equal(again.coefs_[0], model.coefs_[0])
    assert repr(again.result_) == repr(model.result_)


def test_parameters_come_back_as_they_were_given(tmp_path):
    given = {
        "hidden_layer_sizes": [8], "n_iter_no_change": np.inf, "alpha": np.float32(0.5), "tol": 1e-3,
        "class_weight": {3: 2.0, 7: 1.0, 9: 0.5},
    }  # fmt: skip
    classifier(**given).fit(X, LABELS["numbers"]).save(tmp_path)
    found = nf.MLPClassifier.load(tmp_path).get_params()
    assert {name: found[name] for name in given} == given


def test_what_json_does_not_hold_is_told_and_left_at_its_default(tmp_path):
    model = regressor(random_state=np.random.RandomState(0), callbacks=[nf.Callback()]).fit(X, X[:, 0])
    with pytest.warns(UserWarning, match="JSON does not hold callbacks and random_state") as told:
        model.save(tmp_path)
    assert told[0].filename == __file__
    again = nf.MLPRegressor.load(tmp_path)
    assert (again.random_state, again.callbacks) == (None, None)


def test_a_loaded_estimator_goes_on(tmp_path):
    model = classifier()
    for _ in range(3):
        model.partial_fit(X, LABELS["texts"], classes=["no", "yes"])
    model.save(tmp_path)
    again = nf.MLPClassifier.load(tmp_path).partial_fit(X, LABELS["texts"])
    assert len(again.loss_curve_) == 4
    assert again.loss_ < model.loss_
    again.set_params(max_iter=2, warm_start=True).fit(X, LABELS["texts"])
    assert len(again.loss_curve_) == 6


def test_a_frames_estimator_predicts_tables_from_the_command_line(tmp_path, capsys):
    frame, survived = make_passengers()
    model = classifier(learning_rate_init=0.02, max_iter=60).fit(frame, survived)
    model.save(tmp_path / "model")
    table = tmp_path / "later.csv"
    frame.assign(Survived=survived).to_csv(table, index=False)

    again = nf.MLPClassifier.load(tmp_path / "model")

    np.testing.assert_array_equal(again.predict_proba(frame), model.predict_proba(frame))
    assert repr(again.schema_) == repr(model.schema_)
    fitted, params = nf.load(tmp_path / "model")
    np.testing.assert_allclose(nf.predict_proba(fitted, params, frame), model.predict_proba(frame), atol=1e-6)
    assert evaluate([str(tmp_path / "model"), str(table), "--output", str(tmp_path / "answers.csv")]) == 0
    shown = re.search(r"^accuracy +([\d.]+)$", capsys.readouterr().out, re.MULTILINE)
    assert float(shown[1]) == pytest.approx(model.score(frame, survived), abs=1e-5)
    answers = pd.read_csv(tmp_path / "answers.csv")
    assert answers["predicted"].tolist() == model.predict(frame).tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "[]", "holds no JSON object"),
        (lambda text: "{}", "does not describe an estimator"),
        (lambda text: text.replace('"format": 1', '"format": 2'), "later version"),
        (lambda text: text.replace('"alpha": 0.0001', '"alpha": -1'), "does not describe an estimator"),
        (lambda text: text.replace('"alpha"', '"beta"'), "does not describe an estimator"),
        (lambda text: text.replace('"no",', ""), "there are 1 classes, and the network has 2 outputs"),
        (lambda text: text.replace('"n_features_in_": 4', '"n_features_in_": 5'), "the model takes 4"),
        (lambda text: text.replace('"dtype": "<U3"', '"dtype": "what"'), "does not describe an estimator"),
        (lambda text: text.replace('"kind": "classifier"', '"kind": "regressor"'), "holds a regressor"),
    ],
)
def test_a_damaged_file_is_one_line(saved, tmp_path, change, words):
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (saved / "estimator.json").read_text()
    assert change(text) != text
    (tmp_path / "estimator.json").write_text(change(text))
    with pytest.raises(CheckpointError, match=words) as caught:
        nf.MLPClassifier.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_another_estimators_folder_and_no_estimators_are_told(saved, tmp_path):
    with pytest.raises(CheckpointError, match="holds a classifier, and MLPRegressor is a regressor"):
        nf.MLPRegressor.load(saved)
    with pytest.raises(CheckpointError, match=r"holds no estimator.json"):
        nf.MLPClassifier.load(tmp_path)
    (tmp_path / "estimator.json").write_text((saved / "estimator.json").read_text())
    with pytest.raises(CheckpointError, match=r"model\.json"):
        nf.MLPClassifier.load(tmp_path)


@pytest.mark.parametrize("y", [LABELS["texts"], LABELS["numbers"]], ids=["two", "three"])
def test_calibrated_probabilities_are_saved(y, tmp_path):
    model = classifier(calibrate="temperature").fit(X, y)
    model.save(tmp_path)
    again = nf.MLPClassifier.load(tmp_path)
    assert again.temperature_ == model.temperature_ != 1
    np.testing.assert_allclose(again.predict_proba(X), model.predict_proba(X), atol=1e-6)
    fitted, params = nf.load(tmp_path)
    np.testing.assert_allclose(nf.predict_proba(fitted, params, X), model.predict_proba(X), atol=1e-6)


def test_of_an_ensemble_each_member_is_saved(tmp_path):
    model = regressor(n_ensemble=2).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="an ensemble of 2: take each of members_"):
        model.save(tmp_path)
    for at, member in enumerate(model.members_):
        member.save(tmp_path / str(at))
    members = [nf.MLPRegressor.load(tmp_path / str(at)) for at in range(2)]
    np.testing.assert_allclose(np.mean([each.predict(X) for each in members], axis=0), model.predict(X))


def test_what_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(NotFittedError):
        classifier().save(tmp_path)
    (tmp_path / "file").write_text("")
    model = classifier().fit(X, LABELS["texts"])
    with pytest.raises(CheckpointError, match="give another one"):
        model.save(tmp_path / "file")


def test_the_files_are_plain_and_hold_no_path(saved):
    described = json.loads((saved / "estimator.json").read_text(), parse_constant=pytest.fail)
    assert described["parameters"]["max_iter"] == 5
    assert str(saved.parent) not in (saved / "estimator.json").read_text()
