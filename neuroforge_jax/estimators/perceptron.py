"""What both estimators are: parameters in, a training by the project's job, scikit-learn's attributes out."""

import warnings
from abc import ABCMeta, abstractmethod
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from neuroforge_jax.data.preprocess import Fitted
from neuroforge_jax.data.schema import Schema
from neuroforge_jax.data.targets import Target, Targets
from neuroforge_jax.data.types import Dataset, Split
from neuroforge_jax.estimators.combinations import check_combinations
from neuroforge_jax.estimators.ensemble import hyper_of_members, make_rules, stack_members
from neuroforge_jax.estimators.errors import in_terms_of_parameters
from neuroforge_jax.estimators.figures import describe_end
from neuroforge_jax.estimators.inputs import add_target, read_rows
from neuroforge_jax.estimators.interrupt import noting_interrupts
from neuroforge_jax.estimators.lbfgs import minimize
from neuroforge_jax.estimators.monitors import make_monitor
from neuroforge_jax.estimators.network import Network
from neuroforge_jax.estimators.parameters import (
    AUTO_BATCH,
    gradient_factor,
    hidden_sizes,
    loss_factor,
    make_config,
)
from neuroforge_jax.estimators.rows import (
    Part,
    Rows,
    as_float32,
    least_poisson,
    make_dataset,
    make_split,
    merge_rows,
)
from neuroforge_jax.estimators.saving import check_alone, load_estimator, save_estimator
from neuroforge_jax.estimators.stopping import Curve, Rule, StoppingRule
from neuroforge_jax.estimators.threads import follow_thread_limit
from neuroforge_jax.estimators.training import Outcome, build_job, train
from neuroforge_jax.estimators.weights import draw_weights, from_params, to_params
from neuroforge_jax.job.job import Job
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.run import Result
from neuroforge_jax.system.provenance import device_name
from neuroforge_jax.training.best import Selection
from neuroforge_jax.training.monitor import Monitor
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Params

SOLVERS_OF_STEPS = ("sgd", "adam")


def trains_in_steps(estimator: "Perceptron") -> bool:
    """Whether it can go on by single passes. Raises AttributeError where it cannot."""
    if estimator.solver not in SOLVERS_OF_STEPS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


def is_an_ensemble(estimator: "Perceptron") -> bool:
    """Whether it has several networks. Raises AttributeError where it has one."""
    if estimator.n_ensemble < 2:
        raise AttributeError("predict_std is the spread of an ensemble: set n_ensemble to 2 or more")
    return True


