"""The ways in which an estimator trains: in steps by the project's loop, and by L-BFGS."""

import warnings
from abc import abstractmethod
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from neuroforge_jax.estimators.ensemble import hyper_of_members, make_rules, stack_members
from neuroforge_jax.estimators.figures import describe_end
from neuroforge_jax.estimators.fitted import FittedEstimator
from neuroforge_jax.estimators.interrupt import note_interrupts
from neuroforge_jax.estimators.lbfgs import minimize
from neuroforge_jax.estimators.monitors import make_monitor
from neuroforge_jax.estimators.network import Network
from neuroforge_jax.estimators.parameters import gradient_factor, loss_factor
from neuroforge_jax.estimators.rows import poisson_offset
from neuroforge_jax.estimators.stopping import Rule, StoppingRule, with_rate
from neuroforge_jax.estimators.training import Outcome, train
from neuroforge_jax.job.job import Job
from neuroforge_jax.model.model import FittedModel
from neuroforge_jax.system.provenance import device_name
from neuroforge_jax.training.best import Selection
from neuroforge_jax.training.monitor import Monitor
from neuroforge_jax.training.state import TrainState
from neuroforge_jax.typing import Params


class Solvers(FittedEstimator):
    """What trains an estimator whose job is made, and sets its attributes.

    _state: after the last epoch of a training in steps, by NumPy; None of L-BFGS. _passes: over rows, behind it.
    """

    _state: TrainState | None
    _passes: int

    @abstractmethod
    def _score_outputs(
        self, model: FittedModel, targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None
    ) -> float:
        """The score of outputs of the network: what `score` would say."""

    def _train_in_steps(
        self, job: Job, first: Params, dtype: np.dtype, seen: int, *, incremental: bool
    ) -> None:
        """Train by the rule. seen: rows of an epoch, before equal ones were merged."""
        loss, outputs = job.model.spec.loss, job.model.mlp.outputs
        selection = None
        if job.dataset.validation is not None:
            selection = Selection(self._monitor(job))
            job = replace(job, selection=selection)
        with note_interrupts() as interrupted:
            make_rule = partial(
                StoppingRule,
                tol=self.tol,
                patience=self.n_iter_no_change,
                rows=seen,
                scale=loss_factor(loss, outputs),
                offset=poisson_offset(job.dataset.train) if loss == "poisson" else 0.0,
                rate=float(self.learning_rate_init),
                policy=self.learning_rate if self.solver == "sgd" else "constant",
                power=self.power_t,
                factor=job.config.learning_rate / float(self.learning_rate_init),
                selection=selection,
                seconds=self.max_time,
                interrupted=interrupted,
                continues=incremental and self._state is not None,
            )
            rule = make_rules(self._curve, make_rule, self.n_ensemble, verbose=bool(self.verbose))
            epochs = 1 if incremental else self.max_iter
            outcome = train(
                job,
                lambda: self._start(job, first, rule, incremental=incremental),
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

    def _start(self, job: Job, first: Params, rule: Rule, *, incremental: bool) -> TrainState:
        """The state that the training begins with: of a pass more, the one after the last, with the optimizer's
        state for as long as it is of the same optimizer.
        """
        last: Any = self._state
        wanted: object = jax.tree.structure(job.state_like)
        if not incremental or last is None or wanted != jax.tree.structure(last):
            return job.start(first)
        hyper = replace(hyper_of_members(job), learning_rate=last.hyper.learning_rate)
        placed = jax.device_put(replace(last, params=first, hyper=hyper), job.device)
        return with_rate(placed, rule.engine_rate)

    def _keep(self, outcome: Outcome, rule: Rule, dtype: np.dtype) -> None:
        """What the training came to, as attributes."""
        members = self.n_ensemble if self.n_ensemble > 1 else None
        self._set_network(Network.of(outcome.model, outcome.params, members), dtype)
        self._state = replace(jax.device_get(outcome.state), params=self._network.params)
        self._run = (outcome.history, outcome.figures)
        self.n_iter_ = rule.epochs
        self._show_curve(self._curve, selects=rule.selection is not None)

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
        offset = poisson_offset(job.dataset.train) if loss == "poisson" else 0.0
        self.loss_ = float(np.mean([each.loss for each in found])) + offset
        self.t_ = self._curve.rows
        self._run = describe_end(
            job.model,
            loss=self.loss_,
            iterations=self.n_iter_,
            made_by="lbfgs",
            device=device_name(job.device),
        )
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if any(each.interrupted for each in found):
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif complaint := next((each.complaint for each in found if each.complaint), ""):
            warnings.warn(complaint, ConvergenceWarning, stacklevel=4)

    def _monitor(self, job: Job) -> Monitor:
        """What an epoch is judged by on rows held out: what `score` says, unless a monitor is named."""
        model = job.model
        if self.monitor is not None:
            return make_monitor(self.monitor, model, getattr(self, "_classes", None))

        def compute(targets: np.ndarray, outputs: np.ndarray, weights: np.ndarray | None) -> float:
            return self._score_outputs(model, targets, outputs, weights)

        return Monitor("score", higher_is_better=True, compute=compute)

    def _check_weights(self) -> None:
        """Raises ValueError for a training that diverged."""
        arrays = (*self.coefs_, *self.intercepts_)
        if self._has_frozen_members() or not all(np.isfinite(array).all() for array in arrays):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to "
                "be preprocessed."
            )

    def _has_frozen_members(self) -> bool:
        """Whether a network of an ensemble diverged: it stayed as it was before."""
        frozen = None if self._state is None else self._state.frozen
        return frozen is not None and bool(np.any(frozen))

    @property
    def _trains_in_steps(self) -> bool:
        """Rather than by L-BFGS."""
        return self.solver != "lbfgs" or self.optimizer is not None
