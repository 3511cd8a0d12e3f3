"""A classifier of two classes has one output in training, and is a model of two classes to all who read it."""

import warnings

import numpy as np
import pytest

import neuroforge_jax as nf


@pytest.fixture(scope="module")
def blobs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    return (rng.normal(size=(120, 5)) + 2 * labels[:, None]).astype(np.float32), labels


def fit(classifier, *data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few epochs to converge
        return classifier.fit(*data)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_result_of_two_classes_gives_the_classifiers_probabilities(blobs, solver):
    X, labels = blobs
    y = np.array(["no", "yes"])[labels]
    classifier = fit(nf.MLPClassifier((8,), solver=solver, max_iter=15, random_state=0), X, y)

    result = classifier.result_

    assert result.model.classes == ("no", "yes")
    wanted = classifier.predict_proba(X)
    np.testing.assert_allclose(nf.predict_proba(result.model, result.params, X), wanted, atol=1e-6)
    found = nf.evaluate(result.model, result.params, nf.Split(X, labels.astype(np.int32)))
    assert found.accuracy == pytest.approx(classifier.score(X, y))
    assert f"backend {'lbfgs' if solver == 'lbfgs' else 'optimized'}" in repr(result)
    assert "Learning curves" in result._repr_html_()


def test_classes_that_are_numbers_are_named_as_tables_have_them(blobs):
    X, labels = blobs
    classifier = fit(nf.MLPClassifier((8,), max_iter=15, random_state=0), X, labels + 1.0)
    assert classifier.result_.model.classes == ("1", "2")
