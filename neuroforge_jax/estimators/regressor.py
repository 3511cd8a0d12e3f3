"""The network of numbers, behind scikit-learn's interface."""

from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import neural_network
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.data.targets import Target, Targets
from neuroforge_jax.estimators.exchange import make_theirs
from neuroforge_jax.estimators.fitted import is_an_ensemble
from neuroforge_jax.estimators.inputs import read_rows_and_targets
from neuroforge_jax.estimators.parameters import (
    REGRESSION_LOSSES,
    REGRESSOR_CONSTRAINTS,
)
from neuroforge_jax.estimators.perceptron import Perceptron, trains_in_steps
from neuroforge_jax.model.model import FittedModel


class MLPRegressor(RegressorMixin, Perceptron):
    """A multilayer perceptron for one number a row, or several.

    Parameters as scikit-learn has them:

    loss: squared_error, poisson for counts; and here absolute_error, huber or quantile. hidden_layer_sizes:
    widths of the hidden layers. activation: of these: relu, tanh, logistic, identity, or gelu, silu, elu,
    leaky-relu. solver: adam, sgd, or lbfgs for all rows at once. alpha: strength of the L2 penalty.
    batch_size: rows of a step, "auto" for min(200, N). learning_rate: of sgd: constant, invscaling or
    adaptive. learning_rate_init: the rate at first. power_t: exponent of invscaling. max_iter: epochs at
    most, or iterations of lbfgs. shuffle: draw an order of the rows for each epoch. random_state: first
    weights, split and order of rows. tol: the least that counts as progress. verbose: print each epoch.
    warm_start: fit goes on with what is there. momentum: of sgd. nesterovs_momentum: look ahead with it.
    early_stopping: hold rows out, stop by their score, and keep the best epoch. validation_fraction: their
    share. beta_1, beta_2, epsilon: of adam. n_iter_no_change: epochs without progress before the end.
    max_fun: evaluations of lbfgs at most.

    And of this engine:

    dropout: probability of dropping a hidden unit in a step. normalization: none, layer or rms, before each
    hidden activation. optimizer: adam, adamw, lion, muon, sgd, momentum or nesterov, in the place of the
    solver's. schedule: of the learning rate over max_iter epochs: constant, cosine, one-cycle, warmup-cosine
    or exponential. monitor: what epochs are compared by on rows held out, in the place of `score`: loss,
    rmse, mae, r2, and pinball of quantiles. callbacks: told of the training as it goes (`nf.Callback`).
    max_time: seconds after which the epoch under way is the last. backend: a row of the backend table.
    precision: f32, tf32, bf16 or fp16, with float32 weights. scale: bring inputs and targets to mean 0 and
    deviation 1 within the model. n_ensemble: networks that are trained together, each from its own first
    weights and in its own order, and asked together. quantiles: that loss="quantile" predicts, from low to
    high.

    After fit there are scikit-learn's attributes: `loss_`, `best_loss_`, `loss_curve_`, `validation_scores_`
    and `best_validation_score_` (of a monitor that is better where it is lower, its negative), `t_`,
    `coefs_`, `intercepts_`, `n_iter_`, `n_layers_`, `n_outputs_`, `n_features_in_`, `feature_names_in_`,
    `out_activation_`. Beside them: `result_`, as `nf.fit` returns it; `members_`, the networks of an ensemble
    as estimators; of an ensemble, `coefs_` and `intercepts_` are arrays [P, I, O] and [P, O] of each layer,
    and losses and scores means over its members.

    Ctrl-C ends a fit after the epochs under way, about 0.2 s of them, with a warning. What cannot be trained is a
    ValueError, and a device that is not there or has too little memory a RuntimeError.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = REGRESSOR_CONSTRAINTS

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Iterable[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        normalization: str = "none",
        optimizer: str | None = None,
        schedule: str = "constant",
        monitor: str | None = None,
        callbacks: Iterable[Callback] | None = None,
        max_time: float | None = None,
        backend: str = "auto",
        precision: str | None = None,
        scale: bool = False,
        n_ensemble: int = 1,
        quantiles: Iterable[float] = (0.5,),
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.normalization = normalization
        self.optimizer = optimizer
        self.schedule = schedule
        self.monitor = monitor
        self.callbacks = callbacks
        self.max_time = max_time
        self.backend = backend
        self.precision = precision
        self.scale = scale
        self.n_ensemble = n_ensemble
        self.quantiles = quantiles

    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on rows X [N, I] and numbers y [N] or [N, O].

        sample_weight: [N], how much each row counts. X_val, y_val: rows to stop and to select the best epoch by.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, self._pair_validation(X_val, y_val))

    @available_if(trains_in_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train one pass over these rows, from where the last one ended."""
        if not hasattr(self, "_network"):
            self._validate_params()
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The number of each row [N], or its numbers [N, O]."""
        numbers, dtype = self._numbers(X)
        return _show(numbers.mean(axis=0), dtype)

    @available_if(is_an_ensemble)  # type: ignore[untyped-decorator]
    def predict_std(self, X: Any) -> np.ndarray:
        """How far the members of an ensemble are apart: the standard deviation over them of what they predict, [N]
        or [N, O].
        """
        numbers, dtype = self._numbers(X)
        return _show(numbers.std(axis=0), dtype)

    def _numbers(self, X: Any) -> tuple[np.ndarray, np.dtype]:
        """What each network predicts, f64 [P, N, O], and the dtype in which it is shown."""
        outputs, dtype = self._outputs(X)
        return np.stack([self._network.model.read_outputs(each) for each in outputs]), dtype

    def _read_targets(self, X: Any, y: Any, *, fresh: bool, incremental: bool) -> tuple[Any, Targets]:
        X, y = read_rows_and_targets(self, X, y, reset=fresh, numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'poisson': y >= 0.")
        self._columns = 1 if y.ndim == 1 else y.shape[1]
        with np.errstate(over="ignore"):
            targets = np.asarray(y, np.float32).reshape(len(y), -1)
        if np.isinf(targets).any():
            raise ValueError("Input y contains a value too large for dtype('float32').")
        return X, targets

    def _target(self) -> tuple[Target, str, int]:
        loss = REGRESSION_LOSSES[self.loss]
        each = len(tuple(self.quantiles)) if loss == "quantile" else 1
        return (
            Target("regression", tuple(f"y{at}" for at in range(self._columns))),
            loss,
            self._columns * each,
        )

    def _activation_of_outputs(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _score_outputs(
        self, model: FittedModel, targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None
    ) -> float:
        return float(r2_score(targets, model.read_outputs(outputs), sample_weight=weights))

    def to_sklearn(self) -> Any:  # noqa: D102
        check_is_fitted(self)
        return make_theirs(neural_network.MLPRegressor, self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _show(numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers [N, O] as scikit-learn has them: [N] where there is one a row."""
    shown = numbers.astype(dtype, copy=False)
    return shown[:, 0] if shown.shape[1] == 1 else shown
