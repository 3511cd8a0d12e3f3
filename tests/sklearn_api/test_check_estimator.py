"""scikit-learn's checks of an estimator: each is run and passes, for settings that take each way of the code."""

from unittest import SkipTest

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import neuroforge_jax as nf

pytestmark = [
    pytest.mark.sklearn,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

SHORT = {"max_iter": 20, "random_state": 0}
BOTH = {
    "adam": {"max_iter": 100},
    "sgd": {"solver": "sgd", "learning_rate": "adaptive", "nesterovs_momentum": False, **SHORT},
    "lbfgs": {"solver": "lbfgs", **SHORT},
    "held out": {
        "hidden_layer_sizes": (8, 4),
        "activation": "tanh",
        "early_stopping": True,
        "validation_fraction": 0.2,
        **SHORT,
    },
    "regularized": {"dropout": 0.1, "normalization": "layer", "scale": True, **SHORT},
    "ensemble": {"n_ensemble": 2, "hidden_layer_sizes": 8, **SHORT},
}
ESTIMATORS = [
    *(nf.MLPClassifier(**settings) for settings in BOTH.values()),
    *(nf.MLPRegressor(**settings) for settings in BOTH.values()),
    nf.MLPClassifier(class_weight="balanced", calibrate="temperature", **SHORT),
    nf.MLPRegressor(loss="poisson", **SHORT),
]


@parametrize_with_checks(ESTIMATORS)
def test_a_check_of_an_estimator_passes(estimator, check):
    """One that is left out by scikit-learn would be skipped, and a skipped check says nothing."""
    try:
        check(estimator)
    except SkipTest as reason:
        assert "SCIPY_ARRAY_API" in str(reason)
