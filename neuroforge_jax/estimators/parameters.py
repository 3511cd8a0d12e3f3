"""Parameters of the estimators: what each may be, and the training that they come to.

scikit-learn's losses are sums over the outputs of a sample, and this engine's are means: a gradient there is
`factor` times the one here. So plain gradient descent takes its rate times the factor, every optimizer its decay
divided by it, and Adam, which is blind to the size of a gradient, its smallest divisor divided by it too.
"""

from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from neuroforge_jax.config import TrainConfig
from neuroforge_jax.nn.activations import ACTIVATIONS as OWN_ACTIVATIONS
from neuroforge_jax.nn.mlp import NORMALIZATIONS
from neuroforge_jax.training.optimizer import OPTIMIZERS
from neuroforge_jax.training.schedules import SCHEDULES

ACTIVATIONS = {"logistic": "sigmoid"}
"""scikit-learn's names for what has another here."""

AUTO_BATCH = 200
"""Rows of a step unless said otherwise."""

LARGEST_MOMENTUM = 1 - 1e-6

_POSITIVE = Interval(Real, 0, None, closed="neither")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_WHOLE = Interval(Integral, 1, None, closed="left")
_SHARE = Interval(Real, 0, 1, closed="left")

CONSTRAINTS: dict[str, list[Any]] = {
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({"logistic", *OWN_ACTIVATIONS})],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [_NOT_NEGATIVE],
    "batch_size": [StrOptions({"auto"}), _WHOLE],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [_POSITIVE],
    "power_t": [_NOT_NEGATIVE],
    "max_iter": [_WHOLE],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [_NOT_NEGATIVE],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [_SHARE],
    "beta_1": [_SHARE],
    "beta_2": [_SHARE],
    "epsilon": [_POSITIVE],
    "n_iter_no_change": [_WHOLE, Options(Real, {np.inf})],
    "max_fun": [_WHOLE],
    "dropout": [_SHARE],
    "normalization": [StrOptions(set(NORMALIZATIONS))],
    "optimizer": [StrOptions(set(OPTIMIZERS)), None],
    "schedule": [StrOptions(set(SCHEDULES))],
    "monitor": [str, None],
    "callbacks": ["array-like", None],
    "max_time": [_POSITIVE, None],
    "backend": [str],
    "precision": [str, None],
    "scale": ["boolean"],
    "n_ensemble": [_WHOLE],
}
"""Of both estimators, by name."""

CLASSIFIER_CONSTRAINTS = CONSTRAINTS | {
    "class_weight": [dict, StrOptions({"balanced"}), None],
    "calibrate": [StrOptions({"temperature"}), None],
}

REGRESSION_LOSSES = {
    "squared_error": "mse",
    "poisson": "poisson",
    "absolute_error": "mae",
    "huber": "huber",
    "quantile": "quantile",
}
"""Name of a regressor's loss → its name here."""

REGRESSOR_CONSTRAINTS = CONSTRAINTS | {
    "loss": [StrOptions(set(REGRESSION_LOSSES))],
    "quantiles": ["array-like"],
}


def hidden_sizes(given: int | Iterable[int]) -> tuple[int, ...]:
    """Widths of the hidden layers. Raises ValueError for one below 1."""
    sizes = list(given) if hasattr(given, "__iter__") else [given]
    if np.any(np.asarray(sizes) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return tuple(int(size) for size in sizes)


def gradient_factor(loss: str, outputs: int) -> float:
    """How many times this engine's gradient of a loss scikit-learn's is."""
    if loss == "mse":
        return outputs / 2
    return float(outputs) if loss in ("binary-cross-entropy", "poisson") else 1.0


def loss_factor(loss: str, outputs: int) -> float:
    """How many times this engine's value of a loss the one that scikit-learn shows is."""
    return 0.5 if loss == "mse" else gradient_factor(loss, outputs)


def make_config(
    parameters: Mapping[str, Any],
    *,
    loss: str,
    outputs: int,
    batch_size: int,
    total_weight: float,
    seed: int,
) -> TrainConfig:
    """The training that the parameters ask for.

    loss: this engine's name of it. outputs: of the network. batch_size: rows of a step; total_weight: what they
    count together, by which alpha is divided. seed: of the order of rows and of dropout.
    """
    p, factor = parameters, gradient_factor(loss, outputs)
    optimizer = p["optimizer"] or _optimizer_of(p)
    rate = float(p["learning_rate_init"])
    adam = optimizer in ("adam", "adamw")
    if optimizer in ("sgd", "momentum", "nesterov"):
        rate *= factor
    return TrainConfig(
        hidden=hidden_sizes(p["hidden_layer_sizes"]),
        activation=ACTIVATIONS.get(p["activation"], p["activation"]),
        normalization=p["normalization"],
        dropout=float(p["dropout"]),
        loss=loss,
        quantiles=tuple(p.get("quantiles", (0.5,))) if loss == "quantile" else (0.5,),
        batch_size=batch_size,
        epochs=int(p["max_iter"]),
        optimizer=optimizer,
        learning_rate=rate,
        momentum=min(float(p["momentum"]), LARGEST_MOMENTUM),
        beta1=float(p["beta_1"]) if adam else None,
        beta2=float(p["beta_2"]) if adam else None,
        epsilon=float(p["epsilon"]) / factor if adam else None,
        weight_decay=float(p["alpha"]) / total_weight / factor,
        schedule=p["schedule"],
        shuffle=bool(p["shuffle"]),
        backend=p["backend"],
        precision=p["precision"],
        seed=seed,
    )


def _optimizer_of(parameters: Mapping[str, Any]) -> str:
    if parameters["solver"] != "sgd":
        return "adam"
    if not parameters["momentum"]:
        return "sgd"
    return "nesterov" if parameters["nesterovs_momentum"] else "momentum"
