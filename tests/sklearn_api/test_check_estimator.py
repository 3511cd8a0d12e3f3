"""scikit-learn's checks of an estimator: each is run and passes, for settings that take each way through the code.

The settings that are few epochs have a rate at which the scores that some checks ask for are reached in them.
"""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

FEW = {"max_iter": 20, "learning_rate_init": 0.05, "random_state": 0}
ADAM = {"max_iter": 100}
SGD = {"solver": "sgd", "learning_rate": "adaptive", "nesterovs_momentum": False, "learning_rate_init": 0.002}
LBFGS = {"solver": "lbfgs", "max_iter": 20, "random_state": 0}
ADDED = {"dropout": 0.1, "normalization": "layer", "scale": True, "hidden_layer_sizes": (16, 8), **FEW}
ENSEMBLE = {"n_ensemble": 2, "activation": "tanh", **FEW}
EARLY = {
    "early_stopping": True,
    "validation_fraction": 0.4,
    "hidden_layer_sizes": (8, 4),
    "activation": "tanh",
    **FEW,
}

ESTIMATORS = [
    nf.MLPClassifier(**ADAM),
    nf.MLPClassifier(**SGD),
    nf.MLPClassifier(**LBFGS),
    nf.MLPClassifier(**ADDED, class_weight="balanced"),
    nf.MLPClassifier(**ENSEMBLE),
    nf.MLPClassifier(**EARLY),
    nf.MLPRegressor(**ADAM),
    nf.MLPRegressor(**LBFGS),
    nf.MLPRegressor(**ADDED),
    nf.MLPRegressor(**EARLY),
]

NOT_APPLICABLE = "SCIPY_ARRAY_API is not set"
"""Why scikit-learn itself skips a check: it is of arrays of other libraries."""


REFUSED = "partial_fit does not support early_stopping=True"
AGAINST_ROWS_HELD_OUT = {
    "check_fit_score_takes_y": REFUSED,
    "check_n_features_in_after_fitting": REFUSED,
    "check_estimators_partial_fit_n_features": REFUSED,
    "check_sample_weights_invariance zeros": "zero sample_weight is not equivalent to removing the sample",
    "check_sample_weight_equivalence_on_dense_data": "is not equivalent to fitting with removed or repeated data",
    "check_sample_weight_equivalence_on_sparse_data": "is not equivalent to fitting with removed or repeated data",
    "check_class_weight_classifiers": None,
}
"""What early stopping contradicts, in scikit-learn's networks too, and what is said then. Single passes cannot hold
rows out; of a row that is there twice one may be held out; and rows held out are scored as they are, whatever their
class counts.
"""


THEIR_MARK = parametrize_with_checks(ESTIMATORS)
NAMES, CHECKS = THEIR_MARK.args


# Until 1.8 the checks come as an iterator, of which pytest warns.
@pytest.mark.parametrize(NAMES, list(CHECKS), **THEIR_MARK.kwargs)
def test_a_check_of_an_estimator_passes(estimator, check):
    """A check that is skipped for any other reason says nothing, and fails here."""
    name = " ".join(map(str, [check.func.__name__, *check.keywords.values()]))
    if estimator.early_stopping and name in AGAINST_ROWS_HELD_OUT:
        with pytest.raises((ValueError, AssertionError), match=AGAINST_ROWS_HELD_OUT[name]):
            check(estimator)
        return
    try:
        check(estimator)
    except SkipTest as reason:
        assert NOT_APPLICABLE in str(reason), reason
