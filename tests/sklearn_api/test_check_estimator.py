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
    nf.MLPRegressor(**SGD),
    nf.MLPRegressor(**LBFGS),
    nf.MLPRegressor(**ADDED),
    nf.MLPRegressor(**ENSEMBLE),
    nf.MLPRegressor(**EARLY),
]
FURTHER = [ESTIMATORS[at] for at in (2, 3, 7, 10, 11)]
"""What they set is set for the other class too."""

ALIKE_IN_ALL = {
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimator_sparse_tag",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_fit_check_is_fitted",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_sample_weights_not_overwritten",
    "check_sample_weights_shape",
    "check_supervised_y_2d",
}
"""Of what is done before a network is made, and of how an estimator keeps its parameters: no setting changes that,
and for the first one of each class they are in every check.
"""

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


def in_its_tier(estimator, check):
    """Each setting for one class at least, and the first for both, in every check."""
    parameters = estimator.get_params()
    is_first = parameters == type(estimator)(**ADAM).get_params()
    further = any(type(one) is type(estimator) and one.get_params() == parameters for one in FURTHER)
    if further or (check.func.__name__ in ALIKE_IN_ALL and not is_first):
        return pytest.param(estimator, check, marks=pytest.mark.further)
    return estimator, check


THEIR_MARK = parametrize_with_checks(ESTIMATORS)
NAMES, CHECKS = THEIR_MARK.args


@pytest.mark.parametrize(NAMES, [in_its_tier(*each) for each in CHECKS], **THEIR_MARK.kwargs)
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