class Perceptron(BaseEstimator, metaclass=ABCMeta):
    """What both estimators share. The network's outputs are read by the estimators themselves.

    schema_: what was made of the columns of a data frame; None of arrays, and of a frame of plain numbers.
    """

    schema_: Schema | None

    # --- what differs between the two
    @abstractmethod
    def _read_targets(self, X: Any, y: Any, *, fresh: bool, incremental: bool) -> tuple[Any, Targets]:
        """Checked rows and targets as a training has them."""

    @abstractmethod
    def _target(self) -> tuple[Target, str, int]:
        """What is predicted, the loss by its name here, and the outputs of the network."""

    @abstractmethod
    def _score_outputs(
        self, model: FittedModel, targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None
    ) -> float:
        """The score of outputs of the network: what `score` would say."""

    @abstractmethod
    def _activation_of_outputs(self) -> str:
        """`out_activation_`."""

    def _class_weights(self, y: Any, weights: np.ndarray | None) -> np.ndarray | None:
        """How much more each row counts in the training by its class."""
        return None

    # --- fitting
    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation: tuple[Any, Any] | None = None,
        *,
        incremental: bool = False,
    ) -> Self:
        follow_thread_limit()
        sizes = hidden_sizes(self.hidden_layer_sizes)
        fresh = not hasattr(self, "_network") or not (self.warm_start or incremental)
        parameters = self.get_params(deep=False)
        check_combinations(
            parameters, steps=self._trains_in_steps, held_out=validation is not None, incremental=incremental,
            members=None if fresh else self._network.members or 1,
        )  # fmt: skip
        rows, targets = self._read_targets(X, y, fresh=fresh, incremental=incremental)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, rows)
        by_class = self._class_weights(y, weights)
        random = check_random_state(self.random_state)
        target, loss, outputs = self._target()
        width, dtype = rows.shape[1], np.dtype(np.float32 if rows.dtype == np.float32 else np.float64)
        if self.schema_ is not None:
            self.schema_, target = add_target(self.schema_, y, target)
            width, dtype = self.schema_.plan().width, np.dtype(np.float64)
        widths = (width, *sizes, outputs)
        if fresh:
            drawn = [draw_weights(random, widths, self.activation)]
            self._begin(len(widths), outputs, dtype)
        rows = as_float32(rows)
        train_part, held_out = self._split(rows, targets, weights, by_class, validation, random)
        train_part, judges = self._hold_out_for_calibration(train_part, held_out, random)
        fitted = None if fresh else self._network.fitted
        dataset, total, batch = self._make_dataset(train_part, held_out, target, fitted)
        seen = len(train_part[0])
        if batch == len(dataset.train):  # all at once: their order would only round otherwise
            parameters["shuffle"] = False
        seeds = [int(random.randint(2**31 - 1))]
        for _ in range(self.n_ensemble - 1):
            if fresh:
                drawn.append(draw_weights(random, widths, self.activation))
            seeds.append(int(random.randint(2**31 - 1)))
        with in_terms_of_parameters():
            config = make_config(
                parameters, loss=loss, outputs=outputs, batch_size=batch, total_weight=total, seed=seeds[0]
            )
            job = build_job(config, dataset, seeds if self._trains_in_steps else seeds[:1])
            mlp = job.model.mlp
            first = stack_members([to_params(mlp, *each) for each in drawn]) if fresh else self._kept().params
            if self._trains_in_steps:
                self._train_in_steps(job, first, dtype, seen, incremental=incremental)
            else:
                self._search(job, first, loss, total, dtype)
        arrays = (*self.coefs_, *self.intercepts_)
        if self._has_frozen_members() or not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to "
                "be preprocessed."
            )
        self._calibrate(judges)
        return self

    def _has_frozen_members(self) -> bool:
        """Whether a network of an ensemble diverged: it stayed as it was before."""
        frozen = None if self._state is None else self._state.frozen
        return frozen is not None and bool(np.any(frozen))

    @property
    def _trains_in_steps(self) -> bool:
        """Rather than by L-BFGS."""
        return self.solver != "lbfgs" or self.optimizer is not None

    def _hold_out_for_calibration(
        self, part: Part, held_out: Split | None, random: np.random.RandomState
    ) -> tuple[Part, Split | None]:
        """The rows to train on, and those to calibrate by."""
        return part, None

    def _calibrate(self, judges: Split | None) -> None:
        """Make what is said of rows true of these on average."""

    def _begin(self, layers: int, outputs: int, dtype: np.dtype) -> None:
        """Forget what was learnt before."""
        self._curve = Curve()
        self._state = None
        self._passes = 0
        self._dtype = dtype
        self.n_layers_, self.n_outputs_ = layers, outputs
        self.out_activation_ = self._activation_of_outputs()

    def _split(
        self,
        rows: Rows,
        targets: Targets,
        weights: np.ndarray | None,
        by_class: np.ndarray | None,
        validation: tuple[Any, Any] | None,
        random: np.random.RandomState,
    ) -> tuple[Part, Split | None]:
        """The rows to train on, counted by their class too, and those to select by."""
        counts = weights
        if by_class is not None:
            counts = by_class if weights is None else by_class * weights
        if validation is not None:
            own_rows, own_targets = self._read_targets(*validation, fresh=False, incremental=True)
            return (rows, targets, counts), Split(as_float32(own_rows), own_targets)
        if not (self.early_stopping and self._trains_in_steps):
            return (rows, targets, counts), None
        stay, held = train_test_split(
            np.arange(len(rows)),
            random_state=random,
            test_size=self.validation_fraction,
            stratify=self._strata(targets),
        )
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        own = None if weights is None else weights[held].astype(np.float32)
        kept = rows[stay], targets[stay], None if counts is None else counts[stay]
        return kept, Split(rows[held], targets[held], own)

    def _strata(self, targets: Targets) -> np.ndarray | None:
        """What is to be as frequent among held-out rows as among the others."""
        return None

    def _make_dataset(
        self, part: Part, held_out: Split | None, target: Target, fitted: Fitted | None
    ) -> tuple[Dataset, float, int]:
        """The dataset, what the rows of a step count together, and how many they are. fitted: of earlier rows."""
        rows, targets, weights = part
        samples = len(rows)
        wanted = AUTO_BATCH if self.batch_size == "auto" else int(self.batch_size)
        if self.batch_size != "auto" and wanted > samples:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
                stacklevel=4,
            )
        batch = min(wanted, samples)
        full = batch == samples or self.solver == "lbfgs"
        if full:
            rows, targets, weights = merge_rows(rows, targets, weights)
            total = float(weights.sum())
            batch = len(rows)
        else:
            total = float(batch)
        train_split = make_split(rows, targets, weights)
        dataset = make_dataset(
            train_split, held_out, target, scales=self.scale, schema=self.schema_, fitted=fitted
        )
        return dataset, total, batch

    def _train_in_steps(
        self, job: Job, first: Params, dtype: np.dtype, seen: int, *, incremental: bool
    ) -> None:
        """Train by the rule. seen: rows of an epoch, before equal ones were merged."""
        loss, outputs = job.model.spec.loss, job.model.mlp.outputs
        selection = None
        if job.dataset.validation is not None:
            selection = Selection(self._monitor(job))
            job = replace(job, selection=selection)
        with noting_interrupts() as interrupted:
            make_rule = partial(
                StoppingRule,
                tol=self.tol,
                patience=self.n_iter_no_change,
                rows=seen,
                scale=loss_factor(loss, outputs),
                offset=least_poisson(job.dataset.train) if loss == "poisson" else 0.0,
                rate=float(self.learning_rate_init),
                policy=self.learning_rate if self.solver == "sgd" else "constant",
                power=self.power_t,
                factor=job.config.learning_rate / float(self.learning_rate_init),
                selection=selection,
                seconds=self.max_time,
                interrupted=interrupted,
            )
            rule = make_rules(self._curve, make_rule, self.n_ensemble, tells=bool(self.verbose))
            epochs = 1 if incremental else self.max_iter
            outcome = train(
                job,
                lambda: self._start(job, first, incremental=incremental),
                rule,
                epochs=epochs,
                first_epoch=self._passes if incremental else 0,
                callbacks=self.callbacks or (),
            )
            stopped = interrupted()
        self._passes = self._passes + 1 if incremental else rule.epochs
        self._keep(outcome, rule, dtype)
        if stopped:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif not incremental and rule.epochs == self.max_iter and not rule.over:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _start(self, job: Job, first: Params, *, incremental: bool) -> TrainState:
        """The state that the training begins with: of a pass more, the one after the last."""
        if not incremental or self._state is None:
            return job.start(first)
        device = job.device
        return replace(
            jax.device_put(self._state, device), params=jax.device_put(first, device),
            hyper=jax.device_put(hyper_of_members(job), device),
        )  # fmt: skip

    def _keep(self, outcome: Outcome, rule: Rule, dtype: np.dtype) -> None:
        """What the training came to, as attributes."""
        members = self.n_ensemble if self.n_ensemble > 1 else None
        self._set_network(Network.of(outcome.model, outcome.params, members), dtype)
        self._state = replace(jax.device_get(outcome.state), params=self._network.params)
        self._run = (outcome.history, outcome.figures)
        self.n_iter_ = rule.epochs
        self._show_curve(self._curve, selects=rule.selection is not None)

    def _show_curve(self, curve: Curve, *, selects: bool) -> None:
        """What was seen of the training, as attributes."""
        self.t_, self.loss_, self.loss_curve_ = curve.rows, curve.losses[-1], curve.losses
        self._no_improvement_count = curve.stale
        self.best_loss_ = None if selects else curve.best_loss
        self.validation_scores_ = curve.scores if selects else None
        self.best_validation_score_ = curve.best_score if selects else None

    def _search(self, job: Job, first: Params, loss: str, total: float, dtype: np.dtype) -> None:
        """Train by L-BFGS, the members of an ensemble one after the other."""
        members = Network.of(job.model, first, self.n_ensemble if self.n_ensemble > 1 else None)
        found = [
            minimize(
                job, each.params, factor=gradient_factor(loss, job.model.mlp.outputs), alpha=self.alpha,
                total_weight=total, max_iter=self.max_iter, max_fun=self.max_fun, tol=self.tol,
            )
            for each in members.each
        ]  # fmt: skip
        params = [jax.tree.map(lambda leaf: leaf.astype(np.float32), each.params) for each in found]
        self._set_network(members.with_params(stack_members(params)), dtype)
        self._state = None
        self.n_iter_ = max(each.iterations for each in found)
        self.loss_ = float(np.mean([each.loss for each in found]))
        self._run = describe_end(
            job.model,
            loss=self.loss_,
            iterations=self.n_iter_,
            made_by="lbfgs",
            device=device_name(job.device),
        )
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")

    def _set_network(self, network: Network, dtype: np.dtype) -> None:
        self._network = network
        self.coefs_, self.intercepts_ = from_params(network.spec.mlp, network.params, dtype)
        self._weights_of_network = (*self.coefs_, *self.intercepts_)

    def _kept(self) -> Network:
        """The network, with the weights that `coefs_` and `intercepts_` have now."""
        given = (*self.coefs_, *self.intercepts_)
        if all(now is then for now, then in zip(given, self._weights_of_network, strict=True)):
            return self._network
        own = to_params(self._network.spec.mlp, self.coefs_, self.intercepts_)
        params = {
            layer: {**leaves, "kernel": own[layer]["kernel"], "bias": own[layer]["bias"]}
            for layer, leaves in self._network.params.items()
        }
        return self._network.with_params(params)

    def _with_answers(self) -> Network:
        """The network whose outputs any reader of a model understands, as it is saved."""
        return self._kept()

    def _monitor(self, job: Job) -> Monitor:
        """What an epoch is judged by on rows held out: what `score` says, unless a monitor is named."""
        model = job.model
        if self.monitor is not None:
            return make_monitor(self.monitor, model, getattr(self, "_classes", None))

        def compute(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> float:
            return self._score_outputs(model, targets, outputs, weights)

        return Monitor("score", higher_is_better=True, compute=compute)

    def _given_validation(self, X_val: Any, y_val: Any) -> tuple[Any, Any] | None:
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val come together: give both or neither.")
        return None if X_val is None else (X_val, y_val)

    # --- prediction
    def _outputs(self, X: Any) -> np.ndarray:
        """What each network says of rows, f32 [P, N, C]; one that is alone is its only member."""
        check_is_fitted(self)
        follow_thread_limit()
        return self._ask(as_float32(read_rows(self, X)))

    def _ask(self, rows: Any) -> np.ndarray:
        return np.stack([network.outputs(rows) for network in self._kept().each])

    @property
    def members_(self) -> list[Self]:
        """The networks of an ensemble as estimators of one network each, uncalibrated; else the estimator alone."""
        if not hasattr(self, "_network"):
            raise AttributeError("members_ is there once the estimator is fitted")
        each = self._kept().each
        return [self] if len(each) == 1 else [self._member(at, network) for at, network in enumerate(each)]

    def _member(self, index: int, network: Network) -> Self:
        one = copy(self)
        one.n_ensemble, one._state = 1, None
        one._set_network(network, self._dtype)
        one.__dict__.pop("temperature_", None)
        if self._curve.members:
            one._curve = self._curve.members[index]
            one._show_curve(one._curve, selects=self.validation_scores_ is not None)
        return one

    @property
    def result_(self) -> Result:
        """The run, as `nf.fit` returns one; of two classes the model has an output for each."""
        if not hasattr(self, "_network"):
            raise AttributeError("result_ is there once the estimator is fitted")
        if self._network.members is not None:
            raise AttributeError(
                "an ensemble has no one result_: its networks are members_, and each has one"
            )
        network = self._with_answers()
        history, figures = self._run
        return Result(network.model, network.params, history, figures)

    # --- on disk
    def save(self, path: str | Path) -> None:
        """Write a folder from which `load` gives back the estimator, and `nf.load` its network; no pickle.

        Parameters that JSON does not hold, such as callbacks, are left at their defaults, with a warning; so is the
        optimizer's state. Raises ValueError for an ensemble, CheckpointError where it cannot be written.
        """
        check_is_fitted(self)
        check_alone(self, "save")
        save_estimator(self, self._with_answers(), path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The estimator that `save` wrote; nothing in its files is executed.

        Raises CheckpointError, in one line, for a file that is missing or damaged, and for another estimator's.
        """
        estimator: Self = load_estimator(cls, path)
        return estimator

    @abstractmethod
    def to_sklearn(self) -> Any:
        """scikit-learn's estimator of the same kind, fitted: it predicts the same, and goes on by itself.

        What concerns the training here alone, such as dropout, stays behind. Raises ValueError for a network that
        scikit-learn's cannot be: another activation, normalization, a frame's columns, an ensemble.
        """

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "_network" in state:
            state["_network"] = self._kept()
            del state["_weights_of_network"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_network" in state:
            self._weights_of_network = (*self.coefs_, *self.intercepts_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
