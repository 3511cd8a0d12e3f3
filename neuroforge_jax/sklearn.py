"""scikit-learn's networks, trained by this engine: change the import, and keep the rest.

    from neuroforge_jax import MLPClassifier
    MLPClassifier(hidden_layer_sizes=(256,), early_stopping=True).fit(X, y).score(X_test, y_test)

Names, defaults and meaning of the parameters are scikit-learn's (`sklearn.neural_network`), and plain arrays go
into the network as they are. What differs, and what is here beside it, is in docs/from-sklearn.md.
"""

from typing import Any

from sklearn import neural_network
from sklearn.utils.validation import check_is_fitted

from neuroforge_jax.estimators.classifier import MLPClassifier
from neuroforge_jax.estimators.exchange import make_ours
from neuroforge_jax.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "from_sklearn"]


def from_sklearn(fitted: Any) -> MLPClassifier | MLPRegressor:
    """The estimator of this engine that a fitted MLPClassifier or MLPRegressor of scikit-learn is.

    It has its parameters, weights, classes and attributes, predicts the same within float32's rounding, and goes on
    by `partial_fit` or `warm_start` with a new state of the optimizer. Raises TypeError for anything else, and
    scikit-learn's NotFittedError.
    """
    for theirs, kind in (
        (neural_network.MLPClassifier, MLPClassifier),
        (neural_network.MLPRegressor, MLPRegressor),
    ):
        if isinstance(fitted, theirs):
            check_is_fitted(fitted)
            taken: MLPClassifier | MLPRegressor = make_ours(kind, fitted)
            return taken
    raise TypeError(
        f"from_sklearn takes a fitted MLPClassifier or MLPRegressor of scikit-learn, and this is a "
        f"{type(fitted).__name__}"
    )
