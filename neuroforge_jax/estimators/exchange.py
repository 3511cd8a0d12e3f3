"""Fitted networks of scikit-learn as ours and back: weights, classes, parameters, what was seen of the training.

Weights keep their dtype in `coefs_` and `intercepts_`, so that there and back is the same number; what is computed
here is float32. Neither side hands over the state of its optimizer.
"""

from copy import deepcopy
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_random_state

from neuroforge_jax.data.preprocess import Fitted, Preprocessor
from neuroforge_jax.estimators.classes import Classes
from neuroforge_jax.estimators.figures import describe_end
from neuroforge_jax.estimators.network import Network
from neuroforge_jax.estimators.parameters import ACTIVATIONS
from neuroforge_jax.estimators.stopping import Curve
from neuroforge_jax.estimators.weights import to_params
from neuroforge_jax.model.model import Model
from neuroforge_jax.nn.mlp import MLP
from neuroforge_jax.precision.policy import policy

SHARED = (
    "n_features_in_", "feature_names_in_", "n_layers_", "n_outputs_", "out_activation_", "n_iter_", "t_", "loss_",
    "best_loss_", "validation_scores_", "best_validation_score_", "_no_improvement_count",
)  # fmt: skip
"""Attributes that mean the same on both sides, as far as there are."""

THEIR_NAMES = {own: theirs for theirs, own in ACTIVATIONS.items()}
THEIR_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
THEIR_LOSSES = ("squared_error", "poisson")


def make_ours(kind: type, fitted: Any) -> Any:
    """The estimator of this class that a fitted one of scikit-learn is."""
    known = kind._get_param_names()  # type: ignore[attr-defined]
    given = fitted.get_params(deep=False)
    estimator = kind(**{name: deepcopy(value) for name, value in given.items() if name in known})
    _copy_attributes(fitted, estimator)
    if is_classifier(fitted):
        several = fitted._label_binarizer.y_type_.startswith("multilabel")
        estimator._classes = Classes(np.array(fitted.classes_), several)
        estimator.classes_ = estimator._classes.values
    else:
        estimator._columns = fitted.n_outputs_
    matrices, vectors = (
        [np.array(each) for each in fitted.coefs_],
        [np.array(each) for each in fitted.intercepts_],
    )
    network = _build_network(estimator, matrices, vectors)
    estimator._curve = _curve_of(fitted)
    if hasattr(fitted, "loss_curve_"):
        estimator.loss_curve_ = estimator._curve.losses
    estimator._passes, estimator._state, estimator.schema_ = len(estimator._curve.losses), None, None
    estimator._dtype = matrices[0].dtype
    estimator._run = describe_end(
        network.model, loss=fitted.loss_, iterations=fitted.n_iter_, made_by="scikit-learn", device="CPU"
    )
    estimator._set_network(network, estimator._dtype)
    estimator.coefs_, estimator.intercepts_ = matrices, vectors
    return estimator


def make_theirs(kind: type, estimator: Any) -> Any:
    """The estimator of this class of scikit-learn that a fitted one is. Raises ValueError where there is none."""
    known = kind._get_param_names()  # type: ignore[attr-defined]
    _check_expressible(estimator, known)
    given = {name: value for name, value in estimator.get_params(deep=False).items() if name in known}
    given["activation"] = THEIR_NAMES.get(estimator.activation, estimator.activation)
    theirs = kind(**deepcopy(given))
    _copy_attributes(estimator, theirs)
    theirs.t_ = getattr(estimator, "t_", 0)
    theirs.coefs_, theirs.intercepts_ = deepcopy(estimator.coefs_), deepcopy(estimator.intercepts_)
    theirs._best_coefs, theirs._best_intercepts = deepcopy(theirs.coefs_), deepcopy(theirs.intercepts_)
    theirs._random_state = check_random_state(theirs.random_state)
    if hasattr(estimator, "loss_curve_"):
        theirs.loss_curve_ = list(estimator.loss_curve_)
    if is_classifier(estimator):
        classes = estimator._classes
        labels = np.eye(len(classes.values), dtype=int) if classes.several else classes.values
        theirs._label_binarizer = LabelBinarizer().fit(labels)
        theirs.classes_ = theirs._label_binarizer.classes_
    return theirs


def _check_expressible(estimator: Any, known: list[str]) -> None:
    network, loss = estimator._network, getattr(estimator, "loss", "squared_error")
    reasons = {
        f"n_ensemble={network.members}": network.members is not None,
        "the columns of a data frame with texts, times or gaps": network.schema is not None,
        "scale=True": network.schema is None and network.spec.plan.scaling != "none",
        f"normalization={network.spec.mlp.normalization!r}": network.spec.mlp.normalization != "none",
        f"activation={estimator.activation!r}": THEIR_NAMES.get(estimator.activation, estimator.activation)
        not in THEIR_ACTIVATIONS,
        f"loss={loss!r}": loss not in THEIR_LOSSES or (loss == "poisson" and "loss" not in known),
        "calibrate='temperature'": getattr(estimator, "calibrate", None) is not None,
    }
    if found := [reason for reason, is_so in reasons.items() if is_so]:
        raise ValueError(
            f"scikit-learn's networks have no place for {', '.join(found)}; save keeps all of it"
        )


def _copy_attributes(source: Any, target: Any) -> None:
    for name in SHARED:
        if hasattr(source, name):
            setattr(target, name, deepcopy(getattr(source, name)))


def _curve_of(fitted: Any) -> Curve:
    """What scikit-learn saw of a training, to be gone on with."""
    best_loss, best_score = (getattr(fitted, name, None) for name in ("best_loss_", "best_validation_score_"))
    return Curve(
        losses=[float(loss) for loss in getattr(fitted, "loss_curve_", ())],
        scores=[float(score) for score in getattr(fitted, "validation_scores_", None) or ()],
        best_loss=np.inf if best_loss is None else float(best_loss),
        best_score=-np.inf if best_score is None else float(best_score),
        stale=getattr(fitted, "_no_improvement_count", 0),
        rows=int(fitted.t_),
    )


def _build_network(estimator: Any, matrices: list[np.ndarray], vectors: list[np.ndarray]) -> Network:
    """The network of these weights, whose inputs are the rows as they are."""
    target, loss, outputs = estimator._target()
    width = len(matrices[0])
    mlp = MLP(
        width,
        tuple(matrix.shape[1] for matrix in matrices[:-1]),
        outputs,
        ACTIVATIONS.get(estimator.activation, estimator.activation),
    )
    classes = target.classes if target.task == "classification" else ()
    spec = Model(mlp, policy("f32"), loss, Preprocessor(width, scaling="none"), (width,), classes)
    fitted = Fitted(np.zeros(width, np.float32), np.ones(width, np.float32))
    return Network(spec, fitted, target, to_params(mlp, matrices, vectors))
