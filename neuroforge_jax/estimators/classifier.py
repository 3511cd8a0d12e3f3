"""The network of classes and labels, behind scikit-learn's interface."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import neural_network
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from neuroforge_jax.callbacks.base import Callback
from neuroforge_jax.data.targets import Target, Targets
from neuroforge_jax.data.types import Split
from neuroforge_jax.estimators.calibration import SHARE, fit_temperature, hold_out
from neuroforge_jax.estimators.classes import Classes
from neuroforge_jax.estimators.exchange import make_theirs
from neuroforge_jax.estimators.fitted import is_an_ensemble
from neuroforge_jax.estimators.inputs import read_rows_and_targets
from neuroforge_jax.estimators.network import Network
from neuroforge_jax.estimators.parameters import CLASSIFIER_CONSTRAINTS
from neuroforge_jax.estimators.perceptron import Perceptron, trains_in_steps
from neuroforge_jax.estimators.rows import Part, balance
from neuroforge_jax.model.model import FittedModel


class MLPClassifier(ClassifierMixin, Perceptron):
    """A multilayer perceptron for classes, or for several labels a row.

    Parameters as scikit-learn has them:

    hidden_layer_sizes: widths of the hidden layers. activation: of these: relu, tanh, logistic, identity, or
    gelu, silu, elu, leaky-relu. solver: adam, sgd, or lbfgs for all rows at once. alpha: strength of the L2
    penalty. batch_size: rows of a step, "auto" for min(200, N). learning_rate: of sgd: constant, invscaling
    or adaptive. learning_rate_init: the rate at first. power_t: exponent of invscaling. max_iter: epochs at
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
    accuracy, balanced-accuracy, macro-f1, log-loss, roc-auc, average-precision, brier, calibration-error; of
    labels label-accuracy, label-macro-f1, label-roc-auc. callbacks: told of the training as it goes
    (`nf.Callback`). max_time: seconds after which the epoch under way is the last. backend: a row of the
    backend table. precision: f32, tf32, bf16 or fp16, with float32 weights. scale: bring inputs to mean 0 and
    deviation 1 within the model. n_ensemble: networks that are trained together, each from its own first
    weights and in its own order, and asked together. class_weight: how much classes count in the training, or
    "balanced". calibrate: "temperature" divides the outputs by one number, fitted on the rows held out, or
    else on a tenth held out for it, so that probabilities are what they say.

    After fit there are scikit-learn's attributes: `classes_`, `loss_`, `best_loss_`, `loss_curve_`,
    `validation_scores_` and `best_validation_score_` (of a monitor that is better where it is lower, its
    negative), `t_`, `coefs_`, `intercepts_`, `n_iter_`, `n_layers_`, `n_outputs_`, `n_features_in_`,
    `feature_names_in_`, `out_activation_`. Beside them: `result_`, as `nf.fit` returns it; `members_`, the
    networks of an ensemble as estimators; `temperature_`, where it calibrates; of an ensemble, `coefs_` and
    `intercepts_` are arrays [P, I, O] and [P, O] of each layer, and losses and scores means over its members.

    Ctrl-C ends a fit after the epochs under way, about 0.2 s of them, with a warning. What cannot be trained is a
    ValueError, and a device that is not there or has too little memory a RuntimeError.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CLASSIFIER_CONSTRAINTS
    classes_: np.ndarray
    temperature_: float

    def __init__(
        self,
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
        class_weight: Mapping[Any, float] | str | None = None,
        calibrate: str | None = None,
    ) -> None:
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
        self.class_weight = class_weight
        self.calibrate = calibrate

    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on rows X [N, I] and their classes y [N], or labels [N, O] of 0 and 1.

        sample_weight: [N], how much each row counts. X_val, y_val: rows to stop and to select the best epoch by.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, self._pair_validation(X_val, y_val))

    @available_if(trains_in_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Train one pass over these rows, from where the last one ended.

        classes: all that there will be, in the first call.
        """
        if not hasattr(self, "_network"):
            self._validate_params()
        if _check_partial_fit_first_call(self, classes):
            several = type_of_target(y).startswith("multilabel")
            self._classes = Classes.of(y) if several else Classes(self.classes_)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row [N], or of several labels 0 and 1 [N, O]."""
        outputs, _ = self._outputs(X)
        return self._classes.decode(self._pool(outputs))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class [N, C] in the order of `classes_`, or of each label."""
        logits, dtype = self._logits(X)
        return self._classes.probabilities(logits).astype(dtype, copy=False)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X: Any) -> np.ndarray:
        """What the probabilities are made of: logits [N, C] before the softmax, of two classes [N] of the second,
        of labels [N, O].
        """
        check_is_fitted(self)
        logits, dtype = self._logits(X)
        shown = logits.astype(dtype, copy=False)
        return shown[:, 0] if self._classes.kind == "binary" else shown

    @available_if(is_an_ensemble)  # type: ignore[untyped-decorator]
    def predict_std(self, X: Any) -> np.ndarray:
        """How far the members of an ensemble are apart: the standard deviation over them of the probability of each
        class [N, C], or of each label, before any calibration.
        """
        outputs, dtype = self._outputs(X)
        each = [self._classes.probabilities(one) for one in outputs]
        return np.std(each, axis=0).astype(dtype, copy=False)

    def _logits(self, X: Any) -> tuple[np.ndarray, np.dtype]:
        """Outputs divided by the temperature, where there is one, [N, C], and the dtype in which they are shown."""
        outputs, dtype = self._outputs(X)
        pooled = self._pool(outputs)
        return pooled / self.temperature_ if hasattr(self, "temperature_") else pooled, dtype

    def _pool(self, outputs: np.ndarray) -> np.ndarray:
        """What the network says [N, C], or all networks of an ensemble together, of what each says [P, N, C]."""
        return outputs[0] if len(outputs) == 1 else self._classes.pool(outputs)

    def _hold_out_for_calibration(
        self, part: Part, held_out: Split | None, random: np.random.RandomState
    ) -> tuple[Part, Split | None]:
        self.__dict__.pop("temperature_", None)
        if self.calibrate is None or len(self.classes_) < 2:
            return part, None
        if held_out:
            return part, held_out
        rare = part[1].ndim == 2 and min((part[1] > 0).sum(), (part[1] == 0).sum()) < 2
        return hold_out(part, random, None if rare else self._strata(part[1], SHARE))

    def _calibrate(self, rows: Split | None) -> None:
        if rows is None:
            return
        outputs = self._pool(self._ask(rows.inputs))
        self.temperature_ = fit_temperature(self._classes, outputs, rows.targets, rows.weights)

    def _read_targets(self, X: Any, y: Any, *, fresh: bool, incremental: bool) -> tuple[Any, Targets]:
        X, y = read_rows_and_targets(self, X, y, reset=fresh, numeric=False)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "_classes") or (fresh and not incremental):
            self._classes = Classes.of(y)
            self.classes_ = self._classes.values
        else:
            self._check_classes(y, incremental=incremental)
        return X, self._classes.encode(y)

    def _check_classes(self, y: Any, *, incremental: bool) -> None:
        """Raises ValueError for others than those that are known."""
        found = self._classes.occur_in(y)
        if self.warm_start and not incremental:
            if set(found.tolist()) != set(self.classes_.tolist()):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {found}"
                )
        elif len(np.setdiff1d(found, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {found}."
            )

    def _target(self) -> tuple[Target, str, int]:
        return self._classes.target, self._classes.loss, self._classes.outputs

    def _activation_of_outputs(self) -> str:
        return self._classes.activation

    def _with_answers(self) -> Network:
        network = self._current_network()
        if hasattr(self, "temperature_"):
            network = network.with_scaled_outputs(1 / self.temperature_)
        return network.with_classes(self._classes.names) if self._classes.kind == "binary" else network

    def _class_weights(self, y: Any, weights: np.ndarray | None) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        labels = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
        if self.class_weight == "balanced":
            return balance(labels, weights)
        factors = compute_sample_weight(self.class_weight, labels)
        if (factors < 0).any():
            raise ValueError("class_weight holds weights below 0.")
        return factors

    def _strata(self, targets: Targets, share: float) -> np.ndarray | None:
        if self._classes.several:
            return None
        if targets.ndim == 2:
            return targets.astype(bool)
        held = int(np.ceil(share * len(targets)))
        has_place = len(self.classes_) <= min(held, len(targets) - held)
        return targets if has_place and np.bincount(targets).min() > 1 else None

    def _score_outputs(
        self, model: FittedModel, targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None
    ) -> float:
        classes = self._classes
        wanted = targets if classes.kind == "multiclass" else targets > 0
        said = outputs.argmax(axis=1) if classes.kind == "multiclass" else outputs > 0
        return float(accuracy_score(wanted, said, sample_weight=weights))

    def to_sklearn(self) -> Any:  # noqa: D102
        check_is_fitted(self)
        return make_theirs(neural_network.MLPClassifier, self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
